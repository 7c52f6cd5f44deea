"""Bodies: what parses, and what is read from every shape that CircleCI documents or sends."""

from __future__ import annotations

import contextlib
import json
import time
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from circleci_relay.circleci import payload, samples
from circleci_relay.circleci.payload import Document, Written, clean, parse, read_facts
from circleci_relay.errors import Malformed
from circleci_relay.model import Change, Facts, Line

REVISION = "9c1f0d2ab3e4c5d6f7a8091b2c3d4e5f60718293"
ORGANIZATION = "33333333-3333-4333-b333-333333333333"
PROJECT = "44444444-4444-4444-8444-444444444444"
SUBJECT = "Fix fuel gauge — “überläuft” 🚀"
OPAQUE = "circleci/7Hq2vWmXc9RtYpLs4NbKdE/3FgJzUoAa8TxMiCe5VwQrP"

ANY_TEXT = st.text(st.characters(exclude_categories=()))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=8,
)
# The names that are looked for, with anything at all behind them.
FIELDS = [
    "type",
    "id",
    "status",
    "name",
    "slug",
    "url",
    "job",
    "workflow",
    "pipeline",
    "project",
    "organization",
    "vcs",
    "trigger",
    "branch",
    "trigger_parameters",
    "git",
    "gitlab",
    "github_app",
    "circleci",
    "trigger_type",
    "commit",
    "author",
    "subject",
    "ref",
    "tag",
    "full_ref",
    "revision",
    "checkout_sha",
    "commit_sha",
    "commit_message",
    "commit_title",
    "provider_name",
    "number",
    "repo_url",
    "checkout_url",
    "commit_author_name",
]
SHAPED = st.recursive(
    st.none() | st.booleans() | st.integers() | ANY_TEXT | st.just("refs/heads/"),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=5)
    ),
    max_leaves=40,
)


def facts_of(pipeline: dict[str, Any] | None = None, **fields: Any) -> Facts:
    """The facts of a workflow-completed with this pipeline, or any other fields."""
    base: dict[str, Any] = {"type": "workflow-completed", "id": "x", "pipeline": pipeline}
    return read_facts(base | fields)


def triggered(**maps: Any) -> Facts:
    """The facts of an event whose pipeline has these maps under `trigger_parameters`."""
    return facts_of({"trigger_parameters": maps})


# --- parsing


@given(st.binary())
@example(b"\xff\xfe{\x00}\x00")
@example(b"9" * 5000)
@example(b'{"id":' * 100_000)
def test_no_bytes_give_anything_but_a_payload_or_malformed(body: bytes) -> None:
    """Whatever is posted."""
    with contextlib.suppress(Malformed):
        parse(body)


@given(st.dictionaries(ANY_TEXT, JSON, max_size=4))
def test_any_object_with_an_id_and_a_type_is_taken(fields: dict[str, Any]) -> None:
    """Whatever else is in it, and in whatever way it is written."""
    value = fields | {"id": "1", "type": "new-type"}
    for ascii_only in (True, False):
        text = json.dumps(value, ensure_ascii=ascii_only)
        parsed = parse(text.encode(errors="surrogatepass"))
        assert payload.event_id(parsed) == "1"
        assert payload.event_type(parsed) == "new-type"
        assert set(parsed) == set(json.loads(text))
        read_facts(parsed)


@pytest.mark.parametrize(
    "extra",
    [
        rb'"x":NaN',
        rb'"x":-Infinity',
        rb'"x":1e999',
        rb'"x":"cut \ud83d"',
        rb'"x":"\u0000"',
        b'"x":"\xed\xa0\xbd"',
        b'"x":' + b"9" * 5000,
        b'"x":' + b"[" * 300 + b"]" * 300,
        b'"id":"a","id":"b"',
    ],
)
def test_what_only_the_standard_library_takes_is_taken(extra: bytes) -> None:
    """Numbers beyond a double, halves of an emoji, NUL: a signed event is not lost over them."""
    read_facts(parse(b'{"id":"a","type":"ping",' + extra + b"}"))


