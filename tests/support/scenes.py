"""Scenes to render: of a packaged sample, or of any payload."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

from circleci_relay.circleci import samples
from circleci_relay.circleci.payload import parse, read_facts
from circleci_relay.model import Change, Facts, History, Told
from circleci_relay.rendering.scene import About, scene_of

NOW = 1_772_442_945.5


def a_told(
    body: bytes, *, change: Change | None = None, history: History | None = None, event: str = "01H"
) -> Told:
    """The event of *body*, as the store would hand it on."""
    facts = read_facts(parse(body))
    stored = {each.name: getattr(facts, each.name) for each in fields(Facts)} | {"change": change}
    lines = history and {each.name: getattr(history, each.name) for each in fields(History)}
    return Told(
        event=event,
        source="circleci",
        body=body,
        received_at=1_772_442_944_000_000,
        facts=json.dumps({key: value for key, value in stored.items() if value is not None}),
        history=json.dumps(lines) if lines else None,
    )


def about(**changes: Any) -> About:
    """What a message is about besides its events."""
    given: dict[str, Any] = {
        "destination": "chat",
        "external_url": "https://relay.example.com/",
        "labels": lambda _: {"team": "payments"},
        "now": NOW,
        "webhook_id": "msg_1",
    }
    return About(**given | changes)


def a_scene(sample: str = "gh_oauth_workflow_failed", **payload: Any) -> dict[str, Any]:
    """The scene of a packaged sample, parts of its payload replaced."""
    body = json.loads(samples.load(sample)) | payload
    return scene_of([a_told(json.dumps(body).encode())], about())


def with_subject(subject: str) -> dict[str, Any]:
    """The scene of a failed workflow whose commit has this subject."""
    body = json.loads(samples.load("gh_oauth_workflow_failed"))
    body["pipeline"]["vcs"]["commit"]["subject"] = subject
    return scene_of([a_told(json.dumps(body).encode())], about())
