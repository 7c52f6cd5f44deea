"""What stands under `match`: each key, and each fault with its place and its remedy."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from circleci_relay.circleci import samples
from circleci_relay.circleci.payload import parse, read_facts
from circleci_relay.matching import (
    FACT_KEYS,
    MATCH_KEYS,
    MatchFaults,
    Subject,
    compile_match,
    view_of,
)
from circleci_relay.model import Change, Facts

FACTS = Facts(
    type="workflow-completed",
    status="failed",
    project="github/acme/api",
    project_name="api",
    project_id="44444444",
    organization="acme",
    organization_id="33333333",
    workflow="build",
    branch="main",
    provider="github",
    trigger="webhook",
    pipeline_number=412,
    subject="Fix it",
    author="Zoë",
    url="https://ci.example/1",
)
BODY = (
    b'{"id":"a","type":"t","s":"text","n":412,"neg":-0,"f":1.10,"big":12345678901234567890123,'
    b'"e":1e3,"t":true,"no":false,"z":null,"empty":"","m":{"in":{"x":"deep"}},"odd":"a\\u0000b",'
    b'"l":["zero",{"x":"one"},["two"]],"d":{"1":"digit"}}'
)


def judge(
    raw: dict[str, Any], facts: Facts = FACTS, *, body: bytes = BODY, change: Change | None = None
) -> tuple[bool, str]:
    """Whether `match: raw` takes such an event, and why."""
    view = view_of(Subject(facts, "circleci", parse(body)), change)
    match = compile_match(raw)
    matched, reason = match.judge(view)
    assert matched == all(test(view) for test in match.tests)
    return matched, reason


def faults(raw: dict[Any, Any]) -> dict[tuple[str | int, ...], str]:
    """What is wrong under `match: raw`, by path."""
    with pytest.raises(MatchFaults) as caught:
        compile_match(raw)
    found = {fault.path: fault.message for fault in caught.value.faults}
    assert len(found) == len(caught.value.faults)
    assert all(message in str(caught.value) for message in found.values())
    return found


# --- keys


@pytest.mark.parametrize(
    "raw",
    [
        {},
        {"type": "workflow-completed"},
        {"status": ["error", "failed"]},
        {"workflow": "b*", "branch": ["dev", "/ma.n/"]},
        {"pipeline_number": "412"},
        {"pipeline_number": "4*"},
        {"source": "circleci"},
        {"tag": None, "job": ""},
        {"tag": ["v*", None]},
        {"author": "Zoë", "subject": "Fix*", "url": "https://*"},
        {"change": "broken"},
        {"change": "/bro.*/"},
        {"not": {"branch": "dev"}},
        {"not": {"tag": "v*"}},
        {"not": {"branch": None}},
        {"not": {"branch": "dev", "job": "x", "payload": {"s": "other"}}},
        {"status": "failed", "not": {"status": "error"}},
    ],
)
def test_what_matches(raw: dict[str, Any]) -> None:
    """Every key holds, by any of its patterns, and none under `not`."""
    assert judge(raw, change=Change.BROKEN)[0]


@pytest.mark.parametrize(
    "raw",
    [
        {"type": "job-completed"},
        {"type": "workflow-completed", "status": "success"},
        {"tag": "*"},
        {"tag": "/.*/"},
        {"branch": None},
        {"source": "other"},
        {"pipeline_number": "41"},
        {"change": "fixed"},
        {"change": None},
        {"not": {"branch": "main"}},
        {"not": {"branch": "m*"}},
        {"not": {"tag": None}},
        {"not": {"branch": "dev", "status": "failed"}},
        {"status": "failed", "not": {"payload": {"s": "text"}}},
    ],
)
def test_what_does_not_match(raw: dict[str, Any]) -> None:
    """One key that does not hold, or one under `not` that does, is enough."""
    assert not judge(raw, change=Change.BROKEN)[0]


@pytest.mark.parametrize("key", sorted(set(FACT_KEYS) - {"change"}))
def test_every_fact_is_a_key(key: str) -> None:
    """What an event of every fact says matches; what it does not, does not."""
    fields: dict[str, Any] = {name: name for name in Facts.__slots__}
    facts = Facts(**fields | {"pipeline_number": 7})
    value = "7" if key == "pipeline_number" else key
    assert judge({key: value}, facts)[0]
    assert not judge({key: f"{value}x"}, facts)[0]
    assert not judge({"not": {key: value}}, facts)[0]


def test_the_keys_are_the_documented_ones() -> None:
    """The facts' names, `source`, `payload`, `labels` and `not`."""
    assert {*FACT_KEYS, "source", "payload", "labels", "not"} == MATCH_KEYS
    assert len(FACT_KEYS) == 16


