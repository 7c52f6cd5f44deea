"""What a database holds, how fast that grows and how long it fits, told in bounded time."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import sqlalchemy as sa

from circleci_relay.model import SECOND, Micros
from circleci_relay.store import filesystem, sounding
from circleci_relay.store.migrate import COPYING
from circleci_relay.store.place import database_of
from circleci_relay.store.schema import DEAD, PENDING, deliveries, destinations, events, meta
from circleci_relay.store.sqlite import Sqlite
from circleci_relay.store.viewing import not_older, revision_of, viewed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from circleci_relay.store.database import Database
    from circleci_relay.store.sounding import Estimate

DAY: Micros = 86_400 * SECOND
DAYS = 7

_HOUR: Micros = 3_600 * SECOND
_FEW = 100  #: events, below which the tables' bare frame says nothing of what one takes


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One destination's deliveries."""

    destination: str
    configured: bool
    pending: int
    oldest_pending_at: Micros | None
    dead: int
    delivered: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """How fast it grows, and for how long that goes well."""

    days: Sequence[tuple[Micros, int]]  #: when a day (of UTC) began, events stored of it
    per_day: float | None  #: events, on the average of the whole days; None: too new to tell
    bytes_per_event: float | None  #: all told: body, deliveries, attempts, indexes
    at_keep: int | None  #: bytes it comes to at this rate
    disk_free: int | None  #: bytes; None where that cannot be told
    days_that_fit: float | None  #: of events at this rate, those that are there included
    days_until_full: float | None  #: None: what `keep` comes to fits


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What `store check` found; see each field's name."""

    kind: str
    place: str
    revision: str
    integrity: str  #: `ok`, `not looked at`, `not finished`, or `damaged`
    events: Estimate
    unmatched: int
    duplicates: int
    conflicts: int
    attempts: Estimate
    standings: Sequence[Standing]
    size: int  #: bytes on disk
    spare: int  #: bytes of it that are free to be used again
    tables: Mapping[str, Estimate]  #: bytes
    bodies_share: float | None  #: of all, in [0, 1]
    growth: Growth
    settings: Mapping[str, str]
    faults: Sequence[str] = field(default_factory=list)
    warnings: Sequence[str] = field(default_factory=list)


def contents(url: str, *, keep: Micros, deep: bool = False, now: Micros | None = None) -> Contents:
    """
    Look at the database at *url*, which a relay may be using; *keep* is how long events stay.

    What would take long to count is estimated from samples. With *deep* the whole of a
    SQLite file is read, to check and to measure it.
    """
    database = database_of(url)
    with viewed(database) as connection:
        revision = revision_of(database, connection)
        not_older(database, revision)
        return _Look(database, connection, revision, deep=deep).tell(
            keep, now if now is not None else time.time_ns() // 1000
        )


