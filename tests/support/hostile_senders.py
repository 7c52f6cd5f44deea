"""
Senders that behave as no sender should, in a process of their own.

`python -m support.hostile_senders HOST PORT CROWD ROUNDS` attacks a hooks listener in all ways
at once, and tells of each connection made and each that has ended by a line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from support.program import HOOKS

DEADLINE = 25.0
"""Seconds after which a connection that is still there counts as held."""

HEAD = f"POST {HOOKS} HTTP/1.1\r\nhost: localhost\r\n".encode()
UNSIGNED = HEAD + b"content-length: 2\r\n\r\n{}"
BLOCK = b"x" * 65_536


@dataclass
class Line:
    """One connection to the relay, and what came back."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    heard: bytearray = field(default_factory=bytearray)

    def send(self, data: bytes) -> None:
        """Send *data*, now."""
        self.writer.write(data)

    async def flood(self, data: bytes) -> None:
        """Send *data* again and again, until the relay has had enough."""
        while not self.writer.is_closing():
            self.writer.write(data)
            await self.writer.drain()

    async def drip(self, data: bytes) -> None:
        """Send *data* a byte a second, until the relay has had enough."""
        for byte in data:
            self.writer.write(bytes([byte]))
            if await self.quiet(1.0):
                return

    async def quiet(self, seconds: float) -> bool:
        """Listen for so long; return whether the relay has closed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while data := await self.reader.read(65_536):
                    self.heard += data
                return True
        return False


Way = Callable[[Line], Awaitable[None]]


def sends(*parts: bytes, half_close: bool = False) -> Way:
    """Send *parts* and wait."""

    async def act(line: Line) -> None:
        for part in parts:
            line.send(part)
        if half_close:
            line.writer.write_eof()

    return act


def drips(first: bytes, then: bytes) -> Way:
    """Send *first*, and *then* byte by byte."""

    async def act(line: Line) -> None:
        line.send(first)
        await line.drip(then)

    return act


def floods(first: bytes, then: bytes) -> Way:
    """Send *first*, and *then* for ever."""

    async def act(line: Line) -> None:
        line.send(first)
        await line.flood(then)

    return act


async def never_listen(line: Line) -> None:
    """Ask again and again, and read no answer."""
    line.writer.transport.pause_reading()  # type: ignore[attr-defined]
    await line.flood(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n" * 10)


PACE = 1000.0
"""New connections a second."""

WAYS: dict[str, Way] = {
    "says-nothing": sends(),
    "drips-head": drips(b"", HEAD + b"content-length: 2\r\n\r\n{}"),
    "drips-body": drips(HEAD + b"content-length: 99\r\n\r\n", b"x" * 99),
    "drips-chunks": drips(HEAD + b"transfer-encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 20),
    "says-too-much": floods(HEAD + b"content-length: 999999999\r\n\r\n", BLOCK),
    "chunks-too-much": floods(
        HEAD + b"transfer-encoding: chunked\r\n\r\n", b"ffff\r\n" + BLOCK[1:] + b"\r\n"
    ),
    "tiny-chunks": floods(HEAD + b"transfer-encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 5000),
    "chunks-of-rubbish": sends(HEAD + b"transfer-encoding: chunked\r\n\r\n", b"zz\r\nzz"),
    "length-too-long": sends(HEAD + b"content-length: 99\r\n\r\n{}"),
    "length-too-short": sends(HEAD + b"content-length: 2\r\n\r\n{}" + b"left over" * 9),
    "length-negative": sends(HEAD + b"content-length: -2\r\n\r\n{}"),
    "length-absurd": sends(HEAD + b"content-length: " + b"9" * 400 + b"\r\n\r\n{}"),
    "two-lengths": sends(HEAD + b"content-length: 2\r\ncontent-length: 3\r\n\r\n{}x"),
    "length-and-chunks": sends(
        HEAD + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
    ),
    "rubbish-after": sends(UNSIGNED, b"\x00\xff rubbish\r\n\r\n" * 50),
    "rubbish": floods(b"", bytes(range(256)) * 64),
    "endless-header": floods(HEAD + b"x: ", BLOCK),
    "many-headers": floods(HEAD, b"x: y\r\n" * 1000),
    "large-headers": sends(HEAD, *[b"x-%d: " % n + b"y" * 8000 + b"\r\n" for n in range(100)]),
    "half-closed": sends(HEAD + b"content-length: 99\r\n\r\n{}", half_close=True),
    "half-closed-head": sends(HEAD, half_close=True),
    "pipelines": sends(
        UNSIGNED * 300, UNSIGNED.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
    ),
    "never-listens": never_listen,
}
"""Every way by name."""


SLOW = ("says-nothing", "drips-head", "drips-body", "drips-chunks", "length-too-long")
"""Those that wait until a deadline of the relay's has passed."""

