"""The benchmark's own reckoning: ids, what it takes for a fault, its command line."""

from __future__ import annotations

from array import array

import pytest
from bench import compression
from bench.__main__ import SUITES, arguments
from bench.requests import prepare
from bench.run import Observed, check, percentile
from bench.wire import DIGITS, MARK, SPACE, event_id, event_number
from hypothesis import given
from hypothesis import strategies as st

IDS = st.integers(min_value=0, max_value=SPACE - 1)


@given(IDS)
def test_an_id_tells_its_number(number: int) -> None:
    """The receiver reads back the number that the generator wrote."""
    name = event_id(number)
    assert len(name) == 36
    assert name[DIGITS:] == MARK
    assert event_number(name[:DIGITS]) == number


def test_requests_are_numbered_from_where_they_are_told() -> None:
    """A second load on the same database sends no event again."""
    requests = prepare(3, port=1, first=5)
    assert [event_id(number) in request for number, request in enumerate(requests, 5)] == [True] * 3


def observed(statuses: list[int], copies: list[tuple[int, int]]) -> Observed:
    """What a run with these answers and these (event, destination) copies leaves."""
    return Observed(
        sent=array("q", [0] * len(statuses)),
        answered=array("q", [0] * len(statuses)),
        statuses=array("i", statuses),
        destinations=array("i", [destination for _, destination in copies]),
        events=[event for event, _ in copies],
        at=array("q", [0] * len(copies)),
    )


@pytest.mark.parametrize(
    ("statuses", "copies", "said"),
    [
        ([202, 202], [(0, 0), (1, 0)], []),
        ([202, 503], [(0, 0)], ["1 answered 503"]),
        ([202, 0], [(0, 0)], ["1 without an answer"]),
        ([202, 202], [(1, 0)], ["1 acknowledged copies never arrived"]),
        ([202], [(0, 0), (0, 0)], ["1 copies arrived again"]),
        ([202], [(0, 0), (-3, 0)], ["1 copies of events that were not sent"]),
    ],
)
def test_what_is_lost_or_doubled_is_said(
    statuses: list[int], copies: list[tuple[int, int]], said: list[str]
) -> None:
    """A figure is worth nothing where the work was not done."""
    assert check(observed(statuses, copies), 1) == said


def test_a_percentile_is_a_value_that_was_seen() -> None:
    """The 99th of a hundred is the highest but none."""
    nanoseconds = [number * 1_000_000 for number in range(1, 101)]
    assert percentile(nanoseconds, 0.5) == 51
    assert percentile(nanoseconds, 0.99) == 100


def test_varied_bodies_are_as_long_as_the_samples() -> None:
    """Only ids, times and numbers differ from one to the next."""
    bodies = compression.varied(10)
    assert [len(body) for body in bodies[:5]] == [len(body) for body in bodies[5:]]
    assert len(set(bodies)) == 10


def test_suites_are_chosen_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    """One that is not there is refused with the names of those that are."""
    assert arguments([]).suites == []
    assert arguments(["growth", "all"]).suites == ["growth", "all"]
    with pytest.raises(SystemExit):
        arguments(["grwth"])
    said = capsys.readouterr().err
    assert all(name in said for name in SUITES)
