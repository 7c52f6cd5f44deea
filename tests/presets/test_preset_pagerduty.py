"""PagerDuty: its own schema of events, and its own client."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx2
import jsonschema
import pagerduty
import pytest

from support.presets import a_history, a_payload, rendered, said
from support.rounds import rounds

if TYPE_CHECKING:
    from collections.abc import Mapping

KEY = "0123456789abcdef0123456789abcdef"
OPTIONS = {"routing_key": KEY}

# After PagerDuty/api-schema, reference/events-v2/openapiv3.json, with the lengths of its prose;
# closed, so that no key is misspelt.
SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["routing_key", "event_action", "dedup_key"],
    "additionalProperties": False,
    "properties": {
        "routing_key": {"type": "string", "minLength": 32, "maxLength": 32},
        "event_action": {"enum": ["trigger", "acknowledge", "resolve"]},
        "dedup_key": {"type": "string", "minLength": 1, "maxLength": 255},
        "client": {"type": "string"},
        "client_url": {"type": "string", "pattern": "^[hH][tT][tT][pP][sS]?://"},
        "payload": {
            "type": "object",
            "required": ["summary", "source", "severity"],
            "additionalProperties": False,
            "properties": {
                "summary": {"type": "string", "minLength": 1, "maxLength": 1024},
                "source": {"type": "string", "minLength": 1},
                "severity": {"enum": ["critical", "error", "warning", "info"]},
                "timestamp": {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$"},
                "component": {"type": "string", "minLength": 1},
                "group": {"type": "string", "minLength": 1},
                "class": {"type": "string", "minLength": 1},
                "custom_details": {
                    "type": "object",
                    "additionalProperties": {"type": ["string", "integer"]},
                },
            },
        },
        "links": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["href", "text"],
                "additionalProperties": False,
                "properties": {
                    "href": {"type": "string", "pattern": "^[hH][tT][tT][pP][sS]?://"},
                    "text": {"type": "string"},
                },
            },
        },
    },
    "if": {"properties": {"event_action": {"const": "trigger"}}},
    "then": {"required": ["payload", "client", "links"]},
    "else": {"maxProperties": 3},
}


def test_every_event_is_one_that_pagerduty_takes(payloads: Mapping[str, Any]) -> None:
    """Whatever was sent or left out, the schema holds and the size is small."""
    validator = jsonschema.Draft202012Validator(SCHEMA)
    for name, made in rounds("pagerduty", payloads, OPTIONS):
        assert made.body is not None
        assert len(made.body) < 64 * 1024, name
        for error in validator.iter_errors(said(made)):
            pytest.fail(f"{name}: {error.message}")


def test_its_own_client_sends_the_same() -> None:
    """The official client, asked for the same alert, makes the same request."""
    sent: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        sent.append(request)
        return httpx2.Response(202, json={"status": "success", "dedup_key": "k"})

    client = pagerduty.EventsApiV2Client(KEY, transport=httpx2.MockTransport(answer))
    made = rendered("pagerduty", "gh_oauth_workflow_failed", options=OPTIONS, change="broken")
    event = said(made)
    payload, details = event["payload"], event["payload"]["custom_details"]
    rest = {key: payload[key] for key in ("timestamp", "component", "group", "class")}
    client.trigger(
        payload["summary"],
        payload["source"],
        dedup_key=event["dedup_key"],
        severity=payload["severity"],
        payload=rest,
        custom_details=details,
        links=event["links"],
    )
    green = rendered("pagerduty", "gh_oauth_workflow_success", options=OPTIONS, change="fixed")
    client.resolve(said(green)["dedup_key"])
    client.close()

    assert str(sent[0].url) == made.url
    assert {
        **json.loads(sent[0].content),
        "client": "CircleCI",
        "client_url": event["client_url"],
    } == event
    assert json.loads(sent[1].content) == said(green)


def test_a_failure_in_full() -> None:
    """Everything that is known is told."""
    made = rendered("pagerduty", "gh_oauth_job_failed", options=OPTIONS, change="still-broken")
    page = (
        "https://app.circleci.com/pipelines/github/acme-rockets/launchpad/412/workflows/"
        "55555555-5555-4555-9555-555555555555"
    )
    assert (made.url, made.content_type) == (
        "https://events.pagerduty.com/v2/enqueue",
        "application/json",
    )
    assert said(made) == {
        "routing_key": KEY,
        "event_action": "trigger",
        "dedup_key": "circleci-0f1e2d3c4b5a6978",
        "client": "CircleCI",
        "client_url": page,
        "payload": {
            "summary": "acme-rockets/launchpad: job unit-tests failed on main",
            "source": "github/acme-rockets/launchpad",
            "severity": "error",
            "timestamp": "2026-03-02T09:15:44Z",
            "component": "unit-tests",
            "group": "github/acme-rockets/launchpad",
            "class": "failed",
            "custom_details": {
                "what": "job unit-tests failed",
                "where": "acme-rockets/launchpad on main",
                "commit": "9c1f0d2 Fix fuel gauge — “überläuft” 🚀",
                "author": "Zoë Example",
                "changed": "still broken since 2026-03-02 07:06 UTC, 3 in a row",
                "took": "3m 40s",
                "pipeline": 412,
                "trigger": "webhook",
                "event": "01KJPZK3YG6WQ4S0V5J4X7T2A0",
            },
        },
        "links": [
            {"href": page, "text": "CircleCI"},
            {
                "href": "https://github.com/acme-rockets/launchpad/commit/9c1f0d2ab3e4c5d6f7a8091b2c3d4e5f60718293",
                "text": "Commit",
            },
            {
                "href": "https://relay.example.com/events/01KJPZK3YG6WQ4S0V5J4X7T2A0",
                "text": "Delivery",
            },
        ],
    }


def test_a_success_resolves_what_the_failure_triggered() -> None:
    """Both have the line's key; nothing else is said."""
    red = said(rendered("pagerduty", "gh_oauth_workflow_failed", options=OPTIONS, change="broken"))
    green = rendered("pagerduty", "gh_oauth_workflow_success", options=OPTIONS, change="fixed")
    assert said(green) == {
        "routing_key": KEY,
        "event_action": "resolve",
        "dedup_key": red["dedup_key"],
    }


