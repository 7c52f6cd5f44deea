"""The receiver's process as a run sees it: how much has arrived, and at the end what."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from bench import ledger, processes

if TYPE_CHECKING:
    from array import array
    from collections.abc import AsyncIterator
    from pathlib import Path

QUIET = 10.0  #: seconds without an arrival after which the rest counts as lost
EVERY = 0.05  #: seconds between two looks


class Receiving:
    """One receiver; its answers come in the order of the questions."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self._process = process
        self.port = port

    async def count(self) -> int:
        """How many copies have arrived so far."""
        return int(await _ask(self._process, b"count\n"))

    async def reached(self, wanted: int) -> bool:
        """Whether *wanted* copies arrived before none did for `QUIET`."""
        loop = asyncio.get_running_loop()
        seen, since = -1, loop.time()
        while loop.time() - since < QUIET:
            count = await self.count()
            if count >= wanted:
                return True
            if count != seen:
                seen, since = count, loop.time()
            await asyncio.sleep(EVERY)
        return False

    async def arrivals(self) -> tuple[array[int], array[int], array[int]]:
        """Destination, event and instant of each copy; the receiver ends."""
        raw, _ = await self._process.communicate(b"dump\n")
        destinations, events, at = ledger.restore(raw)
        return destinations, events, at


@asynccontextmanager
async def receiving(place: Path) -> AsyncIterator[Receiving]:
    """Start a receiver, its errors in *place*."""
    async with processes.python("-m", "bench.receiver", log=place / "receiver.log") as process:
        port = await asyncio.wait_for(_ask(process), processes.START)
        yield Receiving(process, int(port))


async def _ask(process: asyncio.subprocess.Process, question: bytes = b"") -> bytes:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(question)
    return await process.stdout.readline()
