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

try:
    import uvloop
except ImportError:
    LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
else:
    LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}

StartReceiver = Callable[..., Awaitable[Receiver]]


def pytest_asyncio_loop_factories(
    item: pytest.Item,
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run what is close to the sockets on both event loops: they close them differently."""
    return LOOPS if "test_wire" in item.nodeid else {"asyncio": asyncio.new_event_loop}


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