def test_a_rerun_of_a_tag_resolves_its_failure() -> None:
    """A tag has no line; the runs of its pipeline have one key."""
    runs = [
        a_payload("gh_oauth_tag_workflow_as_documented", id=status, status=status)
        for status in ("failed", "success")
    ]
    runs[1]["workflow"]["id"] = "99999999-9999-4999-9999-999999999999"
    red, green = (said(rendered("pagerduty", run, options=OPTIONS)) for run in runs)
    assert (red["event_action"], green["event_action"]) == ("trigger", "resolve")
    assert red["dedup_key"] == green["dedup_key"]


@pytest.mark.parametrize(
    ("sample", "change"),
    [
        ("gh_oauth_workflow_canceled_burst_1_of_4", "broken"),
        ("ping", None),
        ("gh_oauth_workflow_failed", "fixed"),
        ("gh_oauth_workflow_success", "broken"),
    ],
)
def test_what_is_no_news_touches_no_alert(sample: str, change: str | None) -> None:
    """Cancelled runs, pings and news that newer news overtook resolve a key that is nobody's."""
    made = said(rendered("pagerduty", sample, options=OPTIONS, change=change))
    assert made["event_action"] == "resolve"
    assert made["dedup_key"].startswith("circleci-none-")


@pytest.mark.parametrize(
    ("severity", "told"),
    [("critical", "critical"), ("{{ 'info' if branch != 'main' else 'warning' }}", "warning"),
     ("{{ labels.severity }}", "error"), ("urgent", "error")],
)  # fmt: skip
def test_severity_is_always_one_that_pagerduty_knows(severity: str, told: str) -> None:
    """A label that is missing or misspelt does not lose an alert."""
    options = {**OPTIONS, "severity": severity}
    made = rendered("pagerduty", "gh_oauth_workflow_failed", options=options, change="broken")
    assert said(made)["payload"]["severity"] == told


def test_options() -> None:
    """Region, key, group and action are the user's."""
    options = {
        **OPTIONS,
        "region": "eu",
        "dedup_key": "{{ project }} " + "é" * 300,
        "group": "{{ branch }}",
        "action": "trigger",
    }
    made = rendered("pagerduty", "gh_oauth_workflow_canceled_burst_4_of_4", options=options)
    assert made.url == "https://events.eu.pagerduty.com/v2/enqueue"
    assert said(made)["event_action"] == "trigger"
    assert said(made)["dedup_key"].startswith("github/acme-rockets/launchpad éé")
    assert len(said(made)["dedup_key"]) == 255
    assert said(made)["payload"]["group"] == "main"


def test_lines_have_keys_of_their_own() -> None:
    """Another line, another alert."""
    keys = {
        said(
            rendered(
                "pagerduty",
                "gh_oauth_workflow_failed",
                options=OPTIONS,
                change="broken",
                history=a_history("broken", line=line),
            )
        )["dedup_key"]
        for line in ("aa", "bb")
    }
    assert keys == {"circleci-aa", "circleci-bb"}
