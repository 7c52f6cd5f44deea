"""Receivers for the acceptance tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from support.receiver import Answer, Receiver, answer

StartReceiver = Callable[..., Awaitable[Receiver]]


@pytest.fixture
async def receiver() -> AsyncIterator[StartReceiver]:
    """Start receivers on ports of their own; they end with the test."""
    async with AsyncExitStack() as stack:

        async def start(*answers: Answer) -> Receiver:
            made = Receiver(list(answers) or [answer(200)])
            server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
            made.port = server.sockets[0].getsockname()[1]
            stack.callback(server.close)
            return made

        yield start