@pytest.mark.parametrize("slug", ["github/acme/api", "gh/acme/api"])
@pytest.mark.parametrize(
    "pattern",
    [
        "github/acme/api",
        "gh/acme/api",
        "gh/acme/*",
        "github/*/api",
        r"/gh\/acme\/.*/",
        r"/github\/.+/",
        "api",
        "a?i",
        "44444444",
        ["other", "gh/acme/api"],
        [None, "api"],
    ],
)
def test_a_project_by_slug_name_or_id(slug: str, pattern: object) -> None:
    """`gh/` and `github/` are one, in the pattern and in the event, in globs and all."""
    facts = Facts(type="x", project=slug, project_name="api", project_id="44444444")
    assert judge({"project": pattern}, facts)[0]
    assert not judge({"not": {"project": pattern}}, facts)[0]


@pytest.mark.parametrize(
    ("slug", "pattern"),
    [
        ("bitbucket/acme/api", "bb/acme/api"),
        ("bb/acme/api", "bitbucket/acme/*"),
        ("circleci/7Hq/3Fg", "circleci/7Hq/*"),
    ],
)
def test_slugs_of_other_hosts(slug: str, pattern: str) -> None:
    """`bb/` and `bitbucket/` are one; opaque slugs are only themselves."""
    assert judge({"project": pattern}, Facts(type="x", project=slug))[0]


@pytest.mark.parametrize("pattern", ["bb/acme/api", "acme/web", "GitHub/acme/api", "gh/*/x", None])
def test_other_projects(pattern: str | None) -> None:
    """A part of a slug is no name of it, and a project that is there is not absent."""
    assert not judge({"project": pattern})[0]
    assert judge({"not": {"project": pattern}})[0]


def test_an_absent_project_and_organization() -> None:
    """Null matches where there is neither slug nor name nor id."""
    nothing = Facts(type="ping")
    assert judge({"project": None, "organization": None}, nothing)[0]
    assert not judge({"project": "*"}, nothing)[0]
    assert not judge({"organization": "*"}, nothing)[0]
    assert not judge({"organization": None}, Facts(type="x", organization_id="3"))[0]


@pytest.mark.parametrize("pattern", ["acme", "33333333", "ac*"])
def test_an_organization_by_name_or_id(pattern: str) -> None:
    """Either will do."""
    assert judge({"organization": pattern})[0]


@pytest.mark.parametrize(
    ("path", "pattern"),
    [
        ("s", "text"),
        ("s", "t*"),
        ("n", "412"),
        ("neg", "0"),
        ("f", "1.10"),
        ("f", "1.1?"),
        ("big", "12345678901234567890123"),
        ("e", "1e3"),
        ("t", "true"),
        ("no", "false"),
        ("z", None),
        ("empty", None),
        ("missing", None),
        ("s.deeper", None),
        ("m.in.x", "deep"),
        ("l.0", "zero"),
        ("l.1.x", "one"),
        ("l.2.0", "two"),
        ("l.7", None),
        ("l.x", None),
        ("l.99999999999999999999", None),
        ("l.²", None),
        ("d.1", "digit"),
        ("odd", "a\ufffdb"),
        ("odd", "a?b"),
    ],
)
def test_what_the_body_has_at_a_path(path: str, pattern: str | None) -> None:
    """Scalars as they were written; missing, null and empty are absent."""
    assert judge({"payload": {path: pattern}})[0]
    assert not judge({"not": {"payload": {path: pattern}}})[0]


