"""Opsgenie: its own client and its models, and the limits that it documents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import opsgenie_sdk
import pytest

from support.heard import heard
from support.presets import a_payload, rendered, said, texts
from support.rounds import rounds

if TYPE_CHECKING:
    from collections.abc import Mapping

OPTIONS = {"api_key": "eb243592-faa2-4ba2-a551q-1afdf565c889"}
LIMITS = {
    "message": 130, "alias": 512, "description": 15_000, "entity": 512, "source": 100,
    "user": 100, "note": 25_000,
}  # fmt: skip
PAGE = (
    "https://app.circleci.com/pipelines/github/acme-rockets/launchpad/412/workflows/"
    "55555555-5555-4555-9555-555555555555"
)


def _fields(model: Any) -> dict[str, str]:
    """The fields of one of the client's models, each with its type."""
    return {model.attribute_map[key]: kind for key, kind in model.openapi_types.items()}


def test_every_request_is_one_that_opsgenie_takes(payloads: Mapping[str, Any]) -> None:
    """Whatever was sent or left out: a known field, of its type, within its limit, no HTML."""
    models = opsgenie_sdk.CreateAlertPayload, opsgenie_sdk.CloseAlertPayload
    create, close = ({m.attribute_map[key]: kind for key, kind in m.openapi_types.items()}
                     for m in models)  # fmt: skip
    for name, made in rounds("opsgenie", payloads, {**OPTIONS, "tags": "a, {{ branch }},,"}):
        body, path = said(made), urlsplit(made.url).path
        known = create if path == "/v2/alerts" else close
        assert body.keys() <= known.keys(), name
        assert (path == "/v2/alerts") == ("message" in body), name
        if known is close:
            assert path.startswith("/v2/alerts/circleci-"), name
            assert path.count("/") == 4, name
            assert len(unquote(path)) <= 512 + len("/v2/alerts//close"), name
        for key, value in body.items():
            assert type(value).__name__ == known[key].partition("[")[0].partition("(")[0], name
            assert value, f"{name}: {key}"
            if key in LIMITS:
                assert len(value) <= LIMITS[key], f"{name}: {key}"
        assert all(isinstance(each, str) for each in body.get("details", {}).values()), name
        assert sum(map(len, texts(body.get("details", {})))) <= 8_000, name
        assert len(body.get("tags", [])) <= 20, name
        assert all(len(tag) <= 50 for tag in body.get("tags", [])), name
        assert not any("<" in body.get(key, "") for key in ("message", "description", "note")), name


def test_its_own_client_sends_the_same() -> None:
    """The official client, asked for the same, makes the same two requests."""
    options = {**OPTIONS, "team": "ops", "priority": "P1"}
    red = rendered("opsgenie", "gh_oauth_workflow_failed", options=options, change="broken")
    green = rendered("opsgenie", "gh_oauth_workflow_success", options=options, change="fixed")
    body = said(red)
    with heard({"result": "Request will be processed", "took": 0.1, "requestId": "r"}, 202) as book:
        configuration = opsgenie_sdk.Configuration()
        configuration.host = book.url
        configuration.api_key = {"Authorization": OPTIONS["api_key"]}
        alerts = opsgenie_sdk.AlertApi(opsgenie_sdk.ApiClient(configuration))
        alerts.create_alert(create_alert_payload=opsgenie_sdk.CreateAlertPayload(**body))
        alerts.close_alert(
            identifier=body["alias"],
            identifier_type="alias",
            close_alert_payload=opsgenie_sdk.CloseAlertPayload(**said(green)),
        )
        alerts.api_client.rest_client.pool_manager.clear()
    for made, (path, headers, sent) in zip((red, green), book.requests, strict=True):
        assert made.url == f"https://api.opsgenie.com{path}"
        assert made.headers["authorization"] == headers["authorization"]
        assert made.content_type == headers["content-type"]
        assert said(made) == sent


