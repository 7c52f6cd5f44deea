"""Receivers for the delivery tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from support.receiver import Answer, Receiver, answer

if TYPE_CHECKING:
    from ssl import SSLContext

StartReceiver = Callable[..., Awaitable[Receiver]]


@pytest.fixture
async def receiver() -> AsyncIterator[StartReceiver]:
    """Start receivers on ports of their own; they end with the test."""
    async with AsyncExitStack() as stack:

        async def start(*answers: Answer, tls: SSLContext | None = None) -> Receiver:
            made = Receiver(list(answers) or [answer(200)])
            server = await asyncio.start_server(made.serve, "localhost", 0, ssl=tls)
            made.port = server.sockets[0].getsockname()[1]
            stack.callback(server.close)
            return made

        yield start