@pytest.mark.parametrize("path", ["m", "m.in", "l", "l.1", "l.2"])
@pytest.mark.parametrize("pattern", ["*", "/.*/", None, "a map", "a list", ["x", None]])
def test_containers_match_nothing(path: str, pattern: object) -> None:
    """Not even null: something is there."""
    assert not judge({"payload": {path: pattern}})[0]
    assert judge({"not": {"payload": {path: pattern}}})[0]


@pytest.mark.parametrize(("path", "pattern"), [("f", "1.1"), ("e", "1000.0"), ("t", "True")])
def test_numbers_are_not_rounded_nor_respelled(path: str, pattern: str) -> None:
    """1.10 is not 1.1 in the body either, and truth is spelled as JSON spells it."""
    assert not judge({"payload": {path: pattern}})[0]


def test_every_path_under_payload_must_hold() -> None:
    """As with the keys around it."""
    assert judge({"payload": {"s": "text", "n": "412"}})[0]
    assert not judge({"payload": {"s": "text", "n": "413"}})[0]
    assert not judge({"not": {"payload": {"s": "other", "n": "412"}}})[0]


def test_a_payload_that_is_a_plain_map() -> None:
    """Facts set by hand come with a body of no bytes."""
    match = compile_match({"payload": {"x": ["1.5", None]}})
    for payload in ({"x": 1.5}, {}):
        view = view_of(Subject(FACTS, "circleci", payload), None)
        assert match.judge(view)[0]


@given(st.data())
def test_a_match_and_its_not_never_agree(data: st.DataObject) -> None:
    """One key, any patterns, any sample: either it holds, or it does under `not`."""
    body = samples.load(data.draw(st.sampled_from(samples.names())))
    facts = read_facts(parse(body))
    key = data.draw(st.sampled_from(FACT_KEYS))
    values = [getattr(facts, key), None, "*", "m*", "/.*a.*/", "main", "failed", "launchpad"]
    pattern = data.draw(st.lists(st.sampled_from(values), min_size=1))
    assert judge({key: pattern}, facts)[0] != judge({"not": {key: pattern}}, facts)[0]


# --- reasons


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ({"branch": ["dev", r"/release-\d+/"]}, r"branch is main; wanted dev or /release-\d+/"),
        ({"tag": "v*"}, "tag is absent; wanted v*"),
        ({"branch": None}, "branch is main; wanted absent"),
        ({"change": "fixed"}, "change is absent; wanted fixed"),
        ({"project": "gh/acme/web"}, "project is github/acme/api; wanted gh/acme/web"),
        ({"payload": {"m": "*"}}, "payload.m is a map; wanted *"),
        ({"not": {"branch": ["dev", "ma*"]}}, "branch is main, and must not be ma*"),
        ({"not": {"tag": None}}, "tag is absent, and must not be absent"),
        (
            {"status": "success", "branch": "dev", "not": {"workflow": "b*"}},
            (
                "status is failed; wanted success, and branch is main; wanted dev,"
                " and workflow is build, and must not be b*"
            ),
        ),
    ],
)
def test_why_not(raw: dict[str, Any], reason: str) -> None:
    """Everything that stands against it, in plain words."""
    assert judge(raw) == (False, reason)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ({}, "it takes everything but ping"),
        (
            {"type": "workflow-completed", "branch": "m*"},
            "type is workflow-completed, branch is main",
        ),
        ({"tag": None, "not": {"workflow": ["x", "y*"]}}, "tag is absent, workflow is not x or y*"),
        ({"payload": {"m.in.x": "deep"}}, "payload.m.in.x is deep"),
    ],
)
def test_why(raw: dict[str, Any], reason: str) -> None:
    """Everything that speaks for it."""
    assert judge(raw) == (True, reason)


