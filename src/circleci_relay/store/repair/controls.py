"""Pausing destinations, resuming them, and making all that waits there due."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from circleci_relay.errors import NotFound
from circleci_relay.store.repair import audit
from circleci_relay.store.repair.replay import known_of
from circleci_relay.store.statements import statements_for

if TYPE_CHECKING:
    from collections.abc import Mapping

    import sqlalchemy as sa

    from circleci_relay.model import Micros
    from circleci_relay.store.unit import Unit

STEP = 500
"""Deliveries one transaction makes due at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Controls:
    """What operators have said of destinations, and when a job is next to be worked on."""

    paused: frozenset[str]  #: by hand; relay.yaml says more
    retried: Mapping[str, Micros]  #: when all was last made due, by destination
    next_job: Micros | None


def read(connection: sa.Connection) -> Controls:
    """What holds now: a few rows."""
    statements = statements_for(connection.dialect)
    rows = connection.execute(statements.all_controls).all()
    return Controls(
        paused=frozenset(row.name for row in rows if row.paused_at is not None),
        retried={row.name: row.retried_at for row in rows if row.retried_at is not None},
        next_job=connection.execute(statements.next_job_at).scalar(),
    )


def pause(unit: Unit, name: str, *, why: str | None, who: str) -> bool:
    """Let no attempt begin at *name* until it is resumed; False: it is paused already."""
    if _is_paused(unit, name):
        return False
    unit.connection.execute(
        unit.statements.set_paused, {"named": name, "at": unit.now, "by": who, "why": why}
    )
    audit.note(unit, who, "pause", name, {"why": why} if why else None)
    return True


def resume(unit: Unit, name: str, *, who: str) -> bool:
    """Let attempts begin again; False: it is not paused by hand."""
    if not _is_paused(unit, name):
        return False
    unit.connection.execute(
        unit.statements.set_paused, {"named": name, "at": None, "by": None, "why": None}
    )
    audit.note(unit, who, "resume", name)
    return True


def retry(unit: Unit, name: str, *, held: bool, who: str) -> None:
    """Have every replica forget what kept *name* waiting; `hurry` then makes all due."""
    known_of(unit, [name], NotFound)
    unit.connection.execute(unit.statements.set_retried, {"named": name, "at": unit.now})
    audit.note(unit, who, "retry", name, {"held": held})


def hurry(unit: Unit, name: str, *, held: bool) -> int:
    """
    Make due up to `STEP` of what waits for another attempt at *name*; how many.

    *held*: also what waits for its first. What a good line has made needless still ends untold.
    """
    statement = unit.statements.expedite_all if held else unit.statements.expedite
    return unit.connection.execute(
        statement, {"whose": name, "now": unit.now, "limit": STEP}
    ).rowcount


def _is_paused(unit: Unit, name: str) -> bool:
    known_of(unit, [name], NotFound)
    row = unit.connection.execute(unit.statements.lock_destination, {"named": name}).first()
    return row is not None and row.paused_at is not None
