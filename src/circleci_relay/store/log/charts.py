"""What was counted by the minute and by the quarter of an hour, as charts show it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from circleci_relay.model import RELAY, SECOND, Micros
from circleci_relay.store.schema import minutes, quarters
from circleci_relay.store.unit import QUARTER

if TYPE_CHECKING:
    from collections.abc import Sequence

_MINUTE: Final = 60 * SECOND

Table = Mapping[tuple[str, str, str], list[int]]
"""By kind, name and result: a count for each step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Equal steps up to now; the last one is under way."""

    table: sa.Table
    unit: Micros  #: what the table counts by
    per: int  #: how many of these are a step
    steps: int

    @property
    def step(self) -> Micros:
        """How long a step is."""
        return self.unit * self.per

    def begins(self, now: Micros) -> Micros:
        """When the first step began."""
        return (now // self.step - self.steps + 1) * self.step


HOUR: Final = Scale(table=minutes, unit=_MINUTE, per=1, steps=60)
DAY: Final = Scale(table=quarters, unit=_MINUTE * QUARTER, per=1, steps=96)
WEEK: Final = Scale(table=quarters, unit=_MINUTE * QUARTER, per=4, steps=168)

TWELFTHS: Final = Scale(table=minutes, unit=_MINUTE, per=5, steps=12)
"""The last hour in steps of five minutes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Counts of one kind, by result."""

    begins: Micros
    step: Micros
    series: Mapping[str, list[int]]


def chart(
    connection: sa.Connection, scale: Scale, *, now: Micros, kinds: Sequence[str]
) -> Mapping[str, Chart]:
    """
    For each of *kinds* the counts of all names together; what was not counted is zero.

    What the relay tells of itself is none of the events that came.
    """
    column, *_ = scale.table.primary_key.columns
    c = scale.table.c
    first = scale.begins(now) // scale.unit
    step = _floor(column, scale.per).label("step")
    query = (
        sa.select(step, c.kind, c.result, sa.func.sum(c.count))
        .where(column >= first, c.kind.in_(kinds))
        .where(sa.or_(c.kind != "events", c.name != RELAY))
        .group_by(step, c.kind, c.result)
    )
    found: dict[str, dict[str, list[int]]] = {kind: {} for kind in kinds}
    for at, kind, result, count in connection.execute(query):
        counts = found[kind].setdefault(result, [0] * scale.steps)
        _add(counts, at - first // scale.per, count)
    return {
        kind: Chart(begins=scale.begins(now), step=scale.step, series=series)
        for kind, series in found.items()
    }


def table(connection: sa.Connection, scale: Scale, *, now: Micros) -> Table:
    """Everything that was counted over *scale*, each by its name."""
    column, *_ = scale.table.primary_key.columns
    c = scale.table.c
    first = scale.begins(now) // scale.unit
    step = _floor(column, scale.per).label("step")
    query = (
        sa.select(step, c.kind, c.name, c.result, sa.func.sum(c.count))
        .where(column >= first)
        .group_by(step, c.kind, c.name, c.result)
    )
    found: dict[tuple[str, str, str], list[int]] = {}
    for at, kind, name, result, count in connection.execute(query):
        counts = found.setdefault((kind, name, result), [0] * scale.steps)
        _add(counts, at - first // scale.per, count)
    return found


def totals(connection: sa.Connection, scale: Scale, *, now: Micros) -> Table:
    """The same in a single step, however many *scale* has."""
    column, *_ = scale.table.primary_key.columns
    c = scale.table.c
    query = (
        sa.select(c.kind, c.name, c.result, sa.func.sum(c.count))
        .where(column >= scale.begins(now) // scale.unit)
        .group_by(c.kind, c.name, c.result)
    )
    return {
        (kind, name, result): [int(count)]
        for kind, name, result, count in connection.execute(query)
    }


def _floor(column: sa.ColumnElement[int], per: int) -> sa.ColumnElement[int]:
    # Whole numbers divided by a whole number, in either database's own words: SQLAlchemy's
    # own `//` is FLOOR(), which not every SQLite has.
    return column.op("/")(sa.literal_column(str(per))) if per > 1 else column


def _add(counts: list[int], step: int, count: int) -> None:
    """Another replica's clock may be a little ahead: that belongs to the last step."""
    counts[min(step, len(counts) - 1)] += int(count)
