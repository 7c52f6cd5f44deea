"""Letting go of what only people look at, a bounded number of rows at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from circleci_relay.model import SECOND, Micros
from circleci_relay.store.schema import alerts, audit, jobs, minutes, quarters
from circleci_relay.store.unit import QUARTER

if TYPE_CHECKING:
    from circleci_relay.store.unit import Unit

_DAY: Final[Micros] = 86_400 * SECOND
_MINUTE: Final[Micros] = 60 * SECOND

MINUTES: Final[Micros] = 2 * _DAY
"""For how long minutes are kept at most: what is older is told by quarters of an hour."""

QUARTERS: Final[Micros] = 8 * _DAY
"""For how long quarters are kept at least: a week, and the day that it is compared with."""

AUDIT: Final[Micros] = 90 * _DAY
"""For how long it is kept at least who did what."""

ALERTS: Final[Micros] = _DAY
"""For how long it is known of an alert that it is over: any look taken before has ended."""

STEP: Final = 5_000
"""Rows that one step takes away, or those of one minute, if they are more."""


def forget(unit: Unit, keep: Micros) -> bool:
    """Do one step for each table; whether more is left to be let go of."""
    now = unit.now
    left = [
        _counts(unit, minutes, (now - min(keep, MINUTES)) // _MINUTE),
        _counts(unit, quarters, (now - max(keep, QUARTERS)) // (_MINUTE * QUARTER)),
        _rows(unit, audit, audit.c.at < now - max(keep, AUDIT)),
        _rows(unit, jobs, sa.and_(jobs.c.state != "running", jobs.c.finished_at < now - keep)),
    ]
    over = sa.and_(alerts.c.ended_at < now - ALERTS, alerts.c.told)
    unit.connection.execute(sa.delete(alerts).where(over))
    return any(left)


def _counts(unit: Unit, table: sa.Table, before: int) -> bool:
    """By its first column, the time: whole steps, since there is nothing smaller to go by."""
    [at, *_] = table.primary_key.columns
    last = sa.select(at).where(at < before).order_by(at).offset(STEP).limit(1)
    until: int | None = unit.connection.execute(last).scalar()
    limit = at < before if until is None else at <= until
    unit.connection.execute(sa.delete(table).where(limit))
    return until is not None


def _rows(unit: Unit, table: sa.Table, old: sa.ColumnElement[bool]) -> bool:
    some = sa.select(table.c.id).where(old).limit(STEP)
    return unit.connection.execute(sa.delete(table).where(table.c.id.in_(some))).rowcount >= STEP
