"""The store: events and their deliveries, durable before anyone is told of them."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sa

from circleci_relay.errors import StoreRefused
from circleci_relay.store import aging, standing
from circleci_relay.store.batch import Accepting, Batch, Claiming, Doing, Report
from circleci_relay.store.database import Nature
from circleci_relay.store.encode import text
from circleci_relay.store.lanes import Unwatched
from circleci_relay.store.link import Link
from circleci_relay.store.migrate import Migrating, bring_up_to_date, look
from circleci_relay.store.place import database_of
from circleci_relay.store.reads import Reader
from circleci_relay.store.runner import Runner
from circleci_relay.store.statements import statements_for
from circleci_relay.store.unit import Memory, Unit
from circleci_relay.store.writer import Work, Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from circleci_relay.clock import Clock
    from circleci_relay.model import Accepted, Backlog, Claim, Intake, Micros, Settlement
    from circleci_relay.store.aging import Aged, Cursor
    from circleci_relay.store.database import Database
    from circleci_relay.store.lanes import Lanes, Watch

T = TypeVar("T")

_LOOK_EVERY = 0.2
_SAY_EVERY = 5.0
_PARTING = 5.0  #: seconds after which closing does not wait for the database any more


class Store:
    """
    The queue and the memory of the relay, in one SQL database.

    It speaks in whole transactions. What `accept` and `claim` return is durable: fsynced,
    not only written. Nothing here decides anything: what an event is routed to, what
    becomes of a delivery, when something is old, all come as arguments.

    A delivery is *due* at an instant; claiming it moves that instant to the end of a
    lease and gives the claim a fresh token. Whoever holds the token holds the delivery:
    settling or releasing under another changes nothing. A lease that lapses makes the
    delivery due again, and its attempt is recorded as lost when it is claimed next.

    A delivery may also wait before its first attempt (`Quiet`): held, told once, or told
    together with others under the claim of one of them, its leader. What turns out needless
    meanwhile ends as cancelled; until it is claimed all of that may change.

    Hot writes from all callers are committed in groups by `run`, which must be running
    for anything but the reads to return. While the database takes no writes (`available`
    is cleared) what someone waits for raises `StoreUnavailable` at once; settlements and
    releases are kept in memory and come first once it does. No attempt may begin
    meanwhile: its outcome could not be recorded, and it would be made again.
    """

    def __init__(
        self,
        database: Database,
        *,
        clock: Clock,
        lanes: Lanes,
        watch: Watch,
        on_wait: Callable[[str], None],
    ) -> None:
        self._database = database
        self._clock = clock
        self._on_wait = on_wait
        self._memory = Memory()
        self._statements = statements_for(database.dialect)
        self._link = Link(database)
        self._runner = Runner(database, self._link, self._statements, self._memory, clock)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store-writer")
        self._reader: Reader | None = None
        self._closed = False
        self._ended = asyncio.Event()
        self._ended.set()
        self._writer = Writer(
            Work(
                begin=self._begin_batch,
                end=self._end_batch,
                owes_charts=lambda: self._memory.charts.owing,
                tidy=self._tidy,
                sever=database.sever,
            ),
            thread=self._thread,
            clock=clock,
            lanes=lanes,
            watch=watch,
        )

    # Opening and closing

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        clock: Clock,
        lanes: Lanes,
        watch: Watch | None = None,
        on_wait: Callable[[str], None] = lambda _: None,
        patience: float = 0.0,
    ) -> Store:
        """
        Open the database at *url*, made and migrated as need be.

        Of SQLite this is the only process: waits for another that has the file open to
        end, telling *on_wait* every few seconds, and takes over its leases. PostgreSQL
        may be away for *patience* seconds; leases are taken over when they lapse. Raises
        `StoreRefused`, in one clear line, where the database must not be used.
        `sqlite:///relay.db?max_page_count=N` lets the file grow to N pages and no
        further: a disk that fills up, for rehearsals.
        """
        database = await asyncio.to_thread(database_of, url)
        store = cls(database, clock=clock, lanes=lanes, watch=watch or Unwatched(), on_wait=on_wait)
        try:
            for warning in await store._in_thread(database.prepare):
                on_wait(warning)
            await store._wait(f"{database.title} is in use by another process", database.acquire)
            await store._wait(
                f"{database.title} cannot be reached", store._begin, patience=patience
            )
        except BaseException:
            database.sever()
            database.sever(readers=True)
            await store._in_thread(store._end)
            store._thread.shutdown(wait=False)
            raise
        return store

    async def _wait(
        self, what: str, reached: Callable[[], bool], *, patience: float = float("inf")
    ) -> None:
        """Look again and again, for *patience* seconds; the last look may raise."""
        waited = 0.0
        said = -_SAY_EVERY
        while True:
            why = what
            try:
                if await self._in_thread(reached):
                    return
            except Migrating as busy:
                why = str(busy)
            except _Away as away:
                why = f"{what}: {_one_line(away)}"
                if waited >= patience:
                    raise StoreRefused(why) from away.__cause__
            if waited - said >= _SAY_EVERY:
                said = waited
                self._on_wait(f"{why}; waiting")
            await self._clock.sleep(_LOOK_EVERY)
            waited += _LOOK_EVERY

    def _begin(self) -> bool:
        database = self._database
        try:
            if database.shared:
                # Seen from here on by who makes sure that nobody is connected.
                _ = self._link.connection
            found = look(database)
            connection = self._link.connection
            for warning in database.check(connection):
                self._on_wait(warning)
            bring_up_to_date(database, connection, found)
            self._recall(connection)
        except sa.exc.DBAPIError as error:
            raise self._sorted(error) from error
        except Exception as error:
            if database.nature_of(error) is Nature.OUTAGE:
                raise self._sorted(error) from error
            raise
        self._reader = Reader(database, self._statements)
        return True

    def _sorted(self, error: Exception) -> Exception:
        """Say which failures may pass while one waits."""
        cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
        code = getattr(cause, "sqlstate", None) or ""
        passing = self._database.nature_of(error) in {Nature.OUTAGE, Nature.CROSSED}
        self._link.undo(drop=self._database.shared)
        if self._database.shared and passing and not code.startswith(_LASTING):
            return _Away(str(cause))
        return StoreRefused(f"{self._database.title} cannot be used: {_one_line(cause)}")

    def _recall(self, connection: sa.Connection) -> None:
        with connection.begin():
            now = self._database.instant(connection)
            if now is not None:
                self._clock.agree(now)
            unit = self._unit(connection)
            self._clock.agree(standing.last_instant(unit, self._clock.now()))
            unit = self._unit(connection)
            standing.recall(unit)
            if not self._database.shared:
                standing.void_leases(unit)
            self._database.enlist(connection, unit.now)

    def _unit(self, connection: sa.Connection) -> Unit:
        return Unit(
            connection=connection,
            database=self._database,
            statements=self._statements,
            memory=self._memory,
            now=self._clock.now(),
        )

    async def run(self) -> None:
        """Commit what comes in until `close`; a task of its own. A bug here is raised."""
        self._ended.clear()
        try:
            await self._writer.run()
        finally:
            self._ended.set()

    async def close(self) -> None:
        """Write what is owed, then let go of the database; the next process may have it."""
        if self._closed:
            return
        self._closed = True
        self._writer.stop()
        await self._ended.wait()
        if self._reader is not None:
            await self._reader.close()
        cutting = asyncio.get_running_loop().call_later(_PARTING, self._database.sever)
        await self._in_thread(self._end)
        cutting.cancel()
        self._thread.shutdown(wait=False)

    def _end(self) -> None:
        try:
            self._runner.abandon()
            if self._reader is not None:
                self._tidy()
        finally:
            self._link.close()
            self._database.release()

    # Taking in

    async def accept(self, intake: Intake, *, deadline: float) -> Accepted:
        """
        Store an event, once per source and id, with a delivery for each destination chosen.

        In one transaction: compares it with its line, has it routed, stores it. What
        lanes have room for is handed to them leased, the rest waits. *deadline* is on the
        clock's monotonic seconds: past it nothing is begun. `StoreUnavailable` means *not
        known to be stored*; `StoreError` that this event never will be.
        """
        item = Accepting(intake, deadline, self._future())
        self._writer.put(item)
        return await item.future

    # Delivering

    async def claim(self, destination: str, *, limit: int, lease: Micros) -> list[Claim]:
        """
        Take up to *limit* due deliveries of *destination* in hand, the longest due first.

        Each counts as an attempt from here on, whether or not it is made; see `release`.
        """
        item = Claiming(destination, limit, lease, self._future())
        self._writer.put(item)
        return await item.future

    def settle(self, settlement: Settlement) -> None:
        """
        Record an attempt, always; end or reschedule its delivery if the claim still holds it.

        Returns at once and never fails; `Watch.settled` tells when it is durable.
        """
        self._writer.settle(settlement)

    def release(self, claims: Iterable[Claim]) -> None:
        """Give back, due at once, what was claimed and not attempted. Returns at once."""
        self._writer.release(claims)

    async def flush(self) -> None:
        """Return once all that was settled, released or counted so far is durable."""
        while self._writer.owing:
            await self.do(lambda _: None)
        await self.do(lambda unit: setattr(unit, "charts_now", True))

    async def expedite(self, destination: str, *, limit: int) -> int:
        """Make up to *limit* waiting deliveries due now, those due next first; how many."""
        return await self.do(lambda unit: standing.expedite(unit, destination, limit=limit))

    async def next_due(self, destination: str) -> Micros | None:
        """When the next pending delivery is due, or its lease ends; None if none is pending."""
        return await self._reading.next_due(destination)

    @property
    def shared(self) -> bool:
        """Whether other replicas may be at work on it."""
        return self._database.shared

    @property
    def available(self) -> asyncio.Event:
        """Set while the database takes writes; attempts begin only then. Not to be set."""
        return self._writer.available

    # Configuration

    async def reconcile(self, names: Collection[str]) -> Mapping[str, Micros]:
        """
        Say which destinations are configured, at start and at each reload.

        The own clock of any other stands still until it is back, so that what is pending
        there does not age. Returns for each of *names* how long its clock has stood still:
        its own clock is `now` less that, and `Claim.aged_from` is a reading of it.
        """
        return await self.do(lambda unit: standing.reconcile(unit, names))

    async def take_up(
        self, names: Collection[str], *, digest: str, routes: Any
    ) -> Mapping[str, Micros]:
        """`reconcile` and `record_config` in one transaction: both, or neither."""

        def both(unit: Unit) -> Mapping[str, Micros]:
            self._put_config(unit, digest, routes)
            return standing.reconcile(unit, names)

        return await self.do(both)

    async def record_config(self, digest: str, routes: Any) -> None:
        """Keep the masked *routes* under *digest*, which events accepted from now on name."""
        await self.do(lambda unit: self._put_config(unit, digest, routes))

    def _put_config(self, unit: Unit, digest: str, routes: Any) -> None:
        unit.connection.execute(
            unit.statements.put_config,
            {
                "digest": digest,
                "routes": text(routes),
                "first_seen_at": unit.now,
                "last_seen_at": unit.now,
            },
        )
        unit.then.append(lambda: setattr(unit.memory, "digest", digest))

    # Upkeep

    async def age_out(self, *, keep: Micros, cursor: Cursor | None, limit: int) -> Aged:
        """
        One step of letting go of what is older than *keep*: *limit* events at most.

        Begin with *cursor* None and go on with `Aged.cursor` until that is None. Pending
        deliveries that old become dead (`expired`), except under way or at a destination
        that is not configured; events go once their last delivery was settled that long ago.
        """
        return await self.do(
            lambda unit: aging.age_out(unit, keep=keep, cursor=cursor, limit=limit)
        )

    async def unlead(self) -> int:
        """
        Make due on their own those whose leader was ended without them; how many.

        What is told together is due as one delivery, the leader; it may expire by itself.
        """
        return await self.do(standing.unlead)

    async def clamp(self, *, ahead: Micros, limit: int) -> int:
        """Bring back up to *limit* deliveries a destination that are due beyond *ahead*."""
        return await self.do(lambda unit: standing.clamp(unit, ahead=ahead, limit=limit))

    async def vacuum(self, *, pages: int) -> int:
        """Give up to *pages* free pages back to the file system; how many are left."""
        return await self.do(lambda unit: self._database.vacuum(unit.connection, pages))

    async def agree(self) -> None:
        """
        With other replicas, once in a while: on the time, and on who is asleep.

        Keeps the clock from falling behind the furthest of theirs (a machine that was
        paused counts on where it was), and ends what a process that sleeps holds locked.
        """
        if not self._database.shared:
            return

        def look(unit: Unit) -> Micros | None:
            self._database.end_sleepers(unit.connection)
            return self._database.latest(unit.connection)

        now = await self.do(look)
        if now is not None:
            self._clock.agree(now)

    async def backlog(self) -> Mapping[str, Backlog]:
        """What waits and what is dead, by destination; those with neither are left out."""
        return await self._reading.backlog()

    async def size(self) -> int:
        """Bytes on disk."""
        return await self._reading.size()

    # Whatever else is done and looked at, by `repair` and `log`

    async def do(self, step: Callable[[Unit], T]) -> T:
        """
        Do *step* inside a transaction, among others'; return what it does once it is durable.

        It may be run again, in another transaction, if the first comes to nothing: what it
        changes beside the database belongs into `Unit.then`. Short: senders wait for it.
        """
        item = Doing(step, self._future())
        self._writer.put(item)
        result: T = await item.future
        return result

    async def look(self, work: Callable[[sa.Connection], T]) -> T:
        """
        Have *work* look at what is stored, with no right to write; off the event loop.

        One look at a time: it should end within some 50 ms, since others wait for it.
        """
        return await self._reading.look(work)

    # Inside

    @property
    def _reading(self) -> Reader:
        if self._reader is None:
            raise RuntimeError("the store is closed")
        return self._reader

    def _begin_batch(self, batch: Batch) -> None:
        if self._database.near and batch.hot:
            self._runner.begin(batch)

    def _end_batch(self, batch: Batch) -> Report:
        report = self._runner.end(batch)
        report.pressing = self._database.pressing
        return report

    def _tidy(self) -> None:
        """What suits a quiet moment; what fails now, the next commit tells."""
        with suppress(Exception):
            self._database.tidy(self._link.connection)

    def _future(self) -> asyncio.Future[Any]:
        return asyncio.get_running_loop().create_future()

    async def _in_thread(self, function: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)


class _Away(Exception):  # noqa: N818 - it may come back
    """The database cannot be reached now."""


_LASTING = ("28", "3D", "42")
"""Classes of SQLSTATE that waiting does not mend: who may not, what is not there."""


def _one_line(error: object) -> str:
    return " ".join(str(error).split())
