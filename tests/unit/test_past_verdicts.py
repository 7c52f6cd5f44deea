"""What each route said of an event when it arrived, from what is kept of its configuration."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from circleci_relay.circleci import samples
from circleci_relay.circleci.payload import parse, read_facts
from circleci_relay.config import Config, load
from circleci_relay.model import Change
from circleci_relay.past_verdicts import Arrived, verdicts_then
from circleci_relay.routing import Subject
from circleci_relay.store.encode import facts_of, facts_text

if TYPE_CHECKING:
    from pathlib import Path

BODY = samples.load("gh_oauth_workflow_failed")
FACTS = read_facts(parse(BODY))
EVENT = Arrived(source="a", facts=replace(FACTS, change=Change.BROKEN), body=BODY)
FILE = """
sources: {a: {path: /a, secrets: [made-up-secret]}, b: {path: /b, unsigned: true}}
projects:
  "*": {team: payments, hook: "https://hooks.example.com/x", secret: made-up-secret}
destinations: {d: {url: 'https://d.example.com/'}, e: {url: 'https://e.example.com/'}}
routes:
"""

Read = Callable[[str], Config]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Read a file of these routes."""

    def read_routes(routes: str) -> Config:
        path = tmp_path / "relay.yaml"
        path.write_text(FILE + routes)
        return load([path]).config

    return read_routes


def kept(config: Config) -> dict[str, Any]:
    """The configuration as it comes back from the store."""
    found: dict[str, Any] = json.loads(json.dumps(config.masked()))
    return found


def said(config: dict[str, Any], event: Arrived = EVENT) -> dict[str, tuple[bool, str]]:
    """Each route's verdict."""
    return {each.route: (each.matched, each.reason) for each in verdicts_then(config, event)}


ALL = """
  off: {to: d, enabled: false}
  all: {to: [d, e]}
  red: {to: d, match: {status: [failed, error], change: broken, branch: ma*, not: {tag: v1}}}
  green: {to: d, match: {status: success}, hold: 10m}
  team: {to: e, match: {labels: {team: pay*}, payload: {pipeline.trigger.type: webhook}}}
  rest: {to: e, otherwise: true}
  pings: {to: e, match: {type: ping}}
"""


@pytest.mark.parametrize("sample", ["gh_oauth_workflow_failed", "gh_oauth_job_failed", "ping"])
def test_what_is_kept_says_what_the_routes_said(read: Read, sample: str) -> None:
    """Word for word, in the order of the file, with nothing but what the store has."""
    config = read(ALL)
    body = samples.load(sample)
    facts = facts_of(facts_text(read_facts(parse(body)), Change.BROKEN))
    subject = Subject(read_facts(parse(body)), "a", parse(body))
    routes = config.table.choose(subject, Change.BROKEN).routes
    event = Arrived(source="a", facts=facts, body=body, routes=routes)
    then = verdicts_then(kept(config), event)
    assert then == tuple(config.table.explain(subject, Change.BROKEN))
    assert tuple(each.route for each in then if each.matched) == routes
    assert verdicts_then(kept(config), replace(event, routes=None)) == then


def test_facts_come_back_as_they_went() -> None:
    """What an older or newer version wrote beside them is left out."""
    assert facts_of(facts_text(FACTS, None)) == FACTS
    assert facts_of(facts_text(FACTS, Change.FIXED)).change is Change.FIXED
    odd = {"type": "x", "change": "bent", "colour": "red", "branch": 7, "pipeline_number": "8"}
    assert facts_of(json.dumps(odd)) == replace(facts_of("{}"), type="x")


SECRET = """
  one: {to: d, match: {author: made-up-secret}}
  list: {to: d, match: {branch: [made-up-secret, main]}}
  other: {to: d, match: {branch: [made-up-secret, develop]}}
  plain: {to: d, match: {author: made-up-secret, status: success}}
  refused: {to: d, match: {not: {branch: [made-up-secret, main]}}}
  unsure: {to: d, match: {not: {branch: [made-up-secret, develop]}}}
  hook: {to: d, match: {labels: {hook: '*'}}}
  label: {to: d, match: {labels: {secret: made-up*}}}
  none: {to: d, match: {not: {labels: {secret: x}}}}
  rest: {to: d, otherwise: true, match: {labels: {hook: x}}}
"""


def test_what_was_masked_is_never_a_wrong_verdict(read: Read) -> None:
    """Where a secret stood a verdict hangs on it, or on what else there is; it says which."""
    config = kept(read(SECRET))
    assert config["routes"]["one"]["match"] == {"author": "***"}
    assert FACTS.branch == "main"
    found = said(config)
    secret = "holds a secret, which is not kept"
    label = "is a label of the project whose value is not kept"
    assert found == {
        "one": (False, f"cannot be told: author {secret}"),
        "list": (True, "branch is main"),
        "other": (False, f"cannot be told: branch {secret}"),
        "plain": (False, "status is failed; wanted success"),
        "refused": (False, "branch is main, and must not be main"),
        "unsure": (False, f"cannot be told: not.branch {secret}"),
        "hook": (False, f"cannot be told: labels.hook {label}"),
        "label": (False, f"cannot be told: labels.secret {label}"),
        "none": (False, f"cannot be told: not.labels.secret {label}"),
        "rest": (False, "the route list takes it already"),
    }


