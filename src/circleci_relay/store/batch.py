"""One batch of work, and the running of it: all in one transaction, or item by item."""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from circleci_relay.store.accept import accept
from circleci_relay.store.claim import claim, release
from circleci_relay.store.settle import settle
from circleci_relay.store.sqlite import Nature, nature_of
from circleci_relay.store.unit import Again, Faulty, Memory, Unit

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator, Mapping

    import sqlalchemy as sa

    from circleci_relay.clock import Clock
    from circleci_relay.model import Accepted, Claim, Intake, Micros, Settlement
    from circleci_relay.store.lanes import Offer
    from circleci_relay.store.statements import Statements

_TURNS = 8
_FILLER = "x" * 65_536


@dataclass(slots=True, eq=False)
class Accepting:
    """An event whose sender waits."""

    intake: Intake
    deadline: float  #: on the clock's monotonic seconds
    future: asyncio.Future[Accepted]


@dataclass(slots=True, eq=False)
class Claiming:
    """A lane that waits for work."""

    destination: str
    limit: int
    lease: Micros
    future: asyncio.Future[list[Claim]]


@dataclass(slots=True, eq=False)
class Doing:
    """Anything else that must be inside a transaction."""

    step: Callable[[Unit], Any]
    future: asyncio.Future[Any]


Waiting = Accepting | Claiming | Doing


@dataclass(slots=True, kw_only=True)
class Batch:
    """What goes into one transaction."""

    settlements: list[Settlement] = field(default_factory=list)
    releases: list[Claim] = field(default_factory=list)
    accepts: list[Accepting] = field(default_factory=list)
    claims: list[Claiming] = field(default_factory=list)
    steps: list[Doing] = field(default_factory=list)
    offer: Mapping[str, Offer] = field(default_factory=dict)
    room: dict[str, int] = field(default_factory=dict)  #: what is left of the offer
    probe: bool = False  #: write something, whatever else there is

    @property
    def size(self) -> int:
        """How many items."""
        return (
            len(self.settlements)
            + len(self.releases)
            + len(self.accepts)
            + len(self.claims)
            + len(self.steps)
        )

    def singly(self) -> Iterator[Batch]:
        """The same items in the same order, a batch each."""
        for settlement in self.settlements:
            yield Batch(settlements=[settlement])
        for released in self.releases:
            yield Batch(releases=[released])
        for accepting in self.accepts:
            yield Batch(accepts=[accepting], offer=self.offer, room=self.room)
        for claiming in self.claims:
            yield Batch(claims=[claiming])
        for doing in self.steps:
            yield Batch(steps=[doing])


@dataclass(slots=True, kw_only=True)
class Report:
    """What is durable now, what never will be, and whether the database is to blame."""

    done: list[tuple[Waiting, Any]] = field(default_factory=list)
    failed: list[tuple[Waiting, Exception]] = field(default_factory=list)
    held: list[Settlement] = field(default_factory=list)
    fenced: list[Settlement] = field(default_factory=list)
    dropped: list[tuple[Settlement, Exception]] = field(default_factory=list)
    released: list[Claim] = field(default_factory=list)
    handed: list[Claim] = field(default_factory=list)  #: inserted leased, for the lanes
    waiting: set[str] = field(default_factory=set)  #: destinations with unleased ones
    lost: Counter[str] = field(default_factory=Counter)
    commits: list[tuple[float, int]] = field(default_factory=list)  #: seconds, items
    outage: Exception | None = None
    pressing: bool = False  #: the write-ahead log should not grow further

    def add(self, other: Report) -> None:
        """Put what another transaction did behind this."""
        self.done += other.done
        self.failed += other.failed
        self.held += other.held
        self.fenced += other.fenced
        self.dropped += other.dropped
        self.released += other.released
        self.handed += other.handed
        self.waiting |= other.waiting
        self.lost += other.lost
        self.commits += other.commits
        self.outage = other.outage


