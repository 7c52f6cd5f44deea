"""How destinations do, what came in when, and how full the store is."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from circleci_relay.model import RELAY, SECOND, Micros, Result
from circleci_relay.store.log import charts
from circleci_relay.store.schema import destinations, events, minutes, quarters
from circleci_relay.store.took import quantile
from circleci_relay.store.unit import QUARTER

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from circleci_relay.store.log.charts import Table

MINUTE: Final[Micros] = 60 * SECOND
DAY: Final[Micros] = 86_400 * SECOND

OK: Final = Result.OK.value

FINE: Final = 47 * 60 * MINUTE
"""So far back minutes can be told apart, which are kept for two days; then quarters of an hour."""

_MOST_UNMATCHED: Final = 50_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantiles:
    """How a destination did over a time."""

    attempts: int = 0
    delivered: int = 0
    dead: int = 0
    success_rate: float | None = None
    p50: float | None = None  #: seconds
    p95: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Doing:
    """How a destination does; five minutes a step, the oldest first."""

    hour: Quantiles = field(default_factory=Quantiles)
    day: Quantiles = field(default_factory=Quantiles)
    spark: Sequence[int] = (0,) * charts.TWELFTHS.steps  #: attempts that succeeded
    spark_failed: Sequence[int] = (0,) * charts.TWELFTHS.steps

    @property
    def failing(self) -> bool:
        """Whether the last five minutes in which anything was attempted saw nothing succeed."""
        steps = zip(reversed(self.spark), reversed(self.spark_failed), strict=True)
        return next((not ok for ok, failed in steps if ok or failed), False)


def doings(connection: sa.Connection, *, now: Micros) -> Mapping[str, Doing]:
    """How each destination did over the last hour and day, those not heard of left out."""
    hour = charts.table(connection, charts.TWELFTHS, now=now)
    day = charts.totals(connection, charts.DAY, now=now)
    names = {name for kind, name, _ in (*hour, *day) if kind == "attempts"}
    return {
        name: Doing(
            hour=_quantiles(hour, name),
            day=_quantiles(day, name),
            spark=_attempts(hour, name, ok=True),
            spark_failed=_attempts(hour, name, ok=False),
        )
        for name in names
    }


def _attempts(table: Table, name: str, *, ok: bool) -> list[int]:
    found = [
        counts
        for (kind, whose, result), counts in table.items()
        if kind == "attempts" and whose == name and (result == OK) is ok
    ]
    return [sum(step) for step in zip(*found, strict=True)] or [0] * charts.TWELFTHS.steps


def _quantiles(table: Table, name: str) -> Quantiles:
    count = {
        (kind, result): sum(counts)
        for (kind, whose, result), counts in table.items()
        if whose == name
    }
    attempts = sum(number for (kind, _), number in count.items() if kind == "attempts")
    took = {result: number for (kind, result), number in count.items() if kind == "took"}
    return Quantiles(
        attempts=attempts,
        delivered=count.get(("deliveries", "delivered"), 0),
        dead=count.get(("deliveries", "dead"), 0),
        success_rate=count.get(("attempts", OK), 0) / attempts if attempts else None,
        p50=quantile(took, 0.5),
        p95=quantile(took, 0.95),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """Who paused a destination, when and why; not what relay.yaml says."""

    at: Micros
    by: str | None
    why: str | None


def pauses(connection: sa.Connection) -> Mapping[str, Pause]:
    """The destinations that an operator paused."""
    c = destinations.c
    query = sa.select(c.name, c.paused_at, c.paused_by, c.paused_why)
    return {
        name: Pause(at=at, by=by, why=why)
        for name, at, by, why in connection.execute(query.where(c.paused_at.is_not(None)))
    }


@dataclass(slots=True, kw_only=True)
class Tries:
    """When a destination's attempts succeeded and failed: the beginnings of these steps."""

    ok: Micros | None = None  #: the last that had one
    failed: list[Micros] = field(default_factory=list)  #: all after that, in order
    step: Micros = MINUTE


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """What counts are looked at by: minutes, or quarters of an hour where it is long ago."""

    table: sa.Table
    length: Micros

    @classmethod
    def back(cls, span: Micros) -> Steps:
        """The finest that go back *span*."""
        if span <= FINE:
            return cls(table=minutes, length=MINUTE)
        return cls(table=quarters, length=MINUTE * QUARTER)