def test_what_others_leave_hangs_on_them(read: Read) -> None:
    """Where it cannot be told whether they take it, it cannot be told of the rest either."""
    config = kept(
        read("  one: {to: d, match: {author: made-up-secret}}\n  rest: {to: e, otherwise: true}\n")
    )
    assert said(config)["rest"] == (False, "cannot be told: the route one may take it")
    took = replace(EVENT, routes=("rest",))
    assert said(config, took)["rest"] == (True, "it takes everything but ping")


def test_the_routes_that_took_it_have_the_last_word(read: Read) -> None:
    """They settle what cannot be told, and where both differ the verdict says so."""
    config = kept(read(SECRET))
    found = said(config, replace(EVENT, routes=("one", "plain", "gone")))
    assert found["one"][0]
    assert found["one"][1].startswith(
        "it took the event; why cannot be told: author holds a secret"
    )
    assert found["plain"][0]
    assert found["plain"][1].startswith(
        "it took the event, though by what is kept it does not match"
    )
    assert found["list"] == (
        False,
        "it did not take the event, though by what is kept it matches: branch is main",
    )
    assert found["hook"][1].startswith("it did not take the event; why cannot be told")
    assert found["rest"] == (False, "the route one takes it already")
    assert found["gone"] == (True, "it took the event; what it was is not kept")


def test_an_older_or_stranger_configuration_is_read_as_far_as_it_goes() -> None:
    """Keys that are absent have their defaults; what is no pattern today is said."""
    older = {
        "routes": {
            "plain": {"match": None, "to": ["d"]},
            "label": {"match": {"labels": {"team": "x"}}, "to": "d"},
            "regex": {"match": {"branch": ["/(/", "x"]}, "to": []},
            "key": {"match": {"colour": "red", "status": "failed"}},
            "empty": {"match": {"branch": [], "payload": {"a..b": "x"}, "not": 3}},
            "odd": [],
            "text": {"match": "main"},
        }
    }
    found = said(older)
    old = "is nothing that can be read today"
    assert found == {
        "plain": (True, "it takes everything but ping"),
        "label": (False, "cannot be told: labels.team is of a project whose labels are not kept"),
        "regex": (False, f"cannot be told: branch {old}"),
        "key": (False, f"cannot be told: colour {old}"),
        "empty": (False, f"cannot be told: branch {old}; payload.a..b {old}; not {old}"),
        "odd": (True, "it takes everything but ping"),
        "text": (False, f"cannot be told: match {old}"),
    }
    assert verdicts_then({}, EVENT) == ()
    broken = {"projects": {"/(/": {"team": "x"}}, "routes": {"r": older["routes"]["label"]}}
    assert said(broken)["r"][1].startswith("cannot be told: labels.team is of a project")


def test_a_body_that_is_none_and_what_the_relay_says_of_itself(read: Read) -> None:
    """A look into the body cannot be told; notices go by no route."""
    config = kept(read(ALL))
    assert said(config, replace(EVENT, body=b"\xff"))["team"] == (
        False,
        "cannot be told: payload.pipeline.trigger.type is of a body that cannot be read today",
    )
    found = said(config, replace(EVENT, source="relay", routes=()))
    assert set(found.values()) == {(False, "what the relay tells of itself goes where notify says")}


ANYTHING: st.SearchStrategy[Any] = st.recursive(
    st.sampled_from(["***", "main", "/(/", "*", "\\", None, 1, True, "relay"])
    | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["branch", "not", "labels", "payload", "a.b", "team", "***", "status"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


@given(
    match=ANYTHING,
    projects=ANYTHING,
    took=st.none() | st.sets(st.sampled_from("xyz")).map(tuple),
    flags=st.fixed_dictionaries({}, optional={"enabled": ANYTHING, "otherwise": ANYTHING}),
)
@settings(max_examples=60, deadline=None)
def test_any_configuration_has_verdicts(
    match: Any, projects: Any, took: tuple[str, ...] | None, flags: dict[str, Any]
) -> None:
    """Whatever is kept: no failure, and the verdicts are what really happened."""
    routes = {"x": {"match": match, "to": match, **flags}, "y": {"match": {"not": match}}}
    found = verdicts_then({"routes": routes, "projects": projects}, replace(EVENT, routes=took))
    assert {each.route for each in found} >= {"x", "y"}
    if took is not None:
        assert {each.route for each in found if each.matched} == set(took)