class Runner:
    """Runs batches on one connection; lives in the writer's thread."""

    def __init__(
        self, connection: sa.Connection, statements: Statements, memory: Memory, clock: Clock
    ) -> None:
        self._connection = connection
        self._statements = statements
        self._memory = memory
        self._clock = clock

    def run(self, batch: Batch) -> Report:
        """
        Run *batch* in one transaction; if an item of it will never do, each on its own.

        Only what is wrong with this program itself is raised.
        """
        try:
            return self._with_care(batch)
        except Exception as error:  # noqa: BLE001 - sorted by nature, and raised again if ours
            nature = Nature.DATA if isinstance(error, Faulty) else nature_of(error)
            if nature is Nature.OUTAGE:
                return Report(outage=error)
            if batch.size == 1:
                return self._alone(batch, error, nature)
        whole = Report()
        for single in batch.singly():
            whole.add(self.run(single))
            if whole.outage is not None:
                break
        return whole

    def _alone(self, batch: Batch, error: Exception, nature: Nature) -> Report:
        if nature is Nature.BUG:
            raise error
        for settlement in batch.settlements:
            bare = dataclasses.replace(settlement.outcome, error=None, excerpt=b"")
            if bare == settlement.outcome:
                return Report(dropped=[(settlement, error)])
            report = self.run(Batch(settlements=[dataclasses.replace(settlement, outcome=bare)]))
            # Whoever handed it in knows it by what it was.
            report.held = [settlement] * len(report.held)
            report.fenced = [settlement] * len(report.fenced)
            report.dropped = [(settlement, late) for _, late in report.dropped]
            return report
        if batch.releases:
            raise error
        waiting: list[Waiting] = [*batch.accepts, *batch.claims, *batch.steps]
        return Report(failed=[(item, error) for item in waiting])

    def _with_care(self, batch: Batch) -> Report:
        """Run again what another writer crossed, or what must be looked at row by row."""
        for turn in range(_TURNS):
            try:
                return self._once(batch, careful=turn > 0)
            except Again:
                self._memory.rolled_back()
            except BaseException:
                self._memory.rolled_back()
                raise
        raise Faulty from Again()

    def _once(self, batch: Batch, *, careful: bool) -> Report:
        started = self._clock.monotonic()
        report = Report()
        room = dict(batch.room)
        with self._connection.begin():
            unit = Unit(
                connection=self._connection,
                statements=self._statements,
                memory=self._memory,
                now=self._clock.now(),
                careful=careful,
            )
            self._apply(unit, batch, room, report)
            unit.finish()
        batch.room.update(room)
        report.lost = unit.lost
        for then in unit.then:
            then()
        report.commits.append((self._clock.monotonic() - started, batch.size))
        return report

    def _apply(self, unit: Unit, batch: Batch, room: dict[str, int], report: Report) -> None:
        if batch.probe:
            _probe(unit)
        if batch.settlements:
            report.fenced = settle(unit, batch.settlements)
            gone = {id(each) for each in report.fenced}
            report.held = [each for each in batch.settlements if id(each) not in gone]
        if batch.releases:
            release(unit, batch.releases)
            report.released = batch.releases
        if batch.accepts:
            intakes = [item.intake for item in batch.accepts]
            taken = accept(unit, intakes, batch.offer, room)
            report.done += zip(batch.accepts, taken.accepted, strict=True)
            report.handed = taken.claims
            report.waiting = taken.waiting
        for claiming in batch.claims:
            claims = claim(unit, claiming.destination, limit=claiming.limit, lease=claiming.lease)
            report.done.append((claiming, claims))
        for doing in batch.steps:
            report.done.append((doing, doing.step(unit)))


def _probe(unit: Unit) -> None:
    """
    Write what needs new pages, and take it back.

    Changing a row that stands would succeed on a disk too full for the next event.
    """
    filler = {"name": "probe", "value": _FILLER}
    unit.connection.execute(unit.statements.put_meta, filler)
    unit.connection.execute(unit.statements.drop_meta, {"name": "probe"})