def test_a_byte_order_mark_is_taken() -> None:
    """Both before UTF-8 and as the sign of UTF-16."""
    text = '{"id":"a","type":"ping"}'
    for encoding in ("utf-8-sig", "utf-16"):
        assert payload.event_id(parse(text.encode(encoding))) == "a"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[]", "not a JSON object"),
        (b'"text"', "not a JSON object"),
        (b"null", "not a JSON object"),
        (b'{"x":' * 200_000, "nested too deeply"),
        (b"{}", "`id`"),
        (b'{"id":7,"type":"ping"}', "`id`"),
        (b'{"id":"","type":"ping"}', "`id`"),
        (b'{"id":null,"type":"ping"}', "`id`"),
        (b'{"id":"a\\nb","type":"ping"}', "`id`"),
        (b'{"id":"\\ud800","type":"ping"}', "`id`"),
        (b'{"id":"' + b"a" * 201 + b'","type":"ping"}', "`id`"),
        (b'{"id":"a"}', "`type`"),
        (b'{"id":"a","type":["ping"]}', "`type`"),
        (b'{"id":"a","type":"\\u0000"}', "`type`"),
        (b'{"id":"a","type":"' + b"t" * 101 + b'"}', "`type`"),
    ],
)
def test_what_is_refused_says_why(body: bytes, said: str) -> None:
    """In words that repeat nothing of the body."""
    with pytest.raises(Malformed, match=said):
        parse(body)


def test_the_longest_id_and_type_are_taken() -> None:
    """200 and 100 characters, in any script."""
    body = json.dumps({"id": "é" * 200, "type": "t" * 100}).encode()
    assert payload.event_id(parse(body)) == "é" * 200


@pytest.mark.parametrize("number", ["1.10", "1e3", "12345678901234567890123", "9" * 5000, "NaN"])
def test_a_document_still_knows_its_numbers_text(number: str) -> None:
    """For patterns, which compare with what was written."""
    document = parse(f'{{"id":"a","type":"t","x":[{number}]}}'.encode())
    assert isinstance(document, Document)
    [exact] = document.exact()["x"]
    assert (exact.text if isinstance(exact, Written) else str(exact)) == number
    assert document.exact() is document.exact()


def test_a_document_too_deep_to_read_again_stays_as_it_is() -> None:
    """The two parsers follow a nesting to different depths; neither breaks routing."""
    deep = b"[" * 1000 + b"]" * 1000
    try:
        document = parse(b'{"id":"a","type":"t","n":1.5,"x":' + deep + b"}")
    except Malformed:
        return  # without orjson
    assert isinstance(document, Document)
    assert document.exact()["n"] == 1.5


