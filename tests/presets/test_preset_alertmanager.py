"""Alertmanager: the real one, which fires, groups, silences and resolves."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from circleci_relay.model import SECOND
from support.alertmanager import Alertmanager, find
from support.heard import Heard, heard
from support.presets import RECEIVED, a_history, a_payload, rendered, said
from support.rounds import rounds

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from circleci_relay.rendering.recipe import Made

NOW = datetime.fromtimestamp(RECEIVED / SECOND + 2, UTC)
LONG = {"hours": 24 * 366 * 100}
"""The samples are of a day long past, on which Alertmanager would not fire an alert."""


@pytest.fixture(scope="module")
def people() -> Iterator[Heard]:
    """Whoever Alertmanager tells of the branch `told`."""
    with heard({}) as book:
        yield book


@pytest.fixture(scope="module")
def alertmanager(tmp_path_factory: pytest.TempPathFactory, people: Heard) -> Iterator[Alertmanager]:
    """One for all tests here; each has branches of its own."""
    program = find()
    if program is None:
        pytest.skip("Alertmanager is missing: scripts/alertmanager fetches it where it can")
    folder = tmp_path_factory.mktemp("alertmanager")
    with Alertmanager(program, folder, people.url, "told") as running:
        yield running


def body(made: Made) -> bytes:
    """What would be posted."""
    assert made.body is not None
    return made.body


def red(branch: str, **more: Any) -> Made:
    """A failure on *branch*."""
    payload = a_payload("gh_oauth_workflow_failed", branch=branch)
    return rendered("alertmanager", payload, options=LONG, change="broken", **more)


def green(branch: str, **more: Any) -> Made:
    """A success on *branch*."""
    payload = a_payload("gh_oauth_workflow_success", branch=branch)
    return rendered("alertmanager", payload, options=LONG, change="fixed", **more)


def test_a_failure_fires_until_its_line_is_green(alertmanager: Alertmanager) -> None:
    """It fires past Alertmanager's own timeout, by the end it came with, and then is gone."""
    alertmanager.take(body(red("fires")))
    [alert] = alertmanager.alerts(branch="fires")
    assert alert["status"]["state"] in {"active", "unprocessed"}
    assert alert["startsAt"] == "2026-03-02T09:16:40.000Z"
    assert alert["endsAt"] > "2100"
    assert alert["generatorURL"].startswith("https://app.circleci.com/pipelines/github/")
    alertmanager.take(body(green("fires")))
    assert alertmanager.alerts(branch="fires") == []


def test_people_are_told_of_red_and_of_green(alertmanager: Alertmanager, people: Heard) -> None:
    """Alertmanager's own notifications: one that it fires, one that it is resolved."""

    def told() -> list[tuple[str, str]]:
        return [
            (body["status"], body["alerts"][0]["annotations"]["summary"])
            for _, _, body in people.requests
        ]

    alertmanager.take(body(red("told")))
    alertmanager.until(lambda: len(told()) == 1)
    alertmanager.take(body(green("told")))
    alertmanager.until(lambda: len(told()) == 2)
    assert told() == [
        ("firing", "acme-rockets/launchpad: workflow build-and-ship failed on told"),
        ("resolved", "acme-rockets/launchpad: workflow build-and-ship succeeded on told"),
    ]


def test_a_line_that_stays_red_is_one_alert(alertmanager: Alertmanager) -> None:
    """The second failure has the same labels, and the time of the first."""
    alertmanager.take(body(red("stays")))
    payload = a_payload("gh_oauth_workflow_failed", branch="stays")
    made = rendered("alertmanager", payload, options=LONG, change="still-broken")
    alertmanager.take(body(made))
    [alert] = alertmanager.alerts(branch="stays")
    assert alert["startsAt"] == "2026-03-02T07:06:40.000Z"
    assert "3 in a row" in alert["annotations"]["description"]


def test_a_silence_by_label_holds(alertmanager: Alertmanager) -> None:
    """A silence for a project's branch covers its alerts, and no others."""
    matchers = [
        {"name": name, "value": value, "isRegex": False, "isEqual": True}
        for name, value in (("project", "github/acme-rockets/launchpad"), ("branch", "silent"))
    ]
    now = datetime.now(UTC)
    silence = {
        "matchers": matchers,
        "startsAt": now.isoformat(),
        "endsAt": (now + timedelta(hours=1)).isoformat(),
        "createdBy": "test",
        "comment": "being mended",
    }
    alertmanager.ask("/api/v2/silences", json.dumps(silence).encode())
    alertmanager.take(body(red("silent")))
    alertmanager.take(body(red("loud")))

    def state(branch: str) -> list[str]:
        return [alert["status"]["state"] for alert in alertmanager.alerts(branch=branch)]

    alertmanager.until(lambda: (state("silent"), state("loud")) == (["suppressed"], ["active"]))


def test_one_request_tells_of_several_and_they_are_grouped_by_label(
    alertmanager: Alertmanager,
) -> None:
    """A group of the relay becomes alerts that Alertmanager groups by project and branch."""
    job = a_payload("gh_oauth_job_failed", branch="grouped")
    other = a_payload("gh_oauth_workflow_failed", branch="grouped too")
    made = red("grouped", others=[(job, "broken"), (other, "broken"), "ping"])
    assert len(said(made)) == 3
    alertmanager.take(body(made))

    def groups() -> dict[str, int]:
        found = alertmanager.ask("/api/v2/alerts/groups")
        return {each["labels"]["branch"]: len(each["alerts"]) for each in found}

    alertmanager.until(lambda: {"grouped": 2, "grouped too": 1}.items() <= groups().items())
    made = rendered(
        "alertmanager",
        a_payload("gh_oauth_workflow_failed", branch="undone"),
        options=LONG,
        change="broken",
        others=[(a_payload("gh_oauth_workflow_success", branch="undone"), "fixed")],
    )
    alertmanager.take(body(made))
    assert alertmanager.alerts(branch="undone") == []


