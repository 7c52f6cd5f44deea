"""Scenes: every name, for every sample, with half of everything missing, and in good words."""

from __future__ import annotations

import json
import random
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from circleci_relay.circleci import samples
from circleci_relay.model import Change, Facts, History, Told
from circleci_relay.rendering import words
from circleci_relay.rendering.scene import FIELDS, NAMES, scene_of
from support.scenes import NOW, a_scene, a_told, about

TITLES = {
    "bitbucket_cloud_job_success": "job unit-tests succeeded on master",
    "bitbucket_cloud_workflow_success": "workflow build-and-ship succeeded on master",
    "gh_oauth_fork_pr_workflow_UNOBSERVED": "workflow build-and-ship failed on pull/77",
    "gh_oauth_job_failed": "job unit-tests failed on main",
    "gh_oauth_scheduled_workflow_UNOBSERVED": "workflow nightly succeeded on main",
    "gh_oauth_tag_workflow_as_documented": "workflow build-and-ship succeeded at v2.4.0",
    "gh_oauth_workflow_canceled_burst_1_of_4": "workflow build-and-ship was canceled on main",
    "gh_oauth_workflow_canceled_burst_2_of_4": "workflow build-and-ship was canceled on main",
    "gh_oauth_workflow_canceled_burst_3_of_4": "workflow build-and-ship was canceled on main",
    "gh_oauth_workflow_canceled_burst_4_of_4": "workflow build-and-ship was canceled on main",
    "gh_oauth_workflow_failed": "workflow build-and-ship failed on main",
    "gh_oauth_workflow_success": "workflow build-and-ship succeeded on main",
    "github_app_api_run_workflow_success": "workflow build-and-ship succeeded on main",
    "github_app_push_workflow_UNOBSERVED": "workflow build-and-ship failed on main",
    "gitlab_workflow_success": "workflow build-and-ship succeeded on main",
}
SHA = "9c1f0d2ab3e4c5d6f7a8091b2c3d4e5f60718293"
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.floats(allow_nan=False)
    | st.integers()
    | st.text(st.characters(codec=None, exclude_categories=()), max_size=20)
    | st.sampled_from(["success", "refs/heads/x", "2026-03-02T09:15:44Z", "git@h:a/b", SHA]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=12,
)


@pytest.mark.parametrize("sample", samples.names())
def test_every_name_is_there(sample: str) -> None:
    """Of every packaged sample, and of each of the events told of."""
    scene = a_scene(sample)

    assert scene.keys() == NAMES.keys()
    assert scene["title"] == (
        "Test ping from CircleCI"
        if sample == "ping"
        else f"acme-rockets/launchpad: {TITLES[sample]}"
    )
    assert all(scene[name] is None or scene[name].keys() == keys for name, keys in FIELDS.items())
    [event] = scene["events"]
    assert event.items() <= scene.items()
    assert scene["headline"] == scene["title"]


def test_a_whole_scene() -> None:
    """What a template sees of a failed job whose line was fine for an hour and a bit."""
    history = History(
        line="ab12", good=False, since=1_772_442_944_000_000, streak=1,
        before_good=True, before_since=1_772_439_000_000_000, before_streak=12,
    )  # fmt: skip
    body = samples.load("gh_oauth_job_failed")
    earlier = a_told(samples.load("gh_oauth_workflow_success"), event="01G")
    scene = scene_of([earlier, a_told(body, change=Change.BROKEN, history=history)], about())

    assert scene["payload"] == json.loads(body)
    assert {name: scene[name] for name in NAMES if name not in {"payload", "events", "url"}} == {
        "type": "job-completed", "status": "failed", "project": "github/acme-rockets/launchpad",
        "project_name": "launchpad", "project_id": "44444444-4444-4444-8444-444444444444",
        "organization": "acme-rockets", "organization_id": "33333333-3333-4333-b333-333333333333",
        "workflow": "build-and-ship", "job": "unit-tests", "branch": "main", "tag": None,
        "revision": SHA, "provider": "github", "trigger": "webhook", "pipeline_number": 412,
        "subject": "Fix fuel gauge — “überläuft” 🚀", "author": "Zoë Example",
        "change": "broken", "labels": {"team": "payments"}, "public_labels": {"team": "payments"},
        "headline": "2 events of workflow build-and-ship in launchpad: 1 failed, 1 succeeded",
        "source": "circleci",
        "destination": "chat",
        "event": {
            "id": "01H", "circleci_id": json.loads(body)["id"], "received_at": 1_772_442_944.0,
            "link": "https://relay.example.com/events/01H",
        },
        "line": {
            "id": "ab12", "good": False, "since": 1_772_442_944.0, "streak": 1,
            "before": {"good": True, "since": 1_772_439_000.0, "streak": 12},
        },
        "happened_at": 1_772_442_944.889145, "started_at": scene["started_at"],
        "stopped_at": scene["stopped_at"], "took": 219.794, "outcome": "bad", "said": "failed",
        "what": "job unit-tests", "where": "acme-rockets/launchpad on main", "ref": "main",
        "title": "acme-rockets/launchpad: job unit-tests failed on main", "changed": "broken",
        "commit_url": f"https://github.com/acme-rockets/launchpad/commit/{SHA}",
        "workflow_id": "55555555-5555-4555-9555-555555555555",
        "job_id": json.loads(body)["job"]["id"],
        "pipeline_id": "66666666-6666-4666-a666-666666666666",
        "test": False, "now": NOW, "webhook_id": "msg_1",
        "relay": {"version": scene["relay"]["version"], "url": "https://relay.example.com/"},
        "options": {}, "count": 2,
    }  # fmt: skip
    assert [event["event"]["id"] for event in scene["events"]] == ["01G", "01H"]
    assert [event["outcome"] for event in scene["events"]] == ["good", "bad"]


