"""A receiver that hangs until it is let go."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from support.receiver import answer

if TYPE_CHECKING:
    from support.receiver import Answer


def gate() -> tuple[asyncio.Event, Answer]:
    """Return what opens it, and an answer that waits for that before it is 200."""
    opened = asyncio.Event()

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Or until the other side hangs up: nothing may be left when the test ends.
        ways = {asyncio.ensure_future(opened.wait()), asyncio.ensure_future(reader.read(1))}
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
        if opened.is_set():
            writer.write(answer(200, "connection: close"))
            await writer.drain()

    return opened, wait
