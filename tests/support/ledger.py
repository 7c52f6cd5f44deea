"""What was posted, what was said of it, what arrived, what is stored; and whether it fits."""

from __future__ import annotations

import asyncio
import json
import random
import sqlite3
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import psycopg

from circleci_relay.circleci import signature
from support.program import SECRET, CircleCI, Program, an_event, circleci

if TYPE_CHECKING:
    from support.receiver import Receiver, Request

PATIENCE = 60.0
"""Seconds after which a test gives up waiting; on an idle machine none takes ten."""

Routing = Mapping[str, tuple[str, ...]]
"""The destinations a workflow's status leads to."""

Database = Path | str
"""The file of a SQLite database, or the URL of one in PostgreSQL."""


@dataclass
class Sent:
    """One event, and all that its sender heard of it."""

    body: bytes
    to: tuple[str, ...]
    relay_ids: set[str] = field(default_factory=set)  #: what acknowledgements called it
    doubtful: bool = False  #: a post of it was answered 503, or not at all

    @property
    def acknowledged(self) -> bool:
        """Whether CircleCI may forget it."""
        return bool(self.relay_ids)


class Ledger:
    """A seeded stream of events, and a record of every answer."""

    def __init__(self, seed: int, routing: Routing) -> None:
        self.random = random.Random(seed)  # noqa: S311 - to be repeated, not to be secret
        self.sent: dict[str, Sent] = {}
        self.answers: Counter[int] = Counter()  #: by status; 0 is no answer
        self.strange: list[tuple[int, Mapping[str, str]]] = []  #: what no answer may be
        self.slowest = 0.0  #: seconds an answer took at most
        self._routing = routing
        self._names: list[str] = []  # of all that was sent, to choose from
        self._doubtful: list[str] = []  # and of what may still be in doubt
        self._changed = asyncio.Condition()

    @property
    def acknowledged(self) -> dict[str, Sent]:
        """The events that CircleCI may forget."""
        return {name: sent for name, sent in self.sent.items() if sent.acknowledged}

    def draw(self) -> str:
        """Return the id of what is posted next: new, in doubt, or once more for no reason."""
        chance = self.random.random()
        if chance < 0.15 and (doubtful := self._in_doubt()):
            return doubtful
        if chance < 0.2 and self._names:
            return self.random.choice(self._names)
        number = len(self.sent)
        status = self.random.choice(sorted(self._routing))
        body = an_event(
            number,
            workflow={"id": "f", "name": "build", "status": status},
            padding='é\\"\u2028'[: number % 5] * self.random.randrange(200),
        )
        name = json.loads(body)["id"]
        self.sent[name] = Sent(body, self._routing[status])
        self._names.append(name)
        return str(name)

    def _in_doubt(self) -> str | None:
        """Return the id of an event that CircleCI would send again, if there is one."""
        while self._doubtful:
            place = self.random.randrange(len(self._doubtful))
            name = self._doubtful[place]
            if not self.sent[name].acknowledged:
                return name
            self._doubtful[place] = self._doubtful[-1]
            self._doubtful.pop()
        return None

    async def post(self, sender: CircleCI, name: str) -> int:
        """Post the event *name*; return the status, 0 if no answer came."""
        sent = self.sent[name]
        headers = {
            "content-type": "application/json",
            "circleci-signature": signature.sign(sent.body, SECRET.encode()),
        }
        status, said, answered = 0, {}, False
        began = time.monotonic()
        with suppress(aiohttp.ClientError, ConnectionError, TimeoutError):
            async with sender.session.post(sender.url, data=sent.body, headers=headers) as response:
                said, answered = await response.json(), "retry-after" in response.headers
                status = response.status
        if status:
            self.slowest = max(self.slowest, time.monotonic() - began)
        if status in {200, 202}:
            sent.relay_ids.add(said["event"])
            if said["duplicate"] != (status == 200):
                self.strange.append((status, said))
        else:
            if not sent.doubtful:
                self._doubtful.append(name)
            sent.doubtful = True
            if status and (status != 503 or not answered):
                self.strange.append((status, said))
        async with self._changed:
            self.answers[status] += 1
            self._changed.notify_all()
        return status

    async def until(self, reached: Callable[[Counter[int]], bool]) -> None:
        """Wait until the answers so far are enough."""
        async with asyncio.timeout(PATIENCE), self._changed:
            await self._changed.wait_for(lambda: reached(self.answers))

    async def more(self, count: int, *statuses: int) -> None:
        """Wait for *count* more answers with one of these statuses."""
        enough = sum(self.answers[status] for status in statuses) + count
        await self.until(lambda answers: sum(answers[s] for s in statuses) >= enough)

    @asynccontextmanager
    async def load(self, program: Program, *, width: int = 16) -> AsyncIterator[None]:
        """Post as fast as *width* senders can, until the block ends or *program* does."""
        ending = asyncio.Event()

        async def work(sender: CircleCI) -> None:
            while not ending.is_set() and await self.post(sender, self.draw()):
                pass

        async with circleci(program) as sender, asyncio.TaskGroup() as tasks:
            for _ in range(width):
                tasks.create_task(work(sender))
            try:
                yield
            finally:
                ending.set()

    # What arrived

    async def arrived(self, receivers: Mapping[str, Receiver]) -> None:
        """Wait until everything acknowledged has come to each of its destinations."""
        for name, receiver in receivers.items():
            wanted = {sent.body for sent in self.acknowledged.values() if name in sent.to}
            seen = 0

            def here(wanted: set[bytes] = wanted, receiver: Receiver = receiver) -> bool:
                nonlocal seen
                wanted.difference_update(each.body for each in receiver.requests[seen:])
                seen = len(receiver.requests)
                return not wanted

            try:
                async with asyncio.timeout(PATIENCE), receiver.arrived:
                    await receiver.arrived.wait_for(here)
            except TimeoutError:
                raise AssertionError(f"{len(wanted)} never arrived at {name}") from None

    def audit(self, receivers: Mapping[str, Receiver]) -> Counter[str]:
        """Check every arrival; return how many were repeats, by destination."""
        assert not self.strange
        whose: dict[str, tuple[str, str]] = {}  # webhook-id to event and destination
        ids: dict[tuple[str, str], str] = {}
        attempts: set[tuple[str, str]] = set()
        repeats: Counter[str] = Counter()
        for destination, receiver in receivers.items():
            for request in receiver.requests:
                pair = (self._recognise(request, destination), destination)
                webhook_id = request.headers["webhook-id"]
                repeats[destination] += webhook_id in whose
                assert whose.setdefault(webhook_id, pair) == pair, "one webhook-id for two"
                assert ids.setdefault(pair, webhook_id) == webhook_id, "two for one delivery"
                attempt = (webhook_id, request.headers["relay-attempt"])
                assert attempt not in attempts, "an attempt made twice was counted once"
                attempts.add(attempt)
        return repeats

    def _recognise(self, request: Request, destination: str) -> str:
        """Return the id of the event that arrived, which must be one that may."""
        name = str(json.loads(request.body)["id"])
        assert name in self.sent, "this was never sent"
        sent = self.sent[name]
        assert request.body == sent.body
        assert destination in sent.to
        assert sent.acknowledged or sent.doubtful
        for relay_id in sent.relay_ids:
            assert request.headers["webhook-id"] == f"{relay_id}-{destination}"
        return name

    # What is stored

    async def emptied(self, program: Program, database: Database) -> None:
        """Wait until nothing is pending in the *database* of *program*."""
        pending = "SELECT 1 FROM deliveries WHERE state = 'pending' LIMIT 1"
        await until(program, lambda: not look(database, pending), every=0.05)

    def audit_store(self, database: Database, receivers: Mapping[str, Receiver]) -> None:
        """Check what the *database* holds once all is delivered."""
        if isinstance(database, Path):
            assert look(database, "PRAGMA integrity_check") == [("ok",)]
        events = look(database, "SELECT id, public_id FROM events")
        stored = dict(events)
        assert len(stored) == len(events), "an event is stored twice"
        for name, sent in self.sent.items():
            assert len(sent.relay_ids) <= 1, "acknowledged as two events"
            if name in stored:
                assert sent.relay_ids <= {stored[name]}
                assert sent.acknowledged or sent.doubtful
            else:
                assert not sent.acknowledged, "acknowledged, and not stored"
        assert stored.keys() <= self.sent.keys()
        deliveries = look(
            database,
            "SELECT e.id, e.public_id || '-' || d.destination, d.destination, d.state, d.attempts,"
            " (SELECT count(*) FROM attempts a WHERE a.delivery = d.key),"
            " (SELECT max(number) FROM attempts a WHERE a.delivery = d.key)"
            " FROM deliveries d JOIN events e ON e.key = d.event",
        )
        owed = Counter((name, to) for name in stored for to in self.sent[name].to)
        assert Counter((row[0], row[2]) for row in deliveries) == owed
        assert {row[3] for row in deliveries} <= {"delivered"}
        arrivals = Counter(
            request.headers["webhook-id"]
            for receiver in receivers.values()
            for request in receiver.requests
        )
        for _, webhook_id, _, _, attempts, recorded, last in deliveries:
            assert attempts == recorded == last, "every attempt is recorded, and counted once"
            assert 1 <= arrivals[webhook_id] <= attempts


async def until(program: Program, reached: Callable[[], bool], *, every: float) -> None:
    """Wait for what nobody tells of: looked at with each line *program* writes, or so often."""
    async with asyncio.timeout(PATIENCE):
        while not reached():
            with suppress(TimeoutError):
                async with asyncio.timeout(every), program.written:
                    await program.written.wait()


def look(database: Database, sql: str) -> list[tuple[Any, ...]]:
    """Look into a database, also while programs have it open."""
    if isinstance(database, str):
        return change(database, sql, read_only=True)
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
        return connection.execute(sql).fetchall()


def change(database: str, sql: str, *, read_only: bool = False) -> list[tuple[Any, ...]]:
    """Run one statement behind the back of whoever has the PostgreSQL *database* open."""
    # Not for ever: the event loop waits for it, and so does every other patience.
    options = "-c lock_timeout=50s"
    with closing(psycopg.connect(database, autocommit=True, options=options)) as connection:
        connection.read_only = read_only
        return connection.execute(sql.encode()).fetchall()
