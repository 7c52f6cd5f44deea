"""What becomes of a delivery after an attempt: pure, with time and chance as arguments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from tenacity import RetryCallState, stop_after_attempt, stop_after_delay, wait_exponential

from circleci_relay.model import Decision, Outcome, Reason, Result, State

if TYPE_CHECKING:
    from collections.abc import Callable

HOLDING = frozenset({429, 503})
"""The statuses whose `Retry-After` holds the whole destination (RFC 9110, 10.2.3; RFC 6585, 4)."""

DELIVERED = Decision(state=State.DELIVERED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A destination's `retry`: all spans in seconds."""

    initial: float
    factor: float
    max_interval: float
    jitter: float  #: a share of the interval, up and down
    max_age: float | None
    max_attempts: int | None
    dead_on: frozenset[int]

    def decide(
        self, attempt: int, outcome: Outcome, *, age: float, spread: Callable[[], float]
    ) -> Decision:
        """
        Say what follows attempt number *attempt*, which counts from 1.

        *age* is the delivery's, in seconds, on its destination's own clock; *spread*
        returns a number in [-1, 1]. The limits apply only here, after a failed attempt:
        whatever waited out a long pause is still tried once.
        """
        if outcome.result is Result.OK:
            return DELIVERED
        if outcome.result is Result.TEMPLATE:
            return Decision(state=State.DEAD, reason=Reason.TEMPLATE)
        if outcome.final or outcome.status in self.dead_on:
            return Decision(state=State.DEAD, reason=Reason.REFUSED)
        progress = _progress(attempt, age)
        if self.max_attempts is not None and stop_after_attempt(self.max_attempts)(progress):
            return Decision(state=State.DEAD, reason=Reason.MAX_ATTEMPTS)
        if self.max_age is not None and stop_after_delay(self.max_age)(progress):
            return Decision(state=State.DEAD, reason=Reason.MAX_AGE)
        return Decision(state=State.PENDING, delay=self._interval(progress, outcome, spread))

    def hold(self, outcome: Outcome) -> float:
        """Seconds for which *outcome* asks to leave the whole destination alone."""
        if outcome.status not in HOLDING or outcome.retry_after is None:
            return 0.0
        return min(max(outcome.retry_after, 0.0), self.max_interval)

    def _interval(
        self, progress: RetryCallState, outcome: Outcome, spread: Callable[[], float]
    ) -> float:
        wait = wait_exponential(
            multiplier=self.initial, exp_base=self.factor, max=self.max_interval
        )(progress)
        wait *= 1 + self.jitter * max(-1.0, min(1.0, spread()))
        return max(wait, self.hold(outcome))


def _progress(attempt: int, age: float) -> RetryCallState:
    """
    Return what tenacity's strategies look at, made from the stored attempt number.

    Its loops hold their state in memory; ours is in the store, so only its strategies serve.
    """
    state = RetryCallState(cast("Any", None), None, (), {})
    state.attempt_number = attempt
    state.start_time = 0.0
    state.outcome_timestamp = age
    return state
