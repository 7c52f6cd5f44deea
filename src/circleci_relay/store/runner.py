"""The running of batches: all in one transaction, or item by item; again where that helps."""

from __future__ import annotations

import dataclasses
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from circleci_relay.store.accept import accept
from circleci_relay.store.batch import Batch, Claiming, Report, Waiting
from circleci_relay.store.claim import claim, release
from circleci_relay.store.database import Database, Nature
from circleci_relay.store.settle import settle
from circleci_relay.store.unit import Again, Faulty, Memory, Unit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from circleci_relay.clock import Clock
    from circleci_relay.model import Claim
    from circleci_relay.store.link import Link
    from circleci_relay.store.statements import Statements

_TURNS = 8
_FILLER = "x" * 65_536


class Runner:
    """Runs batches over one link, which one thread at a time uses."""

    def __init__(
        self, database: Database, link: Link, statements: Statements, memory: Memory, clock: Clock
    ) -> None:
        self._database = database
        self._link = link
        self._statements = statements
        self._memory = memory
        self._clock = clock
        self._half: _Half | None = None
        self._doubt: _Half | None = None  # its COMMIT was never answered
        self._lost = False  # whether the last failure took the connection with it

    def run(self, batch: Batch) -> Report:
        """
        Run *batch* in one transaction; if an item of it will never do, each on its own.

        Only what is wrong with this program itself is raised.
        """
        try:
            return self._with_care(batch)
        except Exception as error:
            nature = self._nature_of(error)
            if nature in {Nature.OUTAGE, Nature.CROSSED}:
                return Report(outage=error)
            if not batch.size:
                raise
            if batch.size == 1:
                return self._alone(batch, error, nature)
        whole = Report()
        for single in batch.singly():
            whole.add(self.run(single))
            if whole.outage is not None:
                break
        return whole

    def _nature_of(self, error: Exception) -> Nature:
        if isinstance(error, Undecided):
            return Nature.OUTAGE
        return Nature.DATA if isinstance(error, Faulty) else self._database.nature_of(error)

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
        """
        Run again what another writer crossed, or what must be looked at row by row.

        After a connection was lost, once more over a new one: if that cannot be had, the
        database is away.
        """
        renewed = False
        for turn in range(_TURNS):
            try:
                if self._doubt is not None and (known := self._find_out(batch)) is not None:
                    return known
                return self._once(batch, careful=turn > 0)
            except Again:
                continue
            except Exception as error:
                if self._nature_of(error) is Nature.CROSSED and turn + 1 < _TURNS:
                    self._relieve()
                    continue
                if renewed or not self._lost:
                    raise
                renewed = True
        raise Faulty from Again()

    def _relieve(self) -> None:
        """Whoever is in the way may be asleep."""
        with suppress(Exception), self._undone_if_it_fails():
            connection = self._link.connection
            with connection.begin():
                self._database.end_sleepers(connection)

    def _find_out(self, batch: Batch) -> Report | None:
        """
        Learn what became of a transaction whose COMMIT was never answered.

        None: nothing, and *batch* holds all of it that is still owed. Otherwise it is
        done, and the rest of *batch* with it.
        """
        half = self._doubt
        if half is None:
            return None
        try:
            with self._undone_if_it_fails():
                committed = self._database.committed(self._link.connection, half.mark or "")
        except Exception as error:
            # Whatever it is, nothing in this batch is to blame for it.
            raise Undecided from error
        self._doubt = None
        if not committed:
            return None
        if batch is half.batch:
            return self._conclude(half)
        # Its senders were told that it is not known to be stored. What it settled is not
        # owed any more; what it took in hand nobody attempts.
        half.steps_then.clear()
        done = self._conclude(half)
        settled = {id(each) for each in half.batch.settlements}
        released = {id(each) for each in half.batch.releases}
        batch = dataclasses.replace(
            batch,
            settlements=[each for each in batch.settlements if id(each) not in settled],
            releases=[each for each in batch.releases if id(each) not in released],
        )
        report = Report(
            held=done.held,
            fenced=done.fenced,
            released=done.released,
            orphans=[*done.handed, *_claimed(done)],
            waiting=done.waiting,
            expected=done.expected,
            lost=done.lost,
            superseded=done.superseded,
            commits=done.commits,
        )
        report.add(self.run(batch))
        return report

    def begin(self, batch: Batch) -> bool:
        """
        Do what *batch* takes in and settles, up to the rest and the commit, which `end` does.

        Called on the event loop: it touches what was written lately and waits for nothing.
        In the thread, the two would hand the interpreter to each other at every row, which
        cost a third of all processor time. False: nothing is done; `run` does it with care.
        """
        try:
            self._half = self._first_half(batch, careful=False)
        except Exception:  # noqa: BLE001 - `run` meets it again, and sorts it
            return False
        return True

    def end(self, batch: Batch) -> Report:
        """Do the rest of what was begun, and commit it, or run it anew with care."""
        half, self._half = self._half, None
        if half is None:
            return self.run(batch)
        try:
            return self._second_half(half)
        except Exception:  # noqa: BLE001 - `run` meets it again, and sorts it
            return self.run(batch)

    def abandon(self) -> None:
        """Take back what was begun and, since `Store.run` was cancelled, never ended."""
        if self._half is not None:
            self._half = None
            self._memory.rolled_back()
            self._link.undo()

    def _once(self, batch: Batch, *, careful: bool) -> Report:
        with self._undone_if_it_fails():
            connection = self._link.connection
        with self._database.patient(connection):
            return self._second_half(self._first_half(batch, careful=careful))

    def _first_half(self, batch: Batch, *, careful: bool) -> _Half:
        half = _Half(batch=batch, room=dict(batch.room), started=self._clock.monotonic())
        with self._undone_if_it_fails():
            connection = self._link.connection
            connection.begin()
            half.unit = Unit(
                connection=connection,
                database=self._database,
                statements=self._statements,
                memory=self._memory,
                now=self._clock.now(),
                careful=careful,
                charts_now=batch.charts,
            )
            self._take_in(half.unit, batch, half.room, half.report)
        return half

    def _second_half(self, half: _Half) -> Report:
        with self._undone_if_it_fails():
            self._give_out(half)
            half.unit.finish()
            half.mark = self._database.mark(half.unit.connection, half.unit.now)
        self._commit(half)
        return self._conclude(half)

    def _commit(self, half: _Half) -> None:
        try:
            with self._undone_if_it_fails():
                half.unit.connection.commit()
        except BaseException:
            # Unless the server hung up, it said itself that it came to nothing.
            if self._lost and half.mark is not None:
                self._doubt = half
            raise

    def _conclude(self, half: _Half) -> Report:
        """What is known once it is committed."""
        report = half.report
        half.batch.room.update(half.room)
        report.lost = half.unit.lost
        report.superseded = half.unit.superseded
        for then in (*half.unit.then, *half.steps_then):
            then()
        report.commits.append((self._clock.monotonic() - half.started, half.batch.size))
        return report

    @contextmanager
    def _undone_if_it_fails(self) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            self._memory.rolled_back()
            away = isinstance(error, Exception) and self._nature_of(error) is Nature.OUTAGE
            # Another server may have taken over: a new connection finds it, the old one stays.
            self._lost = self._link.undo(drop=away and self._database.shared)
            raise

    def _take_in(self, unit: Unit, batch: Batch, room: dict[str, int], report: Report) -> None:
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
            report.expected = dict(taken.expected)

    def _give_out(self, half: _Half) -> None:
        unit, batch, report = half.unit, half.batch, half.report
        for claiming in batch.claims:
            claims = claim(unit, claiming.destination, limit=claiming.limit, lease=claiming.lease)
            report.done.append((claiming, claims))
        before = len(unit.then)
        for doing in batch.steps:
            report.done.append((doing, doing.step(unit)))
        half.steps_then = unit.then[before:]
        del unit.then[before:]


class Undecided(Exception):  # noqa: N818 - it will be known
    """What became of a COMMIT cannot be found out now."""


@dataclass(slots=True, kw_only=True)
class _Half:
    """A transaction that has taken in what there was, and is still to give out and commit."""

    batch: Batch
    room: dict[str, int]
    started: float
    steps_then: list[Callable[[], None]] = field(default_factory=list)  #: for who asked
    mark: str | None = None  #: the transaction's name, where its fate can be asked
    unit: Unit = field(init=False)
    report: Report = field(default_factory=Report)


def _claimed(report: Report) -> list[Claim]:
    return [claim for item, value in report.done if isinstance(item, Claiming) for claim in value]


def _probe(unit: Unit) -> None:
    """
    Write what needs new pages, and take it back.

    Changing a row that stands would succeed on a disk too full for the next event.
    """
    filler = {"name": "probe", "value": _FILLER}
    unit.connection.execute(unit.statements.put_meta, filler)
    unit.connection.execute(unit.statements.drop_meta, {"name": "probe"})
