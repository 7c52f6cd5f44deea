"""Destinations over time: which are configured, how long their clocks stood, what they hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from circleci_relay.store.unit import LAST_INSTANT

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from circleci_relay.model import Micros
    from circleci_relay.store.unit import Unit

FALLBACK_LEASE: Micros = 3_600_000_000
_MINUTE: Micros = 60_000_000
_DAY: Micros = 24 * 60 * _MINUTE


def reconcile(unit: Unit, names: Collection[str]) -> Mapping[str, Micros]:
    """
    Stop the clocks of destinations that are gone, start those that are back.

    Returns, for each of *names*, for how long its clock has stood still so far.
    """
    rows = []
    standing = dict.fromkeys(names, 0)
    known = {row.name: row for row in unit.connection.execute(unit.statements.lock_destinations)}
    for name in sorted(known.keys() | standing.keys()):
        row = known.get(name)
        removed_at = None if row is None else row.removed_at
        stopped = 0 if row is None else row.stopped
        if name in standing:
            if removed_at is not None:
                stopped += max(0, unit.now - removed_at)
            standing[name] = stopped
            removed_at = None
        elif removed_at is None:
            removed_at = unit.now
        rows.append({"name": name, "removed_at": removed_at, "stopped": stopped})
    if rows:
        unit.connection.execute(unit.statements.put_destinations, rows)
    unit.memory.known |= known.keys() | standing.keys()
    unit.then.append(lambda: setattr(unit.memory, "stopped", standing))
    return standing


def recall(unit: Unit) -> None:
    """At start: remember what the database knows of destinations and leases."""
    rows = unit.connection.execute(unit.statements.all_destinations)
    longest = unit.connection.execute(unit.statements.get_meta, {"name": "max_lease"}).scalar()
    unit.memory.known = {row.name for row in rows}
    unit.memory.max_lease = int(longest or 0)


def void_leases(unit: Unit) -> int:
    """
    Make due at once what a process that is gone had under way; how many there were.

    The tokens stay: the next claim finds them and records the attempts as lost.
    """
    # A little further than the longest lease: what is on record of the time may be late.
    until = unit.now + (unit.memory.max_lease or FALLBACK_LEASE) + 2 * _MINUTE
    return sum(
        unit.connection.execute(
            unit.statements.void_leases, {"whose": name, "now": unit.now, "until": until}
        ).rowcount
        for name in sorted(unit.memory.known)
    )


def last_instant(unit: Unit, now: Micros) -> Micros:
    """
    The time by this database's own count: *now*, or the last instant on record.

    A clock that was set back between two runs would otherwise make every retry and lease
    late by as much. What lies more than a day ahead is no step but a mistake.
    """
    found = unit.connection.execute(unit.statements.get_meta, {"name": LAST_INSTANT}).scalar()
    last = int(found or 0)
    return last if now < last <= now + _DAY else now


def expedite(unit: Unit, destination: str, *, limit: int) -> int:
    """Make up to *limit* waiting deliveries due now, the next ones first; how many."""
    return unit.connection.execute(
        unit.statements.expedite,
        {"whose": destination, "now": unit.now, "limit": limit},
    ).rowcount


def unlead(unit: Unit) -> int:
    """Make due on their own those whose leader was ended without them; how many."""
    return sum(
        unit.connection.execute(
            unit.statements.unlead, {"whose": row.name, "now": unit.now}
        ).rowcount
        for row in unit.connection.execute(unit.statements.all_destinations).all()
    )


def clamp(unit: Unit, *, ahead: Micros, limit: int) -> int:
    """Bring back up to *limit* deliveries a destination that are due further ahead than *ahead*."""
    return sum(
        unit.connection.execute(
            unit.statements.clamp,
            {"whose": row.name, "latest": unit.now + ahead, "limit": limit},
        ).rowcount
        for row in unit.connection.execute(unit.statements.all_destinations).all()
    )