def thinned(value: Any, chance: random.Random) -> Any:
    """*value* with keys removed, emptied, or made null, half of the time."""
    if not isinstance(value, dict):
        return value
    kept = {}
    for key, each in value.items():
        fate = chance.random()
        if fate < 0.6 or key in {"id", "type"}:
            kept[key] = thinned(each, chance)
        elif fate < 0.8:
            kept[key] = chance.choice([None, "", {}, 7, []])
    return kept


@pytest.mark.parametrize("sample", samples.names())
def test_it_reads_well_with_half_of_it_missing(sample: str) -> None:
    """Every name is there, and no title has a hole in it."""
    chance = random.Random(sample)  # noqa: S311 - no secret
    whole = json.loads(samples.load(sample))
    for _ in range(60):
        told = a_told(json.dumps(thinned(whole, chance)).encode())
        scene = scene_of([told], about(external_url=None))
        title = scene["title"]

        assert scene.keys() == NAMES.keys()
        assert re.fullmatch(r"(?:[\w./-]+: )?[\w-]+(?: [\w./-]+)*", title), title
        assert "None" not in title
        assert not re.search(r" (?:on|at)$|^$|[a-z]: [A-Z]", title), title
        assert scene["event"]["link"] is None


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.sampled_from(
    ["type", "id", "workflow", "job", "pipeline", "project", "organization", "happened_at"]
), JSON | st.dictionaries(st.sampled_from(
    ["name", "id", "status", "vcs", "trigger_parameters", "stopped_at", "started_at", "number",
     "created_at", "slug", "url"]
), JSON)), JSON, st.none() | JSON, st.none() | JSON)  # fmt: skip
def test_no_payload_is_too_strange(
    payload: dict[str, Any], whole: Any, facts: Any, history: Any
) -> None:
    """Whatever JSON comes, and whatever is stored of it, there is a scene of sane text."""
    for body in (payload, {"id": "a", "type": "workflow-completed"} | payload, whole):
        told = Told(
            event="01H", source="s", body=json.dumps(body).encode(), received_at=0,
            facts=json.dumps(facts), history=None if history is None else json.dumps(history),
        )  # fmt: skip
        scene = scene_of([told], about())

        assert scene.keys() == NAMES.keys()
        for name in NAMES.keys() - {"payload", "options", "labels", "public_labels", "events"}:
            json.dumps(scene[name], ensure_ascii=False).encode()
            if isinstance(scene[name], str):
                assert scene[name].isprintable() or not re.search("[\0-\x1f\x7f]", scene[name])


@pytest.mark.parametrize(
    ("facts", "title"),
    [
        ({"type": "workflow-completed"}, "Workflow completed"),
        ({"type": "job-completed", "status": "failed"}, "Job failed"),
        ({"type": "job-completed", "job": "deploy", "tag": "v1"}, "Job deploy completed at v1"),
        ({"type": "workflow-completed", "status": "error", "project": "gh/acme/api"},
         "acme/api: workflow had an error"),
        ({"type": "workflow-completed", "status": "not_run", "project": "circleci/x/y",
          "organization": "acme", "project_name": "api"}, "acme/api: workflow was not run"),
        ({"type": "workflow-completed", "status": "on fire", "revision": SHA},
         "Workflow ended as on fire at 9c1f0d2"),
        ({"type": "workflow-completed", "status": "success", "project": "circleci/x/y"},
         "circleci/x/y: workflow succeeded"),
        ({"type": "approval-asked", "project": "gh/acme/api", "branch": "main"},
         "acme/api: approval-asked arrived on main"),
        ({"type": "ping"}, "Test ping from CircleCI"),
        ({"type": "workflow-completed", "workflow": "a\u202eb\tc", "branch": "x" * 500},
         "Workflow ab c completed on " + "x" * 119 + "…"),
    ],
)  # fmt: skip
def test_titles(facts: dict[str, Any], title: str) -> None:
    """One line, whatever is known."""
    assert words.title(Facts(**facts)) == title
    assert words.title(Facts(**facts), test=True) == f"[test] {title}"