COSTLY = ("never-listens",)
"""Done once only: megabytes of answers fit into the system's own buffers before one is stuck."""


async def attack(host: str, port: int, name: str) -> None:
    """Do it once, and report."""
    try:
        line = Line(*await asyncio.open_connection(host, port))
    except OSError:
        report(way=name, statuses=["unconnected"], closed=True, took=0.0)
        return
    report(connected=name)
    began, closed = time.monotonic(), True
    try:
        async with asyncio.timeout(DEADLINE):
            with suppress(ConnectionError):
                await WAYS[name](line)
                await line.quiet(DEADLINE)
    except TimeoutError:
        closed = False
    statuses = [part[:3].decode("latin-1") for part in line.heard.split(b"HTTP/1.1 ")[1:]]
    report(way=name, statuses=statuses, closed=closed, took=time.monotonic() - began)
    line.writer.transport.abort()


def report(**what: Any) -> None:
    """Tell the test."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


async def assault(host: str, port: int, crowd: int, rounds: int) -> None:
    """Attack in every way *rounds* times, beside a *crowd* that only takes up room."""
    ways = [SLOW[number % len(SLOW)] for number in range(crowd)]
    for number in range(rounds):
        ways += [name for name in WAYS if name not in COSTLY or number == 0]
    last = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:

        def begin(way: str, *, end: bool) -> None:
            tasks.create_task(attack(host, port, way))
            if end:
                last.set()

        loop = asyncio.get_running_loop()
        for number, way in enumerate(ways):
            loop.call_later(number / PACE, partial(begin, way, end=number == len(ways) - 1))
        await last.wait()


@dataclass
class Assault:
    """An attack under way, and what came of it."""

    connected: int = 0
    reports: list[dict[str, Any]] = field(default_factory=list)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def read(self, stream: asyncio.StreamReader) -> None:
        """Take in all it reports."""
        while line := await stream.readline():
            what = json.loads(line)
            async with self.changed:
                if "way" in what:
                    self.reports.append(what)
                else:
                    self.connected += 1
                self.changed.notify_all()

    async def until(self, reached: Callable[[], bool]) -> None:
        """Wait until that is so."""
        async with asyncio.timeout(2 * DEADLINE), self.changed:
            await self.changed.wait_for(reached)

    def statuses(self) -> dict[str, Counter[str]]:
        """Return what was answered, by way."""
        found: dict[str, Counter[str]] = {}
        for each in self.reports:
            found.setdefault(each["way"], Counter()).update(each["statuses"] or ["closed"])
        return found


@asynccontextmanager
async def assaulted(address: str, *, crowd: int, rounds: int) -> AsyncIterator[Assault]:
    """Attack *address* for as long as the block lasts."""
    host, _, port = address.removeprefix("http://").rpartition(":")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "support.hostile_senders",
        *(host, port, str(crowd), str(rounds)),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        limit=1 << 24,
    )
    assert process.stdout is not None
    found = Assault()
    try:
        async with asyncio.TaskGroup() as tasks:
            reading = tasks.create_task(found.read(process.stdout))
            yield found
            reading.cancel()
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


if __name__ == "__main__":
    logging.disable(logging.WARNING)  # of what the relay no longer takes
    asyncio.run(assault(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])))