def test_without_orjson_the_standard_library_reads_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is an extra; the facts of every sample are alike without it."""
    expected = [read_facts(parse(samples.load(name))) for name in samples.names()]
    monkeypatch.setattr(payload, "_orjson_loads", None)
    assert [read_facts(parse(samples.load(name))) for name in samples.names()] == expected


# --- facts


def test_facts_of_a_github_workflow() -> None:
    """GitHub OAuth: everything is there."""
    assert read_facts(parse(samples.load("gh_oauth_workflow_failed"))) == Facts(
        type="workflow-completed",
        status="failed",
        project="github/acme-rockets/launchpad",
        project_name="launchpad",
        project_id=PROJECT,
        organization="acme-rockets",
        organization_id=ORGANIZATION,
        workflow="build-and-ship",
        branch="main",
        revision=REVISION,
        provider="github",
        trigger="webhook",
        pipeline_number=412,
        subject=SUBJECT,
        author="Zoë Example",
        url="https://app.circleci.com/pipelines/github/acme-rockets/launchpad/412/workflows/"
        "55555555-5555-4555-9555-555555555555",
    )


def test_facts_of_a_ping() -> None:
    """It has a type, an id, and no project at all."""
    assert read_facts(parse(samples.load("ping"))) == Facts(type="ping")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("gh_oauth_job_failed", {"job": "unit-tests", "status": "failed", "branch": "main"}),
        (
            "bitbucket_cloud_workflow_success",
            {"provider": "bitbucket", "branch": "master", "author": "Zoë Example"},
        ),
        ("bitbucket_cloud_job_success", {"job": "unit-tests", "status": "success"}),
        (
            "gh_oauth_tag_workflow_as_documented",
            {"branch": None, "subject": None, "author": None, "revision": REVISION},
        ),
        ("gh_oauth_scheduled_workflow_UNOBSERVED", {"trigger": "schedule", "subject": None}),
        ("gh_oauth_fork_pr_workflow_UNOBSERVED", {"branch": "pull/77"}),
        ("gh_oauth_workflow_canceled_burst_1_of_4", {"status": "canceled"}),
        (
            "gitlab_workflow_success",
            {
                "provider": "gitlab",
                "trigger": "gitlab",
                "project": OPAQUE,
                "branch": "main",
                "tag": None,
                "revision": REVISION,
                "subject": "Fix fuel gauge",
                "author": "Zoë Example",
            },
        ),
        (
            "github_app_push_workflow_UNOBSERVED",
            {
                "provider": "github",
                "trigger": "github_app",
                "branch": "main",
                "revision": REVISION,
                "subject": "Fix fuel gauge",
                "author": "Zoë Example",
            },
        ),
        (
            "github_app_api_run_workflow_success",
            {"provider": "github", "branch": "main", "revision": REVISION, "tag": None},
        ),
    ],
)
def test_facts_of_the_other_samples(name: str, expected: dict[str, str | None]) -> None:
    """What each shape puts elsewhere, or leaves out."""
    facts = read_facts(parse(samples.load(name)))
    assert {key: getattr(facts, key) for key in expected} == expected
    assert facts.pipeline_number == 412
    assert facts.url is not None


def test_a_tag_in_vcs() -> None:
    """The documented shape of a tag build: a tag, and no branch."""
    facts = facts_of({"vcs": {"tag": "v1.2", "branch": None, "commit": {"author": None}}})
    assert (facts.tag, facts.branch) == ("v1.2", None)


@pytest.mark.parametrize(
    ("maps", "branch", "tag"),
    [
        ({"git": {"branch": "a"}, "gitlab": {"branch": "b"}}, "a", None),
        ({"git": {"branch": ""}, "gitlab": {"branch": "b"}}, "b", None),
        ({"git": {"branch": None}, "github_app": {"branch": "c"}}, "c", None),
        ({"git": {"ref": "refs/heads/feature/x"}}, "feature/x", None),
        ({"github_app": {"ref": "main", "full_ref": "refs/heads/main"}}, "main", None),
        ({"git": {"tag": "v1", "branch": "", "ref": "refs/tags/v1"}}, None, "v1"),
        ({"gitlab": {"tag": "v2"}}, None, "v2"),
        ({"git": {"ref": "refs/tags/v3"}}, None, "v3"),
        ({"git": {"ref": "refs/heads/"}}, None, None),
        ({"bitbucket_dc": {"branch": "dc"}}, "dc", None),
        ({"circleci": {"branch": "no"}, "webhook": {"branch": "no"}}, None, None),
    ],
)
def test_branch_and_tag_from_any_trigger_map(
    maps: dict[str, Any], branch: str | None, tag: str | None
) -> None:
    """An empty string is no branch, and `git` is asked first."""
    facts = triggered(**maps)
    assert (facts.branch, facts.tag) == (branch, tag)


@pytest.mark.parametrize(
    ("maps", "revision"),
    [
        ({"git": {"checkout_sha": "1"}, "gitlab": {"checkout_sha": "2"}}, "1"),
        ({"github_app": {"commit_sha": "3"}, "gitlab": {"checkout_sha": "2"}}, "2"),
        ({"github_app": {"commit_sha": "3"}}, "3"),
        ({"unheard_of": {"commit_sha": "4"}}, "4"),
    ],
)
def test_revision_from_any_trigger_map(maps: dict[str, Any], revision: str) -> None:
    """What was checked out comes before what was committed."""
    assert triggered(**maps).revision == revision


@pytest.mark.parametrize(
    ("maps", "subject", "author"),
    [
        ({"git": {"commit_message": "\n\nOne\r\nTwo", "author_login": "zoe"}}, "One", "zoe"),
        ({"gitlab": {"commit_title": "Title", "user_name": "Zoë"}}, "Title", "Zoë"),
        (
            {"github_app": {"commit_title": "T", "user_username": "z", "commit_author_name": "A"}},
            "T",
            "A",
        ),
        ({"git": {"commit_message": " \n "}}, None, None),
    ],
)
def test_subject_and_author_from_any_trigger_map(
    maps: dict[str, Any], subject: str | None, author: str | None
) -> None:
    """The message's first line, and the author before whoever pushed."""
    facts = triggered(**maps)
    assert (facts.subject, facts.author) == (subject, author)