def test_a_failure_in_full() -> None:
    """Everything that is known is told."""
    made = rendered("opsgenie", "gh_oauth_workflow_failed", options=OPTIONS, change="broken")
    assert said(made) == {
        "source": "CircleCI",
        "user": "circleci-relay",
        "message": "acme-rockets/launchpad: workflow build-and-ship failed on main",
        "alias": "circleci-0f1e2d3c4b5a6978",
        "description": "acme-rockets/launchpad: workflow build-and-ship failed on main\n"
        "broken\n"
        "9c1f0d2 Fix fuel gauge — “überläuft” 🚀\n"
        "Zoë Example\n"
        f"{PAGE}\n"
        "https://github.com/acme-rockets/launchpad/commit/9c1f0d2ab3e4c5d6f7a8091b2c3d4e5f60718293\n"
        "https://relay.example.com/events/01KJPZK3YG6WQ4S0V5J4X7T2A0",
        "entity": "github/acme-rockets/launchpad",
        "priority": "P3",
        "tags": ["circleci"],
        "details": {
            "project": "github/acme-rockets/launchpad",
            "workflow": "build-and-ship",
            "branch": "main",
            "revision": "9c1f0d2ab3e4c5d6f7a8091b2c3d4e5f60718293",
            "author": "Zoë Example",
            "status": "failed",
            "took": "3m 43s",
            "pipeline": "412",
            "url": PAGE,
        },
    }


def test_a_success_closes_it() -> None:
    """By its alias, with a note."""
    made = rendered("opsgenie", "gh_oauth_workflow_success", options=OPTIONS, change="fixed")
    alias = "circleci-0f1e2d3c4b5a6978"
    assert made.url == f"https://api.opsgenie.com/v2/alerts/{alias}/close?identifierType=alias"
    assert said(made) == {
        "source": "CircleCI",
        "user": "circleci-relay",
        "note": "acme-rockets/launchpad: workflow build-and-ship succeeded on main",
    }


@pytest.mark.parametrize(
    ("sample", "change"),
    [("ping", None), ("gh_oauth_workflow_canceled_burst_4_of_4", "broken"),
     ("gh_oauth_workflow_failed", "fixed"), ("gh_oauth_workflow_success", "broken")],
)  # fmt: skip
def test_what_is_no_news_touches_no_alert(sample: str, change: str | None) -> None:
    """Cancelled runs, pings and news that newer news overtook close an alias that is nobody's."""
    made = rendered("opsgenie", sample, options=OPTIONS, change=change)
    assert "/v2/alerts/circleci-none-" in made.url


@pytest.mark.parametrize(
    ("region", "host"),
    [("us", "https://api.opsgenie.com"), ("eu", "https://api.eu.opsgenie.com"),
     ("jsm", "https://api.atlassian.com/jsm/ops/integration")],
)  # fmt: skip
def test_regions(region: str, host: str) -> None:
    """Each has its address; Jira Service Management takes the same requests."""
    options = {**OPTIONS, "region": region}
    red = rendered("opsgenie", "gh_oauth_workflow_failed", options=options, change="broken")
    green = rendered("opsgenie", "gh_oauth_workflow_success", options=options, change="fixed")
    assert red.url == f"{host}/v2/alerts"
    assert green.url.startswith(f"{host}/v2/alerts/circleci-")


def test_an_alias_of_ones_own_stays_in_its_place() -> None:
    """Whatever a branch is called, the URL asks for what it should."""
    payload = a_payload("gh_oauth_workflow_success", branch="../x?y=1#z/ü")
    options = {**OPTIONS, "alias": "{{ project }} {{ branch }}", "priority": "high"}
    made = rendered("opsgenie", payload, options=options, change="fixed")
    assert made.url == (
        "https://api.opsgenie.com/v2/alerts/github%2Facme-rockets%2Flaunchpad%20..%2Fx%3Fy%3D1%23z"
        "%2F%C3%BC/close?identifierType=alias"
    )
    options["alias"] = "{{ labels.nothing }}"
    made = rendered("opsgenie", payload, options=options, change="fixed")
    assert "/v2/alerts/circleci-none-01" in made.url
