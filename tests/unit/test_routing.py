"""The table of routes: all are looked at, `ping` is special, and each verdict has its reason."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from circleci_relay.circleci import samples
from circleci_relay.circleci.payload import parse, read_facts
from circleci_relay.labels import Labels
from circleci_relay.model import Change, Choice, Facts, Quiet
from circleci_relay.routing import GroupBy, Route, Subject, Table, Verdict, compile_match

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


# Otherwise


def test_otherwise_takes_what_no_other_route_took() -> None:
    """And nothing else, wherever it stands."""
    table = Table(
        [
            Route("rest", ("attic",), otherwise=True),
            a_route("failed", {"status": "failed"}, "pager"),
            a_route("off", {"status": "success"}, "never", enabled=False),
        ]
    )
    assert table.choose(a_subject(), None).destinations == ("pager",)
    assert table.choose(a_subject("gh_oauth_workflow_success"), None).destinations == ("attic",)
    verdict = table.explain(a_subject(), None)[0]
    assert (verdict.matched, verdict.reason) == (False, "the route failed takes it already")
    assert table.explain(a_subject("gh_oauth_workflow_success"), None)[0].matched


def test_otherwise_with_a_match() -> None:
    """Both must hold; several such routes do not stand in each other's way."""
    table = Table(
        [
            Route("rest", ("attic",), compile_match({"branch": "main"}), otherwise=True),
            Route("more", ("cellar",), otherwise=True),
            Route("other", ("roof",), compile_match({"branch": "dev"}), otherwise=True),
        ]
    )
    assert table.choose(a_subject(), None).destinations == ("attic", "cellar")


def test_a_ping_is_not_otherwise() -> None:
    """It goes only where a route says exactly so."""
    ping = a_subject("ping")
    assert not Table([Route("rest", ("attic",), otherwise=True)]).choose(ping, None).routes
    said = Route("rest", ("attic",), compile_match({"type": "ping"}), otherwise=True)
    assert Table([said]).choose(ping, None).routes == ("rest",)


# Labels


def test_labels_of_the_project_are_matched() -> None:
    """Like any fact, under `not` too; a label that is not there is absent."""
    labels = Labels({"acme-rockets/launchpad": {"team": "payments"}})
    wanted: list[dict[str, Any]] = [
        {"labels": {"team": ["payments", "web"]}},
        {"labels": {"team": "p*", "tier": None}},
    ]
    for match in wanted:
        assert Table([a_route("r", match)], labels=labels).choose(a_subject(), None).routes
        assert not Table([a_route("r", match)]).choose(a_subject(), None).routes
        other = Table([a_route("r", {"not": match})], labels=labels)
        assert not other.choose(a_subject(), None).routes
    verdict = Table([a_route("r", wanted[0])], labels=labels).explain(a_subject(), None)[0]
    assert verdict.reason == "labels.team is payments"


# How quietly

MINUTE = 60_000_000
RUN = "55555555-5555-4555-9555-555555555555"


def quiet(table: Table, sample: str = "gh_oauth_workflow_failed") -> dict[str, Quiet]:
    """How each destination waits for a sample."""
    return dict(table.choose(a_subject(sample), None).quiet)


def test_nothing_waits_unless_something_says_so() -> None:
    """The common case costs nothing."""
    assert quiet(Table([a_route("r", None, "chat")])) == {}


def test_a_route_that_holds() -> None:
    """Its destinations wait, but not one that another route tells at once."""
    table = Table([Route("slow", ("chat", "mail"), hold=MINUTE), a_route("quick", None, "mail")])
    assert quiet(table) == {"chat": Quiet(hold=MINUTE)}
    table = Table([Route("slow", ("chat",), hold=MINUTE), Route("slower", ("chat",), hold=2)])
    assert quiet(table) == {"chat": Quiet(hold=2)}


@pytest.mark.parametrize("sample", ["gh_oauth_workflow_failed", "gh_oauth_job_failed"])
def test_once_per_workflow(sample: str) -> None:
    """By this run of it; what the workflow itself says outranks its jobs."""
    expected = Quiet(once=RUN, wait=MINUTE, rank=int("workflow" in sample))
    table = Table([a_route("r", None, "chat")], once={"chat": MINUTE})
    assert quiet(table, sample) == {"chat": expected}
    table = Table([Route("r", ("chat",), once=MINUTE)])
    assert quiet(table, sample) == {"chat": expected}


def test_once_only_where_all_routes_say_so() -> None:
    """The destination's own word counts for all of them."""
    routes = [Route("r", ("chat",), once=MINUTE), a_route("s", None, "chat")]
    assert quiet(Table(routes)) == {}
    assert quiet(Table(routes, once={"chat": 5}))["chat"].wait == 5


def test_held_and_once() -> None:
    """Both are said; the store knows how they go together."""
    table = Table([Route("r", ("chat",), hold=3, once=MINUTE)])
    assert quiet(table) == {"chat": Quiet(hold=3, once=RUN, rank=1, wait=MINUTE)}


@pytest.mark.parametrize(
    ("by", "key"),
    [
        (("workflow",), RUN),
        (("pipeline",), "66666666-6666-4666-a666-666666666666"),
        (("project", "branch"), "github/acme-rockets/launchpad\x1fmain"),
        (("labels.team", "tag"), "payments\x1f"),
    ],
)
def test_a_group_by_what_its_events_have_in_common(by: tuple[str, ...], key: str) -> None:
    """Facts, labels, or this run of a workflow or pipeline."""
    table = Table(
        [a_route("r", None, "chat")],
        groups={"chat": GroupBy(by, 30, 50)},
        labels=Labels({"*": {"team": "payments"}}),
    )
    assert quiet(table) == {"chat": Quiet(group=key, wait=30, most=50)}


def test_what_has_nothing_in_common_is_told_alone() -> None:
    """At once: a tag's build in a group by branch. And what is held is no part of a group."""
    groups = {"chat": GroupBy(("tag",), 30, 50)}
    assert quiet(Table([a_route("r", None, "chat")], groups=groups)) == {}
    groups = {"chat": GroupBy(("branch",), 30, 50)}
    held = Table([Route("r", ("chat",), hold=MINUTE)], groups=groups)
    assert quiet(held) == {"chat": Quiet(hold=MINUTE)}


def test_an_event_without_a_workflow_is_told_at_once() -> None:
    """There is nothing it could be once of."""
    table = Table([a_route("r", {"type": "ping"}, "chat")], once={"chat": MINUTE})
    assert quiet(table, "ping") == {}
