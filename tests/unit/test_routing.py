"""The table of routes: all are looked at, `ping` is special, and each verdict has its reason."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from circleci_relay.circleci import samples
from circleci_relay.circleci.payload import parse, read_facts
from circleci_relay.model import Change, Choice, Facts
from circleci_relay.routing import Route, Subject, Table, Verdict, compile_match

MATCHES: list[dict[str, Any] | None] = [
    None,
    {},
    {"type": "ping"},
    {"type": ["job-completed", "ping"]},
    {"type": "p*"},
    {"type": "*"},
    {"type": "workflow-completed", "status": ["failed", "error"], "branch": ["main", "/r-.*/"]},
    {"project": "gh/acme-rockets/*", "not": {"branch": "pull/*"}},
    {"change": ["broken", "fixed"]},
    {"not": {"change": None}},
    {"payload": {"pipeline.trigger.type": ["webhook", "gitlab"]}},
    {"not": {"type": "ping"}},
    {"organization": "acme-rockets", "tag": None},
]


def a_route(name: str, match: dict[str, Any] | None, *to: str, enabled: bool = True) -> Route:
    """A route as the configuration makes it."""
    compiled = None if match is None else compile_match(match)
    return Route(name=name, to=to or ("chat",), match=compiled, enabled=enabled)


def a_verdict(route: str, reason: str, *to: str, matched: bool) -> Verdict:
    """What a route should say."""
    return Verdict(route=route, matched=matched, reason=reason, to=to)


def a_subject(name: str = "gh_oauth_workflow_failed") -> Subject:
    """A packaged sample, ready to be routed."""
    payload = parse(samples.load(name))
    return Subject(facts=read_facts(payload), source="circleci", payload=payload)


def test_every_route_is_looked_at_and_every_destination_chosen_once() -> None:
    """In the order of the file, each destination where it is first named."""
    table = Table(
        [
            a_route("first", None, "warehouse"),
            a_route("no", {"status": "success"}, "never"),
            a_route("second", {"status": "failed"}, "pager", "warehouse"),
            a_route("third", {"branch": "main"}, "chat", "pager"),
        ]
    )
    assert table.choose(a_subject(), None) == Choice(
        routes=("first", "second", "third"), destinations=("warehouse", "pager", "chat")
    )


def test_no_routes_choose_nothing() -> None:
    """Such an event is stored as unmatched, not lost."""
    assert Table([]).choose(a_subject(), None) == Choice(routes=(), destinations=())


@pytest.mark.parametrize("change", [None, *Change])
def test_routing_by_change(change: Change | None) -> None:
    """The change is an argument, whatever the facts hold; absent at the first of a line."""
    table = Table([a_route("red", {"change": "broken"}), a_route("new", {"change": None})])
    facts = Facts(type="workflow-completed", change=Change.FIXED)
    chosen = table.choose(Subject(facts, "circleci", {}), change).routes
    assert chosen == {Change.BROKEN: ("red",), None: ("new",)}.get(change, ())


def test_ping_goes_only_where_a_route_says_so() -> None:
    """Neither everything, nor a glob, nor `not` something else is saying so."""
    routes = [a_route(str(number), match) for number, match in enumerate(MATCHES)]
    assert Table(routes).choose(a_subject("ping"), None).routes == ("2", "3")


def test_a_new_type_flows_where_no_type_is_named() -> None:
    """What CircleCI adds next year is not lost."""
    subject = Subject(Facts(type="deploy-completed"), "circleci", {})
    routes = [a_route("all", None), a_route("any", {"type": "*"}), a_route("old", {"type": "ping"})]
    assert Table(routes).choose(subject, None).routes == ("all", "any")


def test_a_disabled_route_takes_nothing() -> None:
    """And its verdict says so."""
    table = Table([a_route("off", None, enabled=False)])
    assert table.choose(a_subject(), None).routes == ()
    assert table.explain(a_subject(), None) == [a_verdict("off", "disabled", "chat", matched=False)]


def test_verdicts_have_reasons() -> None:
    """One for each route, taken or not."""
    table = Table(
        [
            a_route("everything", None, "warehouse"),
            a_route("red", {"branch": ["dev", r"/release-\d+/"]}, "pager"),
        ]
    )
    assert table.explain(a_subject(), None) == [
        a_verdict("everything", "it takes everything but ping", "warehouse", matched=True),
        a_verdict("red", r"branch is main; wanted dev or /release-\d+/", "pager", matched=False),
    ]
    assert table.explain(a_subject("ping"), None)[0] == a_verdict(
        "everything",
        "ping goes only where a route says exactly type: ping",
        "warehouse",
        matched=False,
    )


@given(
    st.lists(st.tuples(st.sampled_from(MATCHES), st.booleans()), max_size=6),
    st.sampled_from(samples.names()),
    st.sampled_from([None, *Change]),
)
def test_what_is_explained_is_what_is_chosen(
    rules: list[tuple[dict[str, Any] | None, bool]], name: str, change: Change | None
) -> None:
    """The quick way and the wordy one agree on every sample."""
    table = Table(
        a_route(f"r{number}", match, f"d{number % 3}", enabled=enabled)
        for number, (match, enabled) in enumerate(rules)
    )
    verdicts = table.explain(a_subject(name), change)
    choice = table.choose(a_subject(name), change)
    assert [verdict.route for verdict in verdicts] == [route.name for route in table.routes]
    assert choice.routes == tuple(verdict.route for verdict in verdicts if verdict.matched)
    assert set(choice.destinations) == {to for each in verdicts if each.matched for to in each.to}
    assert len(set(choice.destinations)) == len(choice.destinations)
    assert all(verdict.reason for verdict in verdicts)
