"""Receivers that outlive the relay, for the fault suite."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from support.receiver import Answer, Receiver, answer
from support.shortage import FullDisk, NoWrites, Shortage, small_disk

if TYPE_CHECKING:
    from pathlib import Path

StartReceiver = Callable[..., Awaitable[Receiver]]


@pytest.fixture(autouse=True)
def _unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not measure the coverage of programs started here: that takes a third of their time."""
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)


@pytest.fixture
async def receiver() -> AsyncIterator[StartReceiver]:
    """Start receivers on ports of their own; they end with the test."""
    async with AsyncExitStack() as stack:

        async def start(*answers: Answer) -> Receiver:
            made = Receiver(list(answers) or [answer(200)])
            server = await asyncio.start_server(made.serve, "127.0.0.1", 0, backlog=256)
            made.port = server.sockets[0].getsockname()[1]
            stack.callback(server.close)
            return made

        yield start


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[FullDisk]:
    """Return a small disk that can be filled; skips where none can be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    with small_disk(folder) as why_not:
        if why_not is not None:
            pytest.skip(why_not)
        yield FullDisk(folder)


@pytest.fixture
def no_writes(tmp_path: Path) -> NoWrites:
    """Return a way to make every write of the program fail; needs no rights."""
    return NoWrites(tmp_path)


@pytest.fixture(params=["full_disk", "no_writes"])
def shortage(request: pytest.FixtureRequest) -> Shortage:
    """Return each way to take the store away."""
    way: Shortage = request.getfixturevalue(request.param)
    return way
