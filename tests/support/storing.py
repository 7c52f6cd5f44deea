"""An open store with all it was opened with: a clock that is moved, lanes that note."""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from circleci_relay.clock import ManualClock
from circleci_relay.errors import StoreRefused
from circleci_relay.model import (
    SECOND,
    Accepted,
    Change,
    Choice,
    Claim,
    Decision,
    Event,
    Facts,
    Intake,
    Line,
    Outcome,
    Quiet,
    Result,
    Settlement,
    State,
)
from circleci_relay.store import Offer, Store
from support.postgres import Postgres, name_in

LEASE = 40 * SECOND
HOUR = 3600 * SECOND
MAIN = Line(source="circleci", project="gh/acme/api", workflow="build", job="", branch="main")
DELIVERED = Decision(state=State.DELIVERED)
FOREVER = 1e18
SQLITE = "sqlite:///"
_NUMBERS = itertools.count(1)


@dataclass
class RecordingLanes:
    """Lanes with as much room as a test gives them, that note what they are handed."""

    room: dict[str, int] = field(default_factory=dict)
    handed: list[Claim] = field(default_factory=list)
    woken: Counter[str] = field(default_factory=Counter)
    expected: dict[str, int] = field(default_factory=dict)
    withdrawn: int = 0
    standing: bool = False

    def offer(self) -> Mapping[str, Offer]:
        """All the room there is."""
        assert not self.standing, "two offers at once"
        self.standing = True
        return {name: Offer(room=room, lease=LEASE) for name, room in self.room.items()}

    def take(self, claims: Sequence[Claim]) -> None:
        """Note what came."""
        assert self.standing
        self.standing = False
        self.handed += claims
        for claim in claims:
            self.room[claim.destination] -= 1

    def withdraw(self) -> None:
        """Note that nothing came."""
        assert self.standing
        self.standing = False
        self.withdrawn += 1

    def wake(self, destinations: Iterable[str]) -> None:
        """Note who was woken."""
        self.woken.update(destinations)

    def expect(self, due: Mapping[str, int]) -> None:
        """Note who was told when to look."""
        self.expected.update(due)


@dataclass
class RecordingWatch:
    """A watch that notes everything."""

    commits: list[int] = field(default_factory=list)
    spent: float = 0.0
    held: list[Settlement] = field(default_factory=list)
    fenced: list[Settlement] = field(default_factory=list)
    losses: Counter[str] = field(default_factory=Counter)
    needless: Counter[str] = field(default_factory=Counter)
    drops: list[Settlement] = field(default_factory=list)
    outages: list[Exception] = field(default_factory=list)
    out: asyncio.Event = field(default_factory=asyncio.Event)
    recoveries: int = 0

    def committed(self, seconds: float, items: int) -> None:
        """See `Watch`."""
        self.commits.append(items)
        self.spent += seconds

    def settled(self, held: Sequence[Settlement], fenced: Sequence[Settlement]) -> None:
        """See `Watch`."""
        self.held += held
        self.fenced += fenced

    def lost(self, counts: Mapping[str, int]) -> None:
        """See `Watch`."""
        self.losses.update(counts)

    def superseded(self, counts: Mapping[str, int]) -> None:
        """See `Watch`."""
        self.needless.update(counts)

    def dropped(self, settlement: Settlement, error: Exception) -> None:
        """See `Watch`."""
        assert str(error)
        self.drops.append(settlement)

    def outage(self, error: Exception) -> None:
        """See `Watch`."""
        self.outages.append(error)
        self.out.set()

    def recovered(self, seconds: float) -> None:
        """See `Watch`."""
        assert seconds >= 0
        self.recoveries += 1


