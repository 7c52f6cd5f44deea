"""What the relay tells of itself, as people get it: opened as it begins, closed as it ends."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from circleci_relay.config import load
from circleci_relay.console.announcing import intake_of
from circleci_relay.model import SECOND, Change, History, Told
from circleci_relay.rendering.scene import About, scene_of
from circleci_relay.store.encode import facts_text, history_text
from circleci_relay.store.log.alerts import Alert
from support.presets import EVENT, RECEIVED, RELAY, recipe, said

if TYPE_CHECKING:
    from pathlib import Path

    from circleci_relay.config import Config

BEGAN = "Every attempt at warehouse has failed since about 2026-03-02 09:00 UTC"
STARTED = Alert(
    rule="failing",
    subject="warehouse",
    since=RECEIVED,
    detail={"text": BEGAN, "began": RECEIVED, "link": "/destinations/warehouse"},
    told=False,
    ended_at=None,
)
ENDED = replace(
    STARTED,
    detail={**STARTED.detail, "text": "warehouse takes events again"},
    ended_at=RECEIVED + 7200 * SECOND,
)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Of a relay that people reach."""
    file = tmp_path / "relay.yaml"
    file.write_text(
        json.dumps(
            {
                "server": {"external_url": RELAY},
                "sources": {"circleci": {"path": "/hook", "secrets": ["a secret of sixteen"]}},
                "destinations": {"pager": {"url": "https://pager.example.com"}},
                "notify": {"to": "pager"},
            }
        )
    )
    return load([file]).config


def both(preset: str, config: Config, **options: Any) -> list[Any]:
    """What is sent when it begins, and when it is over."""
    line = History(line="ab12", good=False, since=RECEIVED, streak=1)
    mended = replace(line, good=True, before_good=False, before_since=RECEIVED, before_streak=1)
    found = []
    for alert, history, change in ((STARTED, line, Change.BROKEN), (ENDED, mended, Change.FIXED)):
        event = intake_of(alert, config, public_id=EVENT, now=RECEIVED).event
        told = Told(
            event=EVENT,
            source=event.source,
            body=event.body,
            received_at=RECEIVED,
            facts=facts_text(event.facts, change),
            history=history_text(history),
        )
        about = About(
            destination="pager",
            external_url=RELAY,
            labels=lambda _: {},
            now=RECEIVED / SECOND + 2,
            webhook_id=f"{EVENT}-pager",
        )
        made = recipe(preset, options).make(scene_of([told], about))
        found.append((made.url, said(made)))
    return found


def test_the_body_is_the_same_whoever_makes_it(config: Config) -> None:
    """All of it comes out of the row, so that replicas make one event of it."""
    one, two = (intake_of(ENDED, config, public_id=EVENT, now=now).event for now in (1, 2))
    assert one.body == two.body
    assert json.loads(one.body)["alert"]["link"] == f"{RELAY}/destinations/warehouse"


def test_pagerduty_opens_and_resolves(config: Config) -> None:
    """Under one key."""
    (_, opened), (_, closed) = both("pagerduty", config, routing_key="0" * 32)
    assert (opened["event_action"], closed["event_action"]) == ("trigger", "resolve")
    assert opened["dedup_key"] == closed["dedup_key"] == "circleci-ab12"
    assert opened["payload"]["summary"] == f"relay: {BEGAN[:1].lower()}{BEGAN[1:]}"
    assert opened["payload"]["component"] == "warehouse"
    details = opened["payload"]["custom_details"]
    assert (details["what"], details["where"]) == ("alert: failing", "warehouse")
    assert "changed" not in details


def test_opsgenie_creates_and_closes(config: Config) -> None:
    """Under one alias."""
    (_, opened), (url, closed) = both("opsgenie", config, api_key="key")
    assert opened["alias"] == "circleci-ab12"
    assert str(url).endswith("/circleci-ab12/close?identifierType=alias")
    assert closed["note"] == "relay: warehouse takes events again"


def test_alertmanager_fires_and_ends(config: Config) -> None:
    """With the same labels, which name the rule and what it is about."""
    (_, [opened]), (_, [closed]) = both("alertmanager", config)
    assert opened["labels"] == closed["labels"]
    assert opened["labels"]["workflow"] == "failing"
    assert opened["labels"]["job"] == "warehouse"
    assert opened["endsAt"] > opened["startsAt"]
    assert "startsAt" not in closed


def test_slack_says_it_once(config: Config) -> None:
    """As the headline, in red and then in green, with a link to the page that helps."""
    (_, opened), (_, closed) = both("slack", config)
    assert json.dumps(opened["blocks"]).count("has failed since") == 1
    assert "has failed since" not in json.dumps(opened["attachments"])
    assert (opened["attachments"][0]["color"], closed["attachments"][0]["color"]) == (
        "#D1242F",
        "#1A7F37",
    )
    assert f"{RELAY}/destinations/warehouse" in json.dumps(opened)
    assert f"{RELAY}/events/" not in json.dumps(opened)


@pytest.mark.parametrize("preset", ["slack", "msteams", "discord", "mattermost", "google-chat"])
def test_chats_name_no_workflow_of_an_alert(config: Config, preset: str) -> None:
    """The rule is none."""
    for _, made in both(preset, config):
        assert "in failing" not in json.dumps(made)


@pytest.mark.parametrize("link", ["https://evil.example.com/x", f"{RELAY}.evil.example.com/", 7])
def test_a_link_leads_to_no_page_but_our_own(link: object) -> None:
    """Nor does anything lead elsewhere that only claims to be the relay's own."""
    body = json.dumps({"id": "x", "type": "relay-alert", "alert": {"link": link}}).encode()
    about = About(destination="pager", external_url=RELAY, labels=lambda _: {}, now=0.0)
    for source in ("relay", "circleci"):
        told = Told(
            event=EVENT,
            source=source,
            body=body,
            received_at=RECEIVED,
            facts='{"type": "relay-alert"}',
            history=None,
        )
        assert scene_of([told], about)["event"]["link"] == f"{RELAY}/events/{EVENT}"
