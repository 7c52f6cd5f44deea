"""Recording attempts, inside the transaction, and what becomes of their deliveries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from circleci_relay.model import SECOND, State
from circleci_relay.store.took import bucket
from circleci_relay.store.unit import Again

if TYPE_CHECKING:
    from collections.abc import Sequence

    from circleci_relay.model import Micros, Settlement
    from circleci_relay.store.unit import Unit

_SHORT = 200  #: characters of an error that stand with the delivery itself


def settle(unit: Unit, settlements: Sequence[Settlement]) -> list[Settlement]:
    """
    Record every attempt; move each delivery that its claim still holds. Returns the fenced.

    A claim holds its delivery while the row is pending and carries its token, however
    long ago the lease ran out.
    """
    statements, connection, now = unit.statements, unit.connection, unit.now
    ordered = sorted(settlements, key=_place)
    statements.put_attempts.run(connection, [_attempt(each) for each in ordered])
    moves = [_move(each, now) for each in ordered]
    fenced: list[Settlement] = []
    if unit.careful:
        for each, move in zip(ordered, moves, strict=True):
            if not statements.settle.run(connection, [move]):
                fenced.append(each)
    elif statements.settle.run(connection, moves) != len(moves):
        raise Again  # the total does not tell which
    if fenced:
        keys = [each.claim.delivery for each in fenced]
        connection.execute(statements.drop_strays, {"keys": keys})
    gone = {id(each) for each in fenced}
    for each in ordered:
        outcome, name, state = each.outcome, each.claim.destination, each.decision.state
        unit.tally("attempts", name, str(outcome.result), spent=outcome.duration)
        unit.tally("took", name, bucket(outcome.duration))
        if state is not State.PENDING and id(each) not in gone:
            unit.tally("deliveries", name, str(state), count=1 + _settle_others(unit, each))
    return fenced


def _settle_others(unit: Unit, each: Settlement) -> int:
    """End what was told together with *each*; how many those are."""
    if each.claim.group is None:
        return 0
    state, _, at, why, result, status, error, *_ = _move(each, unit.now)
    return unit.connection.execute(
        unit.statements.settle_others,
        {
            "led": each.claim.delivery,
            "to": state,
            "why": why,
            "at": at,
            "result": result,
            "status": status,
            "error": error,
        },
    ).rowcount


def _place(each: Settlement) -> tuple[int, int]:
    return each.claim.delivery, each.claim.attempt


def _attempt(each: Settlement) -> tuple[Any, ...]:
    claim, outcome = each.claim, each.outcome
    return (
        claim.delivery,
        claim.attempt,
        outcome.started_at,
        outcome.duration,
        str(outcome.result),
        outcome.status,
        outcome.error,
        outcome.excerpt or None,
    )


def _move(each: Settlement, now: Micros) -> tuple[Any, ...]:
    claim, decision, outcome = each.claim, each.decision, each.outcome
    again = decision.state is State.PENDING
    return (
        str(decision.state),
        now + round(decision.delay * SECOND) if again else None,
        None if again else now,
        None if decision.reason is None else str(decision.reason),
        str(outcome.result),
        outcome.status,
        None if outcome.error is None else outcome.error[:_SHORT],
        claim.delivery,
        claim.token,
    )
