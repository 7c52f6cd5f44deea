"""The breaker: consecutive failures open it, one probe decides, an answer closes it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from circleci_relay.delivery.breaker import FAILURES, Breaker
from circleci_relay.model import Result

OURS = {Result.INTERNAL, Result.TEMPLATE}


def test_it_opens_at_the_limit_and_not_before() -> None:
    """Nine failures are bad luck, ten are an outage."""
    breaker = Breaker(10, 30.0)
    changed = [breaker.record(Result.TIMEOUT, 0.0) for _ in range(10)]
    assert changed == [False] * 9 + [True]
    assert breaker.open
    assert breaker.wait(0.0) == 30.0


def test_an_answer_in_between_starts_the_count_anew() -> None:
    """Consecutive means consecutive; a 404 is an answer."""
    breaker = Breaker(2, 30.0)
    breaker.record(Result.CONNECTION, 0.0)
    breaker.record(Result.CLIENT_ERROR, 0.0)
    breaker.record(Result.CONNECTION, 0.0)
    assert not breaker.open


def test_a_failed_probe_opens_it_for_another_pause() -> None:
    """Half-open, one more failure is enough."""
    breaker = Breaker(1, 30.0)
    breaker.record(Result.SERVER_ERROR, 0.0)
    assert breaker.wait(30.0) == 0
    breaker.record(Result.SERVER_ERROR, 31.0)
    assert breaker.wait(31.0) == 30.0


def test_late_failures_do_not_prolong_the_pause() -> None:
    """Attempts begun before it opened end while it is open, and say nothing new."""
    breaker = Breaker(1, 30.0)
    breaker.record(Result.TIMEOUT, 0.0)
    breaker.record(Result.TIMEOUT, 10.0)
    assert breaker.wait(10.0) == 20.0


def test_a_probe_that_succeeds_closes_it() -> None:
    """Closing is told, so that what waits can be made due."""
    breaker = Breaker(1, 30.0)
    breaker.record(Result.TIMEOUT, 0.0)
    assert breaker.record(Result.OK, 31.0)
    assert not breaker.open


@given(
    st.lists(st.sampled_from([each for each in Result if each not in OURS])),
    st.integers(1, 5),
)
def test_it_is_open_exactly_after_enough_failures_in_a_row(
    results: list[Result], limit: int
) -> None:
    """Whatever the order, the last run of failures decides."""
    breaker = Breaker(limit, 1e9)
    run = 0
    was_open = False
    for result in results:
        breaker.record(result, 0.0)
        run = run + 1 if result in FAILURES else 0
        was_open = result in FAILURES and (was_open or run >= limit)
        assert breaker.open == was_open


@pytest.mark.parametrize("result", sorted(OURS))
def test_a_fault_of_our_own_says_nothing(result: Result) -> None:
    """It neither counts as the destination's failure nor as its answer."""
    breaker = Breaker(1, 30.0)
    assert not breaker.record(result, 0.0)
    assert not breaker.open
    breaker.record(Result.TIMEOUT, 0.0)
    assert not breaker.record(result, 31.0)
    assert breaker.open