@pytest.mark.parametrize(
    ("pipeline", "slug", "provider"),
    [
        ({"vcs": {"provider_name": "GitHub"}}, "circleci/a/b", "github"),
        ({"trigger_parameters": {"gitlab": {"branch": "x"}}}, None, "gitlab"),
        (
            {"trigger_parameters": {"github_app": {"branch": "x"}, "gitlab": {"a": 1}}},
            None,
            "github",
        ),
        ({"trigger_parameters": {"bitbucket_dc": {"a": 1}, "gitlab": {"a": 1}}}, None, "bitbucket"),
        (
            {
                "trigger_parameters": {
                    "circleci": {"trigger_type": "github_app"},
                    "gitlab": {"a": 1},
                }
            },
            None,
            "github",
        ),
        ({"trigger": {"type": "gitlab"}}, None, "gitlab"),
        ({"trigger": {"type": "api"}}, "gh/acme/api", "github"),
        ({}, "bitbucket/acme/api", "bitbucket"),
        ({"trigger_parameters": {"git": {"repo_url": "https://github.com/a/b"}}}, None, "github"),
        ({"trigger_parameters": {"git": {"checkout_url": "git@gitlab.com:a/b"}}}, None, "gitlab"),
        ({"trigger_parameters": {"git": {"repo_url": "https://git.acme.com/github"}}}, None, None),
        ({"trigger": {"type": "api"}}, OPAQUE, None),
    ],
)
def test_the_provider_is_named_or_guessed(
    pipeline: dict[str, Any], slug: str | None, provider: str | None
) -> None:
    """From what is left when `vcs`, and one day `circleci` and `github_app`, are absent."""
    assert facts_of(pipeline, project={"slug": slug}).provider == provider


@pytest.mark.parametrize(
    ("kind", "status"),
    [("job-completed", "failed"), ("workflow-completed", "success"), ("approval", "failed")],
)
def test_whose_status_it_is(kind: str, status: str) -> None:
    """The job's for a job, the workflow's for a workflow; for new types the nearer one."""
    both = {"job": {"status": "failed"}, "workflow": {"status": "success"}}
    assert read_facts({"type": kind, **both}).status == status
    assert read_facts({"type": "x", "workflow": {"status": "success"}}).status == "success"
    assert read_facts({"type": "job-completed", "workflow": {"status": "success"}}).status is None


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (0, 0),
        (2**63 - 1, 2**63 - 1),
        (2**63, None),
        (-(2**63) - 1, None),
        (True, None),
        ("412", None),
        (412.0, None),
        (None, None),
    ],
)
def test_a_pipeline_number_is_an_integer_that_databases_hold(
    number: object, expected: int | None
) -> None:
    """True is no 1, and 2**63 no number of any pipeline."""
    assert facts_of({"number": number}).pipeline_number == expected


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://app.circleci.com/x", True),
        ("HTTP://ci.acme.example/x", True),
        ("javascript:alert(1)", False),
        ("https://x.example/ y", False),
        ("https://x.example/\n", False),
        ("https://x.example/" + "y" * 1000, False),
        ("", False),
        (None, False),
        (7, False),
    ],
)
def test_only_a_web_address_is_a_url(url: object, *, kept: bool) -> None:
    """It ends up in links; half an address would lead nowhere."""
    assert facts_of(workflow={"url": url}).url == (url if kept else None)


def test_facts_are_storable() -> None:
    """NUL and lone surrogates are replaced, and what is too long is cut."""
    facts = facts_of(
        {"vcs": {"branch": "a\0b\ud83d", "commit": {"subject": "x" * 5000, "author": {"name": 7}}}},
        workflow={"name": "\ud83d" * 2000},
    )
    assert facts.branch == "a\ufffdb\ufffd"
    assert facts.subject == "x" * payload.LONGEST_FACT
    assert facts.workflow == "\ufffd" * payload.LONGEST_FACT
    assert facts.author is None


