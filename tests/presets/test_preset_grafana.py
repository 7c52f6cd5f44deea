"""Grafana: annotations by the schema that its HTTP API documents."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

from support.presets import a_payload, rendered, said
from support.rounds import rounds

if TYPE_CHECKING:
    from collections.abc import Mapping

OPTIONS = {"token": "glsa_0123456789"}
URL = "https://grafana.example.com/api/annotations"

SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["text", "time", "timeEnd", "tags"],
    "additionalProperties": False,
    "properties": {
        "dashboardUID": {"type": "string", "minLength": 1},
        "panelId": {"type": "integer", "minimum": 1},
        "time": {"type": "integer", "minimum": 10**12, "maximum": 10**13},
        "timeEnd": {"type": "integer", "minimum": 10**12, "maximum": 10**13},
        "tags": {
            "type": "array",
            "uniqueItems": True,
            "items": {"type": "string", "minLength": 1},
        },
        "text": {"type": "string", "minLength": 1, "maxLength": 8192},
    },
}


class Markup(HTMLParser):
    """What a text holds beside text."""

    def __init__(self, text: str) -> None:
        """Read *text*."""
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep a tag."""
        self.tags.append((tag, dict(attrs)))


def test_every_annotation_is_one_that_grafana_takes(payloads: Mapping[str, Any]) -> None:
    """The schema and the limit of tags hold, and no markup is in it but our own."""
    validator = jsonschema.Draft202012Validator(SCHEMA)
    options = {**OPTIONS, "dashboard": "jcIIG-07z", "panel": 2}
    for name, made in rounds("grafana", payloads, options, url=URL):
        body = said(made)
        for error in validator.iter_errors(body):
            pytest.fail(f"{name}: {error.message}")
        assert body["time"] <= body["timeEnd"], name
        # As Grafana counts: each tag's bytes, its quotation marks and a comma.
        assert 2 + sum(len(tag.encode()) + 3 for tag in body["tags"]) <= 500, name
        for tag, attributes in Markup(body["text"]).tags:
            assert (tag, set(attributes)) in (("br", set()), ("a", {"href"})), name
            assert (attributes.get("href") or "https:").lower().startswith("http"), name


def test_an_annotation_in_full() -> None:
    """A region from the beginning of the job to its end."""
    made = rendered("grafana", "gh_oauth_job_failed", options=OPTIONS, change="broken", url=URL)
    page = (
        "https://app.circleci.com/pipelines/github/acme-rockets/launchpad/412/workflows/"
        "55555555-5555-4555-9555-555555555555"
    )
    assert (made.url, dict(made.headers), made.content_type) == (
        URL,
        {"authorization": "Bearer glsa_0123456789"},
        "application/json",
    )
    assert said(made) == {
        "time": 1772442725018,
        "timeEnd": 1772442944812,
        "tags": [
            "circleci",
            "github/acme-rockets/launchpad",
            "build-and-ship",
            "unit-tests",
            "main",
            "failed",
        ],
        "text": "acme-rockets/launchpad: job unit-tests failed on main"
        "<br>Fix fuel gauge — “überläuft” 🚀"
        f'<br><a href="{page}">CircleCI</a>',
    }


def test_a_dashboard_a_panel_and_tags() -> None:
    """They are where Grafana wants them; a panel without a dashboard is nowhere."""
    options = {**OPTIONS, "dashboard": "jcIIG-07z", "panel": 7, "tags": "ci, {{ outcome }},,a,b"}
    body = said(rendered("grafana", "gh_oauth_workflow_success", options=options, url=URL))
    assert (body["dashboardUID"], body["panelId"]) == ("jcIIG-07z", 7)
    assert body["tags"][:3] == ["ci", "good", "a"]
    alone = {**OPTIONS, "panel": 7}
    assert "panelId" not in said(rendered("grafana", "ping", options=alone, url=URL))


def test_without_a_beginning_it_is_a_point() -> None:
    """The time it ended is both, or else the time it came."""
    payload = a_payload("gh_oauth_workflow_success")
    del payload["workflow"]["created_at"]
    body = said(rendered("grafana", payload, options=OPTIONS, url=URL))
    assert body["time"] == body["timeEnd"] == 1772442944812
    body = said(rendered("grafana", {"type": "x", "id": "y"}, options=OPTIONS, url=URL))
    assert body["time"] == body["timeEnd"] == 1772443000000
