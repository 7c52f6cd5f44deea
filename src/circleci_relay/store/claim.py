"""Taking deliveries in hand, inside the transaction, and giving them back unattempted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from circleci_relay.model import Claim, Micros, Result
from circleci_relay.store.encode import headers_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from circleci_relay.store.unit import Unit

Lost = tuple[int, int, Micros]
"""An attempt whose lease lapsed: its delivery, its number, when the lease ended."""


def claim(unit: Unit, destination: str, *, limit: int, lease: Micros) -> list[Claim]:
    """
    Lease up to *limit* deliveries due at *destination*, the longest due first.

    One that still carries a token was under way when its lease lapsed: that attempt is
    recorded as lost, so that nothing poisonous is tried for ever without a trace.
    """
    unit.reserve_lease(lease)
    until = unit.now + lease
    claims: list[Claim] = []
    leases: list[tuple[Any, ...]] = []
    lost: list[Lost] = []
    # All rows at once: fetched one by one, each would wait for the event loop's thread.
    for row in unit.statements.find_due.read(unit.connection, (destination, unit.now, limit)):
        key, attempts, held, due_at, aged_from, webhook_id, event, received_at, body, headers = row
        token = next(unit.memory.tokens)
        if held is not None:
            lost.append((key, attempts, due_at))
        leases.append(
            (until, attempts + 1, token, None if held is None else Result.LOST.value, key)
        )
        claims.append(
            Claim(
                delivery=key,
                token=token,
                destination=destination,
                attempt=attempts + 1,
                event=event,
                webhook_id=webhook_id or f"{event}-{destination}",
                body=body,
                headers=headers_of(headers),
                received_at=received_at,
                aged_from=aged_from,
                lease_until=until,
            )
        )
    record_lost(unit, destination, lost)
    if leases:
        unit.statements.lease.run(unit.connection, leases)
    return claims


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