def test_reasons_are_fit_for_a_terminal() -> None:
    """Short, and without escape sequences out of a branch's name."""
    assert judge({"branch": "x"}, Facts(type="t", branch="\x1b[2Jé"))[1] == (
        r"branch is \x1b[2Jé; wanted x"
    )
    long = judge({"branch": "x"}, Facts(type="t", branch="b" * 900))[1]
    assert "…" in long
    assert len(long) < 120


# --- faults


@pytest.mark.parametrize(
    ("raw", "path", "said"),
    [
        ({"brnch": "main"}, ("brnch",), "did you mean branch?"),
        ({"repo": "x"}, ("repo",), "did you mean project?"),
        ({"org": "x"}, ("org",), "did you mean organization?"),
        ({"organisation": "x"}, ("organisation",), "did you mean organization?"),
        ({"zzz": "x"}, ("zzz",), "those are author, branch, change"),
        ({"workflow.name": "x"}, ("workflow.name",), "`payload: {workflow.name: ...}`"),
        ({7: "x"}, (7,), "quotes"),
        ({"project_id": "x"}, ("project_id",), "did you mean project?"),
        ({"branch": []}, ("branch",), "an empty list matches nothing"),
        ({"branch": {"a": "b"}}, ("branch",), "holds a map"),
        ({"branch": ["ok", ["nested"]]}, ("branch", 1), "a list in a list"),
        ({"branch": ["ok", "/(/"]}, ("branch", 1), "missing )"),
        ({"branch": "/(/"}, ("branch",), "missing )"),
        ({"not": {}}, ("not",), "holds a map"),
        ({"not": None}, ("not",), "holds a map"),
        ({"not": ["branch"]}, ("not",), "holds a map"),
        ({"not": {"not": {"branch": "x"}}}, ("not", "not"), "no other `not`"),
        ({"not": {"brnch": "x"}}, ("not", "brnch"), "did you mean branch?"),
        ({"not": {"branch": []}}, ("not", "branch"), "empty list"),
        ({"payload": {}}, ("payload",), "dotted paths"),
        ({"payload": "x"}, ("payload",), "dotted paths"),
        ({"payload": None}, ("payload",), "dotted paths"),
        ({"payload": {"": "x"}}, ("payload", ""), "is no path"),
        ({"payload": {"a..b": "x"}}, ("payload", "a..b"), "is no path"),
        ({"payload": {1: "x"}}, ("payload", 1), "is no path"),
        ({"payload": {"a": {"b": "x"}}}, ("payload", "a"), "write the whole path, a.b"),
        ({"payload": {"a": {}}}, ("payload", "a"), "write the whole path, a...."),
        ({"payload": {"a": []}}, ("payload", "a"), "empty list"),
        ({"not": {"payload": {"a": "/(/"}}}, ("not", "payload", "a"), "missing )"),
    ],
)
def test_a_fault_has_a_place_and_a_remedy(
    raw: dict[Any, Any], path: tuple[str | int, ...], said: str
) -> None:
    """The path counts from `match`, list indices included."""
    found = faults(raw)
    assert list(found) == [path]
    assert said in found[path]


def test_all_faults_are_found_at_once() -> None:
    """Not one a run."""
    found = faults(
        {
            "brnch": "x",
            "status": ["/(/", "ok", "/[/"],
            "payload": {"a..b": "x", "c": []},
            "not": {"not": {}, "job": "/)/"},
        }
    )
    assert set(found) == {
        ("brnch",),
        ("status", 0),
        ("status", 2),
        ("payload", "a..b"),
        ("payload", "c"),
        ("not", "not"),
        ("not", "job"),
    }


@pytest.mark.parametrize(
    ("raw", "text"), [(True, "true"), (False, "false"), (7, "7"), (1.5, "1.5")]
)
def test_scalars_that_are_no_strings(raw: object, text: str) -> None:
    """Taken as JSON writes them, should they come so."""
    body = f'{{"id":"a","type":"t","x":{text}}}'.encode()
    assert judge({"payload": {"x": raw}}, body=body)[0]
    assert judge({"payload": {"x": [raw]}}, body=body)[0]
