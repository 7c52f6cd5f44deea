"""The retry policy: pure, so every claim about it is a property."""

from __future__ import annotations

import math
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from circleci_relay.model import Outcome, Reason, Result, State
from circleci_relay.retry import Policy

POLICY = Policy(
    initial=1.0,
    factor=2.0,
    max_interval=900.0,
    jitter=0.2,
    max_age=3 * 86_400.0,
    max_attempts=None,
    dead_on=frozenset({400, 410, 413, 422}),
)

RESULTS = st.sampled_from(
    [result for result in Result if result not in {Result.OK, Result.TEMPLATE}]
)
SPREADS = st.floats(-1, 1)


def an_outcome(
    result: Result = Result.SERVER_ERROR,
    status: int | None = 500,
    retry_after: float | None = None,
) -> Outcome:
    """Return an attempt that ended so."""
    return Outcome(result=result, status=status, retry_after=retry_after, started_at=0, duration=1)


def middle() -> float:
    """Return no spread at all."""
    return 0.0


def test_a_2xx_is_delivered_whatever_its_number() -> None:
    """Success ends a delivery even past every limit."""
    decision = POLICY.decide(10_000, an_outcome(Result.OK, 200), age=1e9, spread=middle)
    assert decision.state is State.DELIVERED


def test_a_status_in_dead_on_is_dead_at_once() -> None:
    """410 means never again."""
    decision = POLICY.decide(1, an_outcome(Result.CLIENT_ERROR, 410), age=0, spread=middle)
    assert (decision.state, decision.reason) == (State.DEAD, Reason.REFUSED)


def test_what_can_never_succeed_is_dead_at_once() -> None:
    """A message that cannot be made, and one that a broker will never take."""
    unmade = POLICY.decide(1, an_outcome(Result.TEMPLATE, None), age=0, spread=middle)
    assert (unmade.state, unmade.reason) == (State.DEAD, Reason.TEMPLATE)
    refused = replace(an_outcome(Result.CLIENT_ERROR, None), final=True)
    decision = POLICY.decide(1, refused, age=0, spread=middle)
    assert (decision.state, decision.reason) == (State.DEAD, Reason.REFUSED)


def test_intervals_double_up_to_the_longest() -> None:
    """1 s, 2 s, 4 s, …, and never more than max_interval."""
    delays = [
        POLICY.decide(n, an_outcome(), age=0, spread=middle).delay for n in (1, 2, 3, 10, 11, 5000)
    ]
    assert delays == [1, 2, 4, 512, 900, 900]


@given(attempt=st.integers(1, 10**6), result=RESULTS, spread=SPREADS)
def test_jitter_stays_within_its_share(attempt: int, result: Result, spread: float) -> None:
    """No interval leaves ±20 % of the exponential one."""
    outcome = an_outcome(result, None)
    plain = POLICY.decide(attempt, outcome, age=0, spread=middle).delay
    spreaded = POLICY.decide(attempt, outcome, age=0, spread=lambda: spread).delay
    assert plain * 0.8 - 1e-9 <= spreaded <= plain * 1.2 + 1e-9


@given(attempt=st.integers(1, 10**6), age=st.floats(0, 1e12), result=RESULTS)
def test_a_failure_is_tried_again_exactly_until_max_age(
    attempt: int, age: float, result: Result
) -> None:
    """Only age ends what has no limit of attempts."""
    decision = POLICY.decide(attempt, an_outcome(result, None), age=age, spread=middle)
    if age >= 3 * 86_400:
        assert decision.reason is Reason.MAX_AGE
    else:
        assert decision.state is State.PENDING


@given(limit=st.integers(1, 100), attempt=st.integers(1, 200))
def test_max_attempts_counts_from_one(limit: int, attempt: int) -> None:
    """With max_attempts N, the Nth failure is the last."""
    policy = Policy(
        initial=1,
        factor=2,
        max_interval=10,
        jitter=0,
        max_age=None,
        max_attempts=limit,
        dead_on=frozenset(),
    )
    decision = policy.decide(attempt, an_outcome(), age=1e12, spread=middle)
    assert (decision.state is State.DEAD) == (attempt >= limit)


@given(after=st.floats(0, 1e300), status=st.sampled_from([429, 503]))
def test_retry_after_is_heeded_and_capped(after: float, status: int) -> None:
    """A destination may ask for time, but not for ever."""
    outcome = an_outcome(Result.THROTTLED, status, after)
    assert POLICY.hold(outcome) == min(after, 900)
    delay = POLICY.decide(1, outcome, age=0, spread=middle).delay
    assert delay == max(1.0, min(after, 900))
    assert math.isfinite(delay)


def test_retry_after_on_another_status_is_not_heeded() -> None:
    """Only 429 and 503 hold a destination."""
    assert POLICY.hold(an_outcome(Result.CLIENT_ERROR, 404, 60)) == 0
