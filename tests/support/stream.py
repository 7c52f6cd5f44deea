"""A long stream of numbered events, and a count of where each arrived; nothing else is kept."""

from __future__ import annotations

import asyncio
import itertools
import random
import re
import time
from collections import Counter
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from circleci_relay.circleci import signature
from support.program import HOOKS, SECRET, an_event

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
NUMBER = re.compile(rb'"id":"00000000-0000-3000-8000-(\d{12})"')
PADDING = "x" * 1_200
"""Makes bodies about as long as CircleCI's own."""


@dataclass
class Sink:
    """A destination that counts arrivals by event; every so many are answered with 500."""

    fails: int = 0  #: the n-th, 2n-th, … request; 0: none
    counts: bytearray = field(default_factory=bytearray)
    requests: int = 0
    refused: set[int] = field(default_factory=set)  #: events that a retry is owed to
    port: int = 0

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Sink]:
        """Be reachable for as long as the block lasts."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=256)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}/hook"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                found = LENGTH.search(head)
                body = await reader.readexactly(int(found[1]) if found else 0)
                status = self._count(body)
                writer.write(b"HTTP/1.1 %d Whatever\r\ncontent-length: 0\r\n\r\n" % status)
        writer.close()

    def _count(self, body: bytes) -> int:
        found = NUMBER.search(body)
        assert found is not None, "this was never sent"
        number = int(found[1])
        self.requests += 1
        if self.fails and self.requests % self.fails == 0:
            self.refused.add(number)
            return 500
        self.refused.discard(number)
        self.counts.extend(bytes(max(0, number + 1 - len(self.counts))))
        self.counts[number] += 1
        return 200

    def missing(self, numbers: bytearray) -> int:
        """Return how many of the events marked in *numbers* have not come yet."""
        here = self.counts + bytes(max(0, len(numbers) - len(self.counts)))
        return sum(1 for wanted, count in zip(numbers, here, strict=False) if wanted and not count)

    @property
    def repeats(self) -> int:
        """How many arrivals were of what had arrived and been taken before."""
        return sum(count - 1 for count in self.counts if count > 1)


@dataclass
class Stream:
    """
    Posts events, numbered in turn, and marks those that were acknowledged.

    One in fifty is an earlier one once more, one in fifty is forged; a new branch comes
    with every hundredth event.
    """

    seed: int
    answers: Counter[int] = field(default_factory=Counter)  #: by status; 0 is no answer
    acknowledged: bytearray = field(default_factory=bytearray)
    slowest: float = 0.0  #: seconds until an acknowledgement, since it was last set to 0
    numbers: Iterator[int] = field(default_factory=itertools.count)

    async def post(self, address: str, *, width: int, seconds: float, rate: float = 0.0) -> float:
        """Post for so many seconds over *width* connections; return how many a second."""
        before, began = sum(self.answers.values()), time.monotonic()
        turns = itertools.count()
        ending = asyncio.Event()

        async def work(worker: int) -> None:
            chance = random.Random(self.seed + worker)  # noqa: S311 - to be repeated
            host, _, port = address.rpartition(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                while not ending.is_set():
                    due = began + next(turns) / rate if rate else 0.0
                    if due > time.monotonic() and await _ended(ending, due):
                        break
                    await self._one(reader, writer, chance)
            writer.close()

        async with asyncio.TaskGroup() as tasks:
            for worker in range(width):
                tasks.create_task(work(worker))
            await _ended(ending, began + seconds)
            ending.set()
        return (sum(self.answers.values()) - before) / (time.monotonic() - began)

    async def _one(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, chance: random.Random
    ) -> None:
        kind = chance.randrange(50)
        number = next(self.numbers)
        if kind == 0 and number:
            number = chance.randrange(max(0, number - 1_000), number)
        secret = b"not the secret" if kind == 1 else SECRET.encode()
        began, status = time.monotonic(), 0
        try:
            writer.write(_request(number, secret))
            head = await reader.readuntil(b"\r\n\r\n")
            found = LENGTH.search(head)
            await reader.readexactly(int(found[1]) if found else 0)
            status = int(head[9:12])
        finally:
            self.answers[status] += 1
        if status in {200, 202}:
            self.acknowledged.extend(bytes(max(0, number + 1 - len(self.acknowledged))))
            self.acknowledged[number] = 1
            self.slowest = max(self.slowest, time.monotonic() - began)


def _request(number: int, secret: bytes) -> bytes:
    branch = "main" if number % 2 else f"branch-{number // 100}"
    body = an_event(
        number,
        pipeline={"id": "p", "number": number, "vcs": {"branch": branch}},
        padding=PADDING,
    )
    lines = (
        f"POST {HOOKS} HTTP/1.1",
        "host: relay",
        "content-type: application/json",
        f"circleci-signature: {signature.sign(body, secret)}",
        f"content-length: {len(body)}",
    )
    return "\r\n".join([*lines, "", ""]).encode() + body


async def _ended(ending: asyncio.Event, due: float) -> bool:
    """Wait until *due* on the monotonic clock; whether *ending* came first."""
    late = due - time.monotonic()
    with suppress(TimeoutError):
        async with asyncio.timeout(late):
            await ending.wait()
    return ending.is_set()