class _Look:
    """One look at a database."""

    def __init__(
        self, database: Database, connection: sa.Connection, revision: str, *, deep: bool
    ) -> None:
        self._database, self._connection = database, connection
        self._revision, self._deep = revision, deep
        self._faults: list[str] = []
        self._warnings: list[str] = []

    def tell(self, keep: Micros, now: Micros) -> Contents:
        """Gather it all."""
        database, connection = self._database, self._connection
        sample = sounding.sample(connection)
        measure = sounding.measure(database, connection, sample, deep=self._deep)
        about = {row[0]: row[1] for row in connection.execute(sa.select(meta.c.name, meta.c.value))}
        integrity = self._integrity()
        growth = self._growth(sample.events, measure, keep=keep, now=now)
        self._judge(about, growth, keep)
        unmatched, duplicates, conflicts = self._oddities()
        return Contents(
            kind="postgresql" if database.shared else "sqlite",
            place=database.title,
            revision=self._revision,
            integrity=integrity,
            events=sample.events,
            unmatched=unmatched,
            duplicates=duplicates,
            conflicts=conflicts,
            attempts=sample.attempts,
            standings=self._standings(sample.delivered),
            size=measure.size,
            spare=measure.spare,
            tables=measure.tables,
            bodies_share=measure.bodies_share,
            growth=growth,
            settings=self._settings(about),
            faults=self._faults,
            warnings=self._warnings,
        )

    def _integrity(self) -> str:
        if not isinstance(self._database, Sqlite):
            return "not looked at"
        found = sounding.integrity(self._connection, deep=self._deep)
        if found is None:
            return "not finished"
        self._faults += [f"{self._database.title} is damaged: {line}" for line in found]
        return "damaged" if found else "ok"

    def _oddities(self) -> tuple[int, int, int]:
        """Events without a destination, duplicates, conflicts; in the partial indexes' words."""
        run, e = self._connection.execute, events.c
        unmatched = run(
            sa.select(sa.func.count()).select_from(events).where(sa.text("deliveries = 0"))
        ).scalar_one()
        duplicates, conflicts = run(
            sa.select(sa.func.sum(e.duplicates), sa.func.sum(e.conflicts)).where(
                sa.text("duplicates > 0")
            )
        ).one()
        return int(unmatched), int(duplicates or 0), int(conflicts or 0)

    def _standings(self, delivered: Mapping[str, Estimate]) -> Sequence[Standing]:
        run, d = self._connection.execute, deliveries.c
        count = sa.func.count()
        waiting = {
            name: (number, oldest)
            for name, number, oldest in run(
                sa.select(d.destination, count, sa.func.min(d.created_at))
                .where(d.state == PENDING)
                .group_by(d.destination)
            )
        }
        ended = (
            sa.select(d.destination, count)
            .where(d.state == DEAD, d.replayed_by.is_(None))
            .group_by(d.destination)
        )
        dead = {row[0]: row[1] for row in run(ended)}
        known = {
            name: removed_at is None
            for name, removed_at in run(sa.select(destinations.c.name, destinations.c.removed_at))
        }
        return [
            Standing(
                destination=name,
                configured=known.get(name, False),
                pending=waiting.get(name, (0, None))[0],
                oldest_pending_at=waiting.get(name, (0, None))[1],
                dead=dead.get(name, 0),
                delivered=delivered.get(name, sounding.Estimate(0)),
            )
            for name in sorted(known.keys() | waiting.keys() | dead.keys() | delivered.keys())
        ]

    def _growth(
        self, count: Estimate, measure: sounding.Measure, *, keep: Micros, now: Micros
    ) -> Growth:
        today = now // DAY * DAY
        starts = [today - DAY * back for back in range(DAYS, -1, -1)]
        counted = [
            (start, self._events_between(start, now + 1 if start == today else start + DAY))
            for start in starts
        ]
        first: Micros | None = self._connection.execute(
            sa.select(sa.func.min(events.c.received_at))
        ).scalar()
        per_day = None if first is None else _rate(counted, first=max(first, now - keep), now=now)
        each = None
        if count.number >= _FEW:
            each = (measure.size - measure.spare) / count.number
        disk = self._disk_free()
        daily = 0.0 if per_day is None or each is None else per_day * each
        at_keep = round(daily * keep / DAY) if daily else None
        fits = full = None
        if daily and at_keep is not None and disk is not None:
            fits = (measure.size + disk) / daily
            if at_keep > measure.size + disk:
                full = (disk + measure.spare) / daily
        return Growth(
            days=counted,
            per_day=per_day,
            bytes_per_event=each,
            at_keep=at_keep,
            disk_free=disk,
            days_that_fit=fits,
            days_until_full=full,
        )

    def _events_between(self, start: Micros, end: Micros) -> int:
        at = events.c.received_at
        query = sa.select(sa.func.count()).select_from(events).where(at >= start, at < end)
        return int(self._connection.execute(query).scalar_one())

    def _disk_free(self) -> int | None:
        if not isinstance(self._database, Sqlite):
            return None
        return shutil.disk_usage(self._database.place.path.absolute().parent).free

    def _settings(self, about: Mapping[str, str]) -> Mapping[str, str]:
        found = (
            sounding.sqlite_settings(self._connection)
            if isinstance(self._database, Sqlite)
            else sounding.postgresql_settings(self._connection)
        )
        if isinstance(self._database, Sqlite):
            found["file system"] = filesystem.verdict_at(self._database.place.path)[1] or "unknown"
        found["longest lease"] = f"{int(about.get('max_lease', 0)) / SECOND:g} s"
        return found

    def _judge(self, about: Mapping[str, str], growth: Growth, keep: Micros) -> None:
        if COPYING in about:
            self._faults.append(
                f"it holds a copy of {about[COPYING]} that is not complete: let `circleci-relay"
                " store copy` go on with it"
            )
        if isinstance(self._database, Sqlite):
            path = self._database.place.path
            verdict, kind = filesystem.verdict_at(path)
            if verdict is not filesystem.Verdict.FINE:
                wrong = verdict is filesystem.Verdict.REFUSED
                told = self._faults if wrong else self._warnings
                told.append(filesystem.words(path, verdict, kind))
        if growth.days_until_full is not None:
            self._warnings.append(
                f"the disk is full in {growth.days_until_full:.1f} days at this rate, before"
                f" events go at `keep` ({keep / DAY:g} days): more room, or a shorter `keep`"
            )


def _rate(days: Sequence[tuple[Micros, int]], *, first: Micros, now: Micros) -> float | None:
    """Events a day: on the average of the whole days since *first*, else of today so far."""
    whole = [count for start, count in days[:-1] if start >= first]
    if whole:
        return sum(whole) / len(whole)
    recent = [count for start, count in days if start + DAY > first]
    span = now - max(first, days[0][0])
    return sum(recent) * DAY / span if span >= _HOUR else None
