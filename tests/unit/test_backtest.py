"""What another configuration would have made of stored events, counted by route and destination."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from circleci_relay.backtest import MOST_EXAMPLES, Report, Stored, compare, explain_one
from circleci_relay.circleci import samples
from circleci_relay.circleci.payload import parse, read_facts
from circleci_relay.errors import Malformed
from circleci_relay.model import SECOND, Change
from circleci_relay.routing import GroupBy, Route, Table, compile_match

if TYPE_CHECKING:
    from collections.abc import Iterable

BODY = samples.load("gh_oauth_workflow_failed")


def stored(number: int = 0, *, body: bytes = BODY, source: str = "a", **facts: Any) -> Stored:
    """An event as it is stored."""
    return Stored(
        public_id=f"01H{number}",
        source=source,
        received_at=number * SECOND,
        facts=replace(read_facts(parse(body)), **facts),
        body=body,
    )


def route(name: str, *to: str, hold: int = 0, **match: Any) -> Route:
    """A route; without *match* it takes all."""
    return Route(name, to, compile_match(match) if match else None, hold=hold)


def ways(report: Report) -> dict[tuple[str, str], tuple[int, int]]:
    """What is added and dropped."""
    return {way: (each.added.count, each.dropped.count) for way, each in report.ways.items()}


RED = route("red", "chat", "pager", status="failed")
GREEN = route("green", "chat", status="success")
EVENTS = [stored(n, status="failed" if n < 7 else "success") for n in range(10)]


def test_the_same_configuration_changes_nothing() -> None:
    """Nor does one whose routes only have other names."""
    report = compare(Table([RED, GREEN]), Table([replace(RED, name="rot"), GREEN]), EVENTS)
    assert report == Report(events=10, unchanged=10)
    assert (report.added, report.dropped) == (0, 0)


def test_what_is_added_and_dropped_has_examples() -> None:
    """By the first route that leads there; the first five events of each, oldest as given."""
    report = compare(Table([RED]), Table([route("all", "chat", "log")]), EVENTS)
    assert ways(report) == {
        ("all", "log"): (10, 0),
        ("all", "chat"): (3, 0),
        ("red", "pager"): (0, 7),
    }
    assert (report.events, report.unchanged) == (10, 0)
    assert (report.unmatched_before, report.unmatched_after) == (3, 0)
    assert (report.added, report.dropped) == (13, 7)
    chat = report.ways["all", "chat"].added
    assert [example.event for example in chat.examples] == ["01H7", "01H8", "01H9"]
    assert len(report.ways["red", "pager"].dropped.examples) == MOST_EXAMPLES
    example = chat.examples[0]
    assert example.received_at == 7 * SECOND
    assert example.title.endswith("succeeded on main")


def test_another_route_to_the_same_place_drops_nothing() -> None:
    """A destination gets an event once, by however many routes."""
    both = Table([RED, route("all", "chat", "pager")])
    assert ways(compare(both, Table([RED, GREEN]), EVENTS)) == {("all", "pager"): (0, 3)}


def test_what_waits_otherwise_is_told() -> None:
    """The same destinations, and hold or group of another kind."""
    held = Table([replace(RED, hold=600 * SECOND)])
    assert compare(Table([RED]), held, EVENTS) == Report(
        events=10, unchanged=3, otherwise_told=7, unmatched_before=3, unmatched_after=3
    )
    by = GroupBy(("branch",), 30 * SECOND, 50)
    assert compare(Table([RED]), Table([RED], groups={"chat": by}), EVENTS).otherwise_told == 7


def test_what_is_no_event_of_circleci_is_left_out() -> None:
    """What the relay tells of itself goes by no route; a body that is none cannot be judged."""
    odd = [stored(source="relay"), replace(stored(), body=b"\xff{")]
    assert compare(Table([]), Table([RED]), odd) == Report(unreadable=1)


def test_a_change_counts() -> None:
    """As it was when the event came."""
    broken = Table([route("broken", "pager", change="broken")])
    events = [stored(1, change=Change.BROKEN), stored(2, change=Change.STILL_BROKEN), stored(3)]
    assert ways(compare(Table([]), broken, events)) == {("broken", "pager"): (1, 0)}


ROUTES = st.builds(
    route,
    st.uuids().map(str),
    st.sampled_from("xyz"),
    st.sampled_from("xyz"),
    status=st.sampled_from(["failed", "success", "*", ["failed", "error"]]),
    branch=st.sampled_from(["main", "m*", "/ma.*/", None]),
)
MANY = st.lists(
    st.builds(
        stored,
        st.integers(0, 99),
        status=st.sampled_from(["failed", "success", "error", None]),
        branch=st.sampled_from(["main", "develop", None]),
    ),
    max_size=12,
)


@given(routes=st.lists(ROUTES, max_size=4), more=ROUTES, events=MANY, cut=st.integers(0, 12))
@settings(max_examples=50, deadline=None)
def test_a_route_more_only_adds(
    routes: list[Route], more: Route, events: list[Stored], cut: int
) -> None:
    """The way back drops the same; and steps add up to the whole."""
    now, then = Table(routes), Table([*routes, more])
    report = compare(now, then, events)
    assert report.dropped == 0
    assert report.unmatched_after <= report.unmatched_before
    assert {way[0] for way in report.ways} <= {more.name}
    assert report.unchanged + len(touched(now, then, events)) == report.events == len(events)
    back = compare(then, now, events)
    assert (back.added, back.dropped) == (0, report.added)
    assert {way: each.dropped for way, each in back.ways.items()} == {
        way: each.added for way, each in report.ways.items()
    }
    halves = compare(now, then, events[:cut]).add(compare(now, then, events[cut:]))
    assert halves == report
    assert Report().add(report) == report


def touched(now: Table, then: Table, events: Iterable[Stored]) -> list[Stored]:
    """The events that go elsewhere, looked at one by one."""
    return [each for each in events if compare(now, then, [each]).ways]


def test_one_payload_is_explained() -> None:
    """Its facts, each route's verdict, and where it would go."""
    found = explain_one(Table([RED, GREEN]), BODY, source="a", change=Change.BROKEN)
    assert [verdict.matched for verdict in found.verdicts] == [True, False]
    assert found.choice.destinations == ("chat", "pager")
    assert found.facts.change is Change.BROKEN
    assert found.verdicts[1].reason == "status is failed; wanted success"


ODD = [
    b"",
    b"\xff",
    b"[]",
    b"null",
    b"{}",
    b'{"id": 1, "type": "x"}',
    b"[" * 100_000,
    b'{"id":"' + b"x" * 300,
]


@pytest.mark.parametrize("body", ODD, ids=range(len(ODD)))
def test_what_is_no_payload_is_said_to_be_none(body: bytes) -> None:
    """In words that repeat nothing of it."""
    with pytest.raises(Malformed, match=r"^the body "):
        explain_one(Table([RED]), body, source="a")


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "status", "vcs", "branch", "id"]), inner, max_size=3
        )
    ),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(["workflow", "pipeline", "job", "project"]), JSON))
@settings(max_examples=30, deadline=None)
def test_any_payload_is_explained(payload: dict[str, Any]) -> None:
    """Whatever stands where facts are looked for."""
    body = json.dumps({"id": "x", "type": "workflow-completed", **payload}).encode()
    deep = Table([RED, route("deep", "d", payload={"workflow.name": "*"}, branch="*")])
    assert len(explain_one(deep, body, source="a").verdicts) == 2