def tries(connection: sa.Connection, *, now: Micros, back: Micros) -> Mapping[str, Tries]:
    """
    Of each destination the last success over the time *back*, and the failures since.

    A step in which some succeeded and some failed counts as one of success.
    """
    steps = Steps.back(back)
    column, *_ = steps.table.primary_key.columns
    c = steps.table.c
    query = sa.select(column, c.name, c.result).where(
        column >= (now - back) // steps.length, c.kind == "attempts"
    )
    found: dict[str, Tries] = {}
    failed: dict[str, set[Micros]] = {}
    for at, name, result in connection.execute(query):
        of = found.setdefault(name, Tries(step=steps.length))
        if result == OK:
            of.ok = max(of.ok or 0, at * steps.length)
        else:
            failed.setdefault(name, set()).add(at * steps.length)
    for name, of in found.items():
        of.failed = sorted(at for at in failed.get(name, ()) if at > (of.ok or 0))
    return found


def arrivals(connection: sa.Connection, *, now: Micros, back: Micros) -> Mapping[str, Micros]:
    """Of each source the beginning of the last step in which an event came, over *back*."""
    steps = Steps.back(back)
    column, *_ = steps.table.primary_key.columns
    c = steps.table.c
    query = (
        sa.select(c.name, sa.func.max(column))
        .where(
            column >= (now - back) // steps.length,
            c.kind == "events",
            c.result != "rejected",
        )
        .group_by(c.name)
    )
    return {name: int(at) * steps.length for name, at in connection.execute(query)}


def usual(
    connection: sa.Connection, source: str, *, now: Micros, span: Micros, days: int
) -> list[float | None]:
    """
    How many events came over the time *span*, at this hour, on each of *days* before.

    The day before first. None where counts do not go back that far. Of a quarter of an hour
    that lies only partly in that time, so large a part is counted.
    """
    quarter, c = quarters.c.quarter, quarters.c
    length = MINUTE * QUARTER
    oldest = connection.execute(sa.select(sa.func.min(quarter))).scalar()
    query = sa.select(quarter, sa.func.sum(c.count)).where(
        quarter >= sa.bindparam("first"),
        quarter <= sa.bindparam("last"),
        c.kind == "events",
        c.name == source,
        c.result != "rejected",
    )
    query = query.group_by(quarter)
    found: list[float | None] = []
    for day in range(1, days + 1):
        end = now - day * DAY
        begin = end - span
        if oldest is None or oldest * length > begin:
            found.append(None)
            continue
        rows = connection.execute(query, {"first": begin // length, "last": end // length})
        found.append(
            sum(
                float(count) * (min(end, (at + 1) * length) - max(begin, at * length)) / length
                for at, count in rows
            )
        )
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Came:
    """How many events came over a time, and how many of them went nowhere."""

    events: int
    unmatched: int


def came(connection: sa.Connection, *, now: Micros, back: Micros) -> Came:
    """What came over the time *back*, which is rounded up to whole quarters of an hour."""
    length = MINUTE * QUARTER
    first = (now - back) // length
    c = quarters.c
    count = sa.select(sa.func.sum(c.count)).where(
        c.quarter >= first, c.kind == "events", c.result == "accepted", c.name != RELAY
    )
    some = (
        sa.select(events.c.received_at)
        # Of the index alone: the few that are the relay's own make no difference.
        .where(sa.text("deliveries = 0"), events.c.received_at >= first * length)
        .limit(_MOST_UNMATCHED)
    )
    run = connection.execute
    return Came(
        events=int(run(count).scalar() or 0),
        unmatched=int(run(sa.select(sa.func.count()).select_from(some.subquery())).scalar_one()),
    )


def last_event(connection: sa.Connection) -> Micros | None:
    """When the last event came; what the relay tells of itself is none."""
    e = events.c
    query = sa.select(e.received_at).where(e.source != RELAY)
    return connection.execute(query.order_by(e.received_at.desc(), e.key.desc()).limit(1)).scalar()


def filled(connection: sa.Connection) -> float | None:
    """
    How much of its room a SQLite file and others have used up, in [0, 1]; None elsewhere.

    Of its file system, as `df` says it, or of `max_page_count`, whichever is more.
    """
    if connection.dialect.name != "sqlite":
        return None
    pragma = connection.exec_driver_sql
    file = pragma("PRAGMA database_list").one()[2]
    disk = os.statvfs(Path(file).parent)
    used = disk.f_blocks - disk.f_bfree
    room = used + disk.f_bavail
    pages, free, most = (
        pragma(f"PRAGMA {name}").scalar_one()
        for name in ("page_count", "freelist_count", "max_page_count")
    )
    return float(max(used / room if room else 0.0, (pages - free) / most))