@given(st.dictionaries(st.sampled_from(FIELDS), SHAPED))
def test_facts_are_read_from_any_object(value: dict[str, Any]) -> None:
    """No exception, nothing empty, nothing that RE2 or a database refuses."""
    facts = read_facts(value)
    for name in Facts.__slots__:
        fact = getattr(facts, name)
        if isinstance(fact, str):
            assert fact or name == "type"
            assert len(fact) <= payload.LONGEST_FACT
            assert "\0" not in fact
            fact.encode()


@given(ANY_TEXT)
def test_cleaning_changes_only_what_cannot_be_stored(text: str) -> None:
    """One character for one, and none where there is nothing to replace."""
    cleaned = clean(text)
    cleaned.encode()
    assert len(cleaned) == len(text)
    assert all(
        old in {new, "\0"} or 0xD800 <= ord(old) <= 0xDFFF
        for old, new in zip(text, cleaned, strict=True)
    )


def test_cleaning_a_long_text_costs_little() -> None:
    """Far less than `isprintable`: each route that matches on a megabyte does it several times."""
    texts = ("x" * 1_000_000, "é" * 500_000)
    took = []
    for look in (clean, str.isprintable):
        began = time.process_time()
        for text in texts * 50:
            assert look(text)
        took.append(time.process_time() - began)
    assert took[0] < took[1] / 3


def test_many_trigger_maps_cost_little() -> None:
    """Only the first few are looked at, however many a hostile body has."""
    facts = triggered(**{f"map{number}": {"tag": ""} for number in range(5000)}, git={"tag": "v"})
    assert facts.tag == "v"


# --- lines


def a_fact(**fields: Any) -> Facts:
    """The facts of a workflow on a branch, with changes."""
    base = {"type": "workflow-completed", "project_id": "p", "workflow": "w", "branch": "main"}
    return Facts(**(base | fields))


@pytest.mark.parametrize(
    ("fields", "project", "job"),
    [
        ({}, "p", ""),
        ({"project": "gh/a/b"}, "p", ""),
        ({"project": "gh/a/b", "project_id": None}, "gh/a/b", ""),
        ({"type": "job-completed", "job": "test"}, "p", "test"),
        ({"job": "stray"}, "p", ""),
    ],
)
def test_the_line_of_an_event(fields: dict[str, Any], project: str, job: str) -> None:
    """A project's workflow on a branch; a job has a line of its own."""
    assert payload.line_of("ci", a_fact(**fields)) == Line(
        source="ci", project=project, workflow="w", job=job, branch="main"
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"branch": None},
        {"workflow": None},
        {"project_id": None},
        {"type": "job-completed"},
        {"type": "ping"},
        {"type": "workflow-started"},
    ],
)
def test_what_has_no_line(fields: dict[str, Any]) -> None:
    """A tag build, a ping, a nameless job, and types whose status may mean something else."""
    assert payload.line_of("ci", a_fact(**fields)) is None


@pytest.mark.parametrize(
    ("status", "good"),
    [
        ("success", True),
        ("failed", False),
        ("error", False),
        ("canceled", None),
        ("unauthorized", None),
        ("not_run", None),
        (None, None),
    ],
)
def test_what_is_good_and_what_is_bad(status: str | None, *, good: bool | None) -> None:
    """Others say nothing of the code."""
    assert payload.is_good(a_fact(status=status)) is good


@pytest.mark.parametrize(
    ("before", "now", "change"),
    [
        (True, False, Change.BROKEN),
        (False, True, Change.FIXED),
        (False, False, Change.STILL_BROKEN),
        (True, True, Change.STILL_PASSING),
        (None, True, None),
        (None, False, None),
        (True, None, None),
        (False, None, None),
        (None, None, None),
    ],
)
def test_how_outcomes_compare(
    *, before: bool | None, now: bool | None, change: Change | None
) -> None:
    """The first of a line, and one that says nothing, are no change."""
    assert payload.compare(before, now) is change
