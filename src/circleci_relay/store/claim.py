"""Taking deliveries in hand, inside the transaction, and giving them back unattempted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from circleci_relay.model import Claim, Micros, Result, Told
from circleci_relay.store.encode import headers_of, parse
from circleci_relay.store.waiting import supersede

if TYPE_CHECKING:
    from collections.abc import Sequence

    from circleci_relay.store.unit import Unit

_MOST_OTHERS = 8 << 20
"""Bytes of bodies that one claim brings along beside those of the deliveries it is for."""

Lost = tuple[int, int, Micros]
"""An attempt whose lease lapsed: its delivery, its number, when the lease ended."""


class _Due(NamedTuple):
    """A row of `find_due`."""

    key: int
    attempts: int
    token: int | None
    due_at: Micros
    aged_from: Micros
    webhook_id: str | None
    event: str
    source: str
    received_at: Micros
    body: bytes
    headers: str
    facts: str
    history: str | None
    line: bytes | None
    leader: int | None
    replay: bool | int


def claim(unit: Unit, destination: str, *, limit: int, lease: Micros) -> list[Claim]:
    """
    Lease up to *limit* deliveries due at *destination*, the longest due first.

    One that still carries a token was under way when its lease lapsed: that attempt is
    recorded as lost, so that nothing poisonous is tried for ever without a trace. One that
    was held, and whose line turned good meanwhile, ends here untold.
    """
    unit.reserve_lease(lease)
    until = unit.now + lease
    # All rows at once: fetched one by one, each would wait for the event loop's thread.
    found = unit.statements.find_due.read(unit.connection, (destination, unit.now, limit))
    rows = _needed(unit, destination, [_Due._make(row) for row in found])
    rows = _light(unit, rows)
    others = _others(unit, rows)
    claims: list[Claim] = []
    leases: list[tuple[Any, ...]] = []
    lost: list[Lost] = []
    for row in rows:
        token = next(unit.memory.tokens)
        if row.token is not None:
            lost.append((row.key, row.attempts, row.due_at))
        result = None if row.token is None else Result.LOST.value
        leases.append((until, row.attempts + 1, token, result, row.key))
        claims.append(
            Claim(
                delivery=row.key,
                token=token,
                destination=destination,
                attempt=row.attempts + 1,
                event=row.event,
                source=row.source,
                webhook_id=row.webhook_id or f"{row.event}-{destination}",
                body=row.body,
                headers=headers_of(row.headers),
                received_at=row.received_at,
                aged_from=row.aged_from,
                lease_until=until,
                facts=row.facts,
                history=row.history,
                group=row.leader,
                others=tuple(others.get(row.key, ())),
                replay=bool(row.replay),
            )
        )
    record_lost(unit, destination, lost)
    if leases:
        unit.statements.lease.run(unit.connection, leases)
    return claims


def _needed(unit: Unit, destination: str, rows: list[_Due]) -> list[_Due]:
    """*rows* without those whose line turned good while they were held; these end here."""
    held = [row for row in rows if row.line is not None and row.attempts == 0]
    if not held:
        return rows
    lines = sorted({row.line for row in held if row.line is not None})
    found = unit.connection.execute(unit.statements.standing_of, {"line_keys": lines})
    standings = {row.key: row for row in found}
    needless = {
        row.key: destination
        for row in held
        if row.line in standings and _turned(standings[row.line], row)
    }
    if needless:
        supersede(unit, needless)
    return [row for row in rows if row.key not in needless]


def _turned(standing: Any, row: _Due) -> bool:
    """
    Whether the line has been good since the event came.

    Told by how it stood then, not by instants: replicas' clocks differ, and a good event just
    before it may be in the same transaction.
    """
    then = parse(row.history or "{}")
    if standing.good:
        known = (then.get("good"), then.get("since"), then.get("streak"))
        return known != (True, standing.since, standing.streak)
    # Bad again, and not since then: it was good in between.
    return then.get("good") is False and then.get("since") != standing.since


def _light(unit: Unit, rows: list[_Due]) -> list[_Due]:
    """*rows* without groups that would be too much at once; these stay due."""
    leaders = [row.key for row in rows if row.leader is not None]
    if len(leaders) <= 1:
        return rows
    found = unit.connection.execute(unit.statements.weigh_others, {"keys": sorted(leaders)})
    weights: dict[int, int] = {row.leader: int(row.bytes) for row in found}
    total, heavy = 0, set[int]()
    for key in leaders:
        total += weights.get(key, 0)
        if total > _MOST_OTHERS and key != leaders[0]:
            heavy.add(key)
    return [row for row in rows if row.key not in heavy]


def _others(unit: Unit, rows: list[_Due]) -> dict[int, list[Told]]:
    """What is told together with each of *rows*, by its key."""
    leaders = sorted(row.key for row in rows if row.leader is not None)
    if not leaders:
        return {}
    found: dict[int, list[Told]] = {}
    for row in unit.connection.execute(unit.statements.find_others, {"keys": leaders}):
        found.setdefault(row.leader, []).append(
            Told(
                event=row.public_id,
                source=row.source,
                body=row.body,
                received_at=row.received_at,
                facts=row.facts,
                history=row.history,
            )
        )
    return found


def record_lost(unit: Unit, destination: str, lost: Sequence[Lost]) -> None:
    """Record attempts of which nobody knows how they ended."""
    if not lost:
        return
    rows = [
        {
            "delivery": key,
            "number": number,
            "started_at": lease_ended,  # when it began is not known
            "duration": 0,
            "result": Result.LOST.value,
        }
        for key, number, lease_ended in lost
    ]
    unit.connection.execute(unit.statements.put_lost, rows)
    unit.lost[destination] += len(rows)
    unit.tally("attempts", destination, Result.LOST.value, count=len(rows))


def release(unit: Unit, claims: Sequence[Claim]) -> None:
    """Give back what was never attempted: due at once, the attempt not counted."""
    unit.connection.execute(
        unit.statements.release,
        [
            {"held": claim.delivery, "with": claim.token, "at": unit.now}
            for claim in sorted(claims, key=lambda claim: claim.delivery)
        ],
    )
