"""Listeners for the web tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from circleci_relay import logs
from support import wire

try:
    import uvloop
except ImportError:
    LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
else:
    LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}

Begin = Callable[..., Awaitable[wire.Relay]]


def pytest_asyncio_loop_factories(
    item: pytest.Item,
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run on both event loops: their transports differ in what they forgive."""
    once = any(word in item.nodeid for word in ("hostile", "schemathesis"))
    return {"asyncio": asyncio.new_event_loop} if once else LOOPS


@pytest.fixture(autouse=True)
def _logs() -> None:
    """Log as the program does: structlog's own way of showing a fault blocks the loop."""
    logs.configure(level="warning", format="json")


@pytest.fixture
async def begin() -> AsyncIterator[Begin]:
    """Start listeners; they end with the test."""
    started: list[wire.Relay] = []

    async def start(**options: Any) -> wire.Relay:
        started.append(await wire.start(**options))
        return started[-1]

    yield start
    for relay in started:
        if relay.intake.gate is not None:
            relay.intake.gate.set()
        await relay.listeners.close()


@pytest.fixture
async def relay(begin: Begin) -> wire.Relay:
    """Listeners as they are by default."""
    return await begin()
