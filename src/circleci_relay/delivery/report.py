"""The one wide log line of an attempt."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import structlog

from circleci_relay.model import State

if TYPE_CHECKING:
    from circleci_relay.model import Claim, Decision, Outcome

log = structlog.get_logger()


def report(claim: Claim, outcome: Outcome, decision: Decision) -> None:
    """Write the one wide line of an attempt."""
    if decision.state is State.DELIVERED:
        if not log.is_enabled_for(logging.DEBUG):
            return  # before the line is made: there are thousands a second
        write = log.debug
    elif decision.state is State.DEAD:
        write = log.error
    else:
        write = log.warning
    write(
        "attempt",
        event_id=claim.event,
        events=1 + len(claim.others) if claim.others else None,
        destination=claim.destination,
        attempt=claim.attempt,
        result=outcome.result,
        status=outcome.status,
        duration_ms=round(outcome.duration / 1000, 1),
        then="retry" if decision.state is State.PENDING else decision.state,
        retry_in_s=round(decision.delay, 3) if decision.state is State.PENDING else None,
        reason=decision.reason,
        error=outcome.error,
    )