def test_every_request_is_taken(alertmanager: Alertmanager, payloads: Mapping[str, Any]) -> None:
    """Whatever was sent or left out, Alertmanager takes it and keeps its values."""
    fired = 0
    for name, made in rounds("alertmanager", payloads, LONG):
        try:
            alertmanager.take(body(made))
        except AssertionError as error:
            pytest.fail(f"{name}: {error}")
        for alert in said(made):
            found = alertmanager.alerts(**alert["labels"])
            kept = [each for each in found if each["labels"] == alert["labels"]]
            assert len(kept) == ("startsAt" in alert), name
            fired += len(kept)
            assert all(each["annotations"] == alert["annotations"] for each in kept), name
    assert fired > 100


@pytest.mark.parametrize(
    "url", ["https://%zz/", "https://[x", "https://", "http://a:b/c", "http://a<b/", "http://a:1:b"]
)
def test_an_odd_address_is_no_fault(alertmanager: Alertmanager, url: str) -> None:
    """Alertmanager takes no alert whose `generatorURL` it cannot parse."""
    payload = a_payload("gh_oauth_workflow_failed", branch="odd", url=url)
    alertmanager.take(body(rendered("alertmanager", payload, options=LONG, change="broken")))
    [alert] = alertmanager.alerts(branch="odd")
    assert alert["annotations"]["url"] == url


def test_a_failure_in_full() -> None:
    """Everything that is known is told; by default it fires for three days."""
    page = (
        "https://app.circleci.com/pipelines/github/acme-rockets/launchpad/412/workflows/"
        "55555555-5555-4555-9555-555555555555"
    )
    made = rendered("alertmanager", "gh_oauth_job_failed", change="broken")
    assert made.content_type == "application/json"
    assert said(made) == [
        {
            "labels": {
                "alertname": "CircleCIFailed",
                "severity": "warning",
                "source": "circleci",
                "project": "github/acme-rockets/launchpad",
                "workflow": "build-and-ship",
                "job": "unit-tests",
                "branch": "main",
            },
            "annotations": {
                "summary": "acme-rockets/launchpad: job unit-tests failed on main",
                "description": "broken, 9c1f0d2 Fix fuel gauge — “überläuft” 🚀, Zoë Example",
                "url": page,
                "commit": "https://github.com/acme-rockets/launchpad/commit/9c1f0d2ab3e4c5d6f7a8091b2c3d4e5f60718293",
                "event": "https://relay.example.com/events/01KJPZK3YG6WQ4S0V5J4X7T2A0",
            },
            "startsAt": "2026-03-02T09:16:40.000000Z",
            "endsAt": "2026-03-05T09:16:42.000000Z",
            "generatorURL": page,
        }
    ]


def test_a_success_has_the_labels_of_the_failure() -> None:
    """And the end of the run as its own."""
    [failed], [passed] = said(red("main")), said(green("main"))
    assert passed["labels"] == failed["labels"]
    assert passed["endsAt"] == "2026-03-02T09:15:44.812000Z"
    assert "startsAt" not in passed


def test_a_run_that_ends_in_the_future_ends_now() -> None:
    """A clock that is ahead does not keep an alert firing."""
    payload = a_payload("gh_oauth_workflow_success")
    payload["workflow"]["stopped_at"] = "2999-01-01T00:00:00Z"
    [alert] = said(rendered("alertmanager", payload, change="fixed"))
    assert datetime.fromisoformat(alert["endsAt"]) == NOW


@pytest.mark.parametrize(
    ("sample", "change"),
    [("ping", None), ("gh_oauth_workflow_canceled_burst_1_of_4", "broken"),
     ("gh_oauth_workflow_failed", "fixed"), ("gh_oauth_workflow_success", "broken")],
)  # fmt: skip
def test_what_is_no_news_is_no_alert(sample: str, change: str | None) -> None:
    """Cancelled runs, pings and news that newer news overtook make an empty list."""
    assert said(rendered("alertmanager", sample, change=change)) == []


def test_labels_of_projects_are_labels_of_alerts() -> None:
    """The alert's own win."""
    labels = {"team": "payments", "branch": "none"}
    options = {"severity": "{{ labels.severity or 'page' }}", "alertname": "Red", "hours": "oops"}
    history = a_history("broken")
    [alert] = said(
        rendered(
            "alertmanager",
            "gh_oauth_workflow_failed",
            options=options,
            change="broken",
            history=history,
            labels=labels,
        )
    )
    assert alert["labels"] == {
        "team": "payments",
        "alertname": "Red",
        "severity": "page",
        "source": "circleci",
        "project": "github/acme-rockets/launchpad",
        "workflow": "build-and-ship",
        "branch": "main",
    }
    assert alert["endsAt"] == "2026-03-05T09:16:42.000000Z"


def test_a_secret_label_is_no_label_of_an_alert() -> None:
    """What a URL is made of, such as a chat's webhook, goes nowhere else."""
    labels = {"team": "payments", "slack": "https://hooks.slack.com/services/T/B/s"}
    [alert] = said(
        rendered(
            "alertmanager",
            "gh_oauth_workflow_failed",
            labels=labels,
            secret_labels=frozenset({"slack"}),
        )
    )
    assert alert["labels"]["team"] == "payments"
    assert "slack" not in alert["labels"]