def flows(*ends: str | None, **facts: str) -> list[Facts]:
    """Workflows that ended so."""
    given: dict[str, Any] = {"workflow": "build", "project_name": "api"} | facts
    return [Facts(type="workflow-completed", status=each, **given) for each in ends]


@pytest.mark.parametrize(
    ("every", "headline"),
    [
        (flows("failed", project="gh/acme/api", branch="main"),
         "acme/api: workflow build failed on main"),
        (flows("canceled", "canceled", "canceled"),
         "3 events of workflow build in api: 3 were canceled"),
        (flows("success", "failed", "success", "canceled"),
         "4 events of workflow build in api: 1 failed, 2 succeeded, 1 was canceled"),
        (flows("error", "failed", "failed", "error", "error"),
         "5 events of workflow build in api: 3 had errors, 2 failed"),
        (flows("success") + flows("failed", workflow="deploy", project_name="web"),
         "2 events in api and web: 1 failed, 1 succeeded"),
        ([each for name in "abcde" for each in flows("success", workflow=name, project_name=name)],
         "5 events in a, b and 3 more: 5 succeeded"),
        ([each for name in "abc" for each in flows("success", workflow=name, project_name=name)],
         "3 events in a, b and c: 3 succeeded"),
        ([Facts(type="ping"), Facts(type="ping")], "2 events: 2 arrived"),
        ([*flows("success"), Facts(type="x", project="gh/acme/web")],
         "2 events in api and acme/web: 1 succeeded, 1 arrived"),
        (flows("running", "on_hold", "on_hold", "odd", workflow="x"),
         "4 events of workflow x in api: 2 are on hold, 1 is running, 1 ended as odd"),
        (flows("running", "failed", "success", "x", "y", "z", workflow="", project_name=""),
         "6 events: 1 failed, 1 succeeded, 1 is running, 1 ended as x, 1 ended as y, 1 otherwise"),
        (flows("success", None, workflow="x" * 99),
         "2 events of workflow " + "x" * 39 + "… in api: 1 succeeded, 1 completed"),
    ],
)  # fmt: skip
def test_headlines(every: list[Facts], headline: str) -> None:
    """One line on all of them: what they share, and how many ended how, the bad first."""
    assert words.headline(every) == headline
    assert words.headline(every, test=True) == f"[test] {headline}"


def test_a_headline_of_anything_is_short_enough_for_any_chat() -> None:
    """Names without end are cut, so that the counts are still seen."""
    long = ["\u202e" + letter * 10_000 for letter in "abcdefg"]
    every = [each for name in long for each in flows(name, project_name=name)]

    assert len(words.headline(every)) < 400
    assert words.headline(every).isprintable()


def test_secret_labels_are_not_passed_on_with_the_rest() -> None:
    """A template that names one has it; one that goes through all of them has it not."""
    labels = {"team": "payments", "hook": "https://hooks.example.com/s"}
    told = a_told(samples.load("gh_oauth_workflow_failed"))
    scene = scene_of([told], about(labels=lambda _: labels, secret_labels=frozenset({"hook"})))

    assert scene["labels"] == labels
    assert scene["public_labels"] == {"team": "payments"}
    assert scene["events"][0]["public_labels"] == {"team": "payments"}


class Spelled(str):
    """A text of a class of its own, as the configuration has them."""

    __slots__ = ()


def test_the_relays_own_address_is_plain_text() -> None:
    """Whatever class the configuration's texts have."""
    told = a_told(samples.load("ping"))
    scene = scene_of([told], about(external_url=Spelled("https://relay.example.com")))

    assert type(scene["relay"]["url"]) is str
    assert type(scene["event"]["link"]) is str


HOUR = 3_600_000_000