@dataclass
class Bench:
    """An open store and all it was opened with."""

    store: Store
    url: str
    clock: ManualClock
    lanes: RecordingLanes
    watch: RecordingWatch

    def intake(
        self,
        *to: str,
        id: str | None = None,  # noqa: A002 - CircleCI's word for it
        body: bytes = b"{}",
        line: Line | None = None,
        good: bool | None = None,
        number: int | None = None,
        choose: Callable[[Change | None], Choice] | None = None,
        quiet: Quiet | None = None,
    ) -> Intake:
        """An event for the destinations *to*, which all wait as *quiet* says."""
        n = next(_NUMBERS)
        waits = {} if quiet is None else dict.fromkeys(to, quiet)
        choice = Choice(routes=("all",) if to else (), destinations=to, quiet=waits)
        status = None if good is None else "success" if good else "failed"
        event = Event(
            public_id=f"01K{n:023d}",
            source="circleci",
            id=id or f"event-{n}",
            type="workflow-completed",
            received_at=self.clock.now(),
            body=body,
            headers=(("content-type", "application/json"),),
            facts=Facts(
                type="workflow-completed", status=status, branch="main", pipeline_number=number
            ),
        )
        return Intake(event=event, line=line, good=good, choose=choose or (lambda _: choice))

    async def accept(self, *to: str, **given: Any) -> Accepted:
        """Accept an event for the destinations *to*."""
        return await self.store.accept(self.intake(*to, **given), deadline=FOREVER)

    async def claim(self, destination: str, limit: int = 10) -> list[Claim]:
        """Claim what is due."""
        return await self.store.claim(destination, limit=limit, lease=LEASE)

    async def settle(
        self, claim: Claim, decision: Decision = DELIVERED, **outcome: Any
    ) -> Settlement:
        """Settle and wait until that is durable."""
        settlement = self.settlement(claim, decision, **outcome)
        self.store.settle(settlement)
        await self.store.flush()
        return settlement

    def settlement(
        self, claim: Claim, decision: Decision = DELIVERED, **outcome: Any
    ) -> Settlement:
        """An attempt's end."""
        ok = Outcome(result=Result.OK, started_at=self.clock.now(), duration=1500, status=200)
        return Settlement(claim=claim, outcome=replace(ok, **outcome), decision=decision)

    @property
    def path(self) -> Path:
        """The file of a SQLite store."""
        assert self.url.startswith(SQLITE)
        return Path(self.url.removeprefix(SQLITE).partition("?")[0])

    def rows(self, sql: str) -> list[dict[str, Any]]:
        """Look into the database behind the store's back."""
        return rows_in(self.url, sql)

    def row(self, sql: str) -> dict[str, Any]:
        """The one row there is."""
        [row] = self.rows(sql)
        return row

    def change(self, sql: str) -> None:
        """Do behind the store's back what a later version will do itself."""
        rows_in(self.url, sql)


def rows_in(url: str, sql: str) -> list[dict[str, Any]]:
    """Run a statement on the database at *url*, of whichever kind; the rows it finds."""
    if not url.startswith(SQLITE):
        # Writing also where a test lets nobody write.
        options = "-c default_transaction_read_only=off"
        with psycopg.connect(url, autocommit=True, row_factory=dict_row, options=options) as server:
            found = server.execute(sql.encode())
            return found.fetchall() if found.description else []
    path = url.removeprefix(SQLITE).partition("?")[0]
    with closing(sqlite3.connect(path, isolation_level=None)) as file:
        file.row_factory = sqlite3.Row
        file.execute("PRAGMA wal_autocheckpoint=0")
        return [dict(row) for row in file.execute(sql)]


Open = Callable[..., AbstractAsyncContextManager[Bench]]


async def refusal(url: str) -> str:
    """Open the store at *url*, which must not be possible; why, in one line."""
    try:
        store = await Store.open(url, clock=ManualClock(), lanes=RecordingLanes())
    except StoreRefused as refused:
        message = str(refused)
        assert "\n" not in message
        return message
    await store.close()
    raise AssertionError(f"{url} was not refused")


async def until_back(bench: Bench) -> None:
    """Let the clock run on until the database takes writes again."""
    while not bench.store.available.is_set():
        # The pauses between probes; what is further off are the limits of one under way.
        if (wait := bench.clock.next_call) is not None and wait <= 1:
            bench.clock.advance(max(wait, 0))
        await asyncio.sleep(0)


async def until_session(postgres: Postgres, url: str, state: str) -> None:
    """Wait until a session of a store at *url* is in a *state*, which pg_stat_activity tells."""
    where = f"datname = '{name_in(url)}' AND application_name = 'circleci-relay' AND {state}"
    look = f"SELECT 1 FROM pg_stat_activity WHERE {where}"  # noqa: S608
    async with asyncio.timeout(20):
        while not await asyncio.to_thread(postgres.query, "postgres", look):
            pass


@asynccontextmanager
async def opened(
    url: str, options: str = "", *, clock: ManualClock | None = None
) -> AsyncIterator[Bench]:
    """Open the store at *url*, run it, close it."""
    clock, lanes, watch = clock or ManualClock(), RecordingLanes(), RecordingWatch()
    store = await Store.open(url + options, clock=clock, lanes=lanes, watch=watch)
    async with asyncio.TaskGroup() as group:
        group.create_task(store.run())
        try:
            yield Bench(store, url, clock, lanes, watch)
        finally:
            await store.close()