@pytest.mark.parametrize(
    ("change", "history", "said"),
    [
        (None, None, None),
        (Change.STILL_PASSING, {"good": True}, None),
        (Change.BROKEN, None, "broken"),
        (Change.FIXED, None, "fixed"),
        (Change.FIXED,
         {"good": True, "since": 2 * HOUR + 600_000_000, "streak": 1,
          "before_good": False, "before_since": 0, "before_streak": 4},
         "fixed after 2h 10m and 4 failures"),
        (Change.FIXED, {"good": True, "since": HOUR, "streak": 1, "before_good": False,
                        "before_streak": 1}, "fixed after 1 failure"),
        (Change.FIXED, {"good": True, "since": HOUR, "before_good": False, "before_since": 0},
         "fixed after 1h"),
        (Change.FIXED, {"good": True, "since": 0, "before_good": False, "before_since": HOUR},
         "fixed"),
        (Change.STILL_BROKEN, {"good": False, "since": 1_772_442_944_000_000, "streak": 3},
         "still broken since 2026-03-02 09:15 UTC, 3 in a row"),
        (Change.STILL_BROKEN, {"good": False, "streak": 2}, "still broken, 2 in a row"),
        (Change.STILL_BROKEN, {}, "still broken"),
    ],
)  # fmt: skip
def test_changes(change: Change | None, history: dict[str, Any] | None, said: str | None) -> None:
    """What changed, in words."""
    facts = Facts(type="workflow-completed", change=change)
    known = None if history is None else History(line="a", **history)

    assert words.changed(facts, known) == said


@pytest.mark.parametrize(
    ("url", "provider", "page"),
    [
        ("https://github.com/acme/api", None, "https://github.com/acme/api/commit/"),
        ("https://user:pw@github.com/acme/api.git", None, "https://github.com/acme/api/commit/"),
        ("git@github.com:acme/api.git", None, "https://github.com/acme/api/commit/"),
        ("ssh://git@github.com:22/acme/api.git", None, "https://github.com/acme/api/commit/"),
        ("git@gitlab.com:acme/sub/api.git", None, "https://gitlab.com/acme/sub/api/-/commit/"),
        ("https://bitbucket.org/acme/api/", None, "https://bitbucket.org/acme/api/commits/"),
        ("https://git.example.com:8443/acme/api", "gitlab",
         "https://git.example.com:8443/acme/api/-/commit/"),
        ("git@git.example.com:acme/api", "github", "https://git.example.com/acme/api/commit/"),
        ("https://git.example.com/acme/api", None, None),
        ("javascript:alert(1)//github.com/a/b", None, None),
        ("javascript://github.com/a/b", None, None),
        ("https://github.com/acme/../x", None, None),
        ("https://github.com/acme/a b", None, None),
        ("https://github.com/acme", None, None),
        ("https://github.com:port/acme/api", None, None),
        ("https://github.com\\@evil.example/a/b", None, None),
        ("https://git hub.com/a/b", "github", None),
        ("https://[::1/a/b", "github", None),
        ("https://github.com/acme/api?x=1)[a](b", None, "https://github.com/acme/api/commit/"),
        ("git@github.com:acme/<api>.git", None, None),
        ("", "github", None),
        (7, "github", None),
        ("https://github.com/" + "a/" * 600, "github", None),
    ],
)  # fmt: skip
def test_commit_urls(url: object, provider: str | None, page: str | None) -> None:
    """Only what is surely a page of the commit, whatever form the repository's URL has."""
    facts = Facts(type="x", revision=SHA, provider=provider)
    for payload in (
        {"pipeline": {"vcs": {"origin_repository_url": url}}},
        {"pipeline": {"trigger_parameters": {"git": {"checkout_url": url}}}},
        {"pipeline": {"trigger_parameters": {"gitlab": {"repo_url": url}}}},
    ):
        found = words.commit_url(facts, payload)

        assert found == (page and page + SHA)


@pytest.mark.parametrize("revision", [None, "main", "9c1f0d", "9c1f0d2\n", "z" * 40, "9" * 65])
def test_a_commit_needs_a_hexadecimal_revision(revision: str | None) -> None:
    """Anything else might lead elsewhere."""
    payload = {"pipeline": {"vcs": {"origin_repository_url": "https://github.com/a/b"}}}

    assert words.commit_url(Facts(type="x", revision=revision), payload) is None


def test_facts_are_read_where_none_are_stored() -> None:
    """An event stored before there were any still has its title."""
    body = samples.load("gh_oauth_workflow_failed")
    told = Told(event="01H", source="s", body=body, received_at=0, facts="{}")

    assert scene_of([told], about())["title"].endswith("workflow build-and-ship failed on main")
