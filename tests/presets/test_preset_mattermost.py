"""The Mattermost preset: every message is one that the server takes, and says what matters."""

from __future__ import annotations

import re
from typing import Any, Final

import pytest
from jsonschema import Draft202012Validator

from circleci_relay.rendering.filters import plain, truncate
from support import chats, presets

# https://developers.mattermost.com/integrate/webhooks/incoming/ and
# https://developers.mattermost.com/integrate/reference/message-attachments/; the colour as the
# server's own SlackAttachment.IsValid has it.
_TEXT: Final = {"type": "string", "minLength": 1, "maxLength": 16383}
SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["text"],
    "additionalProperties": False,
    "properties": {
        "text": _TEXT,
        "channel": {"type": "string", "pattern": "^[@#]?[a-z0-9._-]+$"},
        "username": {"type": "string", "minLength": 1, "maxLength": 64},
        "icon_url": {"type": "string", "pattern": "^https?://"},
        "attachments": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["fallback", "color", "text"],
                "additionalProperties": False,
                "properties": {
                    "fallback": _TEXT,
                    "color": {"type": "string", "pattern": "^#[0-9a-fA-F]{6}$"},
                    "text": _TEXT,
                },
            },
        },
    },
}
VALIDATOR: Final = Draft202012Validator(SCHEMA)
# What the server itself makes of Slack's writing before anyone reads it
# (model.ParseSlackLinksToMarkdown, and its announcements).
SLACK_LINK: Final = re.compile(r"<([^<|]+)\|([^>]+)>")
SLACK_MENTION: Final = re.compile(r"<!(channel|here|all)>|<@?[a-z0-9]{26}>")


def texts_of(message: dict[str, Any]) -> list[str]:
    """The texts in which Mattermost looks for markup."""
    return [message["text"], *(each["text"] for each in message.get("attachments", []))]


def test_every_message_is_one_that_mattermost_takes() -> None:
    """The documented fields and no others, within one post, for every payload and many at once."""
    options = {
        "mention": "@channel",
        "channel": "town-square",
        "username": "circleci",
        "icon_url": "https://relay.example.com/icon.png",
    }
    for label, made in chats.every("mattermost", options=options):
        assert made.content_type == "application/json"
        faults = [fault.message for fault in VALIDATOR.iter_errors(presets.said(made))]
        assert not faults, f"{label}: {faults}"


def test_nothing_reads_as_if_something_were_missing() -> None:
    """No None, no empty brackets, no separator with nothing behind it."""
    chats.sensible("mattermost")


def test_nothing_in_a_payload_is_markup() -> None:
    """A reader of Markdown finds bold and our own links, also after the server's translation."""
    for label, made in chats.nasty("mattermost"):
        for text in texts_of(presets.said(made)):
            assert not SLACK_MENTION.search(text), label
            links: set[str] = set()
            chats.only_plain_markdown(SLACK_LINK.sub(r"[\2](\1)", text), links)
            for link in links:
                text = text.replace(link, "")  # noqa: PLW2901 - what is left of it
            assert text.count("@") == text.count("@\u200b"), f"{label}: {text}"


@pytest.mark.parametrize("word", presets.NASTY)
def test_a_nasty_subject_is_read_as_it_is(word: str) -> None:
    """What a reader of the Markdown sees is the subject, but for what is unseen."""
    nasty = presets.NASTY[word]
    message = presets.said(presets.rendered("mattermost", presets.a_payload(subject=nasty)))
    seen = chats.only_plain_markdown(message["attachments"][0]["text"]).partition("\n")[0]
    first = nasty.strip().partition("\n")[0][:1000].replace("\ud83d", "\ufffd")
    wanted = truncate(plain(first.replace("\0", "\ufffd")), 200)
    assert seen.replace("\u200b", "") == wanted


def test_without_options_the_webhook_decides() -> None:
    """Channel, name and picture are left to the webhook unless they are given."""
    message = presets.said(presets.rendered("mattermost", "ping"))
    assert set(message) == {"text", "attachments"}


@pytest.mark.parametrize(
    ("on", "change", "mentioned"),
    [
        ("bad", None, True),
        ("bad", "still-broken", True),
        ("broken", "broken", True),
        ("broken", "still-broken", False),
    ],
)
def test_who_is_mentioned_and_when(on: str, change: str | None, *, mentioned: bool) -> None:
    """A failure mentions, or only the first one."""
    options = {"mention": "@channel", "mention_on": on}
    made = presets.rendered(
        "mattermost", "gh_oauth_workflow_failed", options=options, change=change
    )
    assert presets.said(made)["text"].endswith(" @channel") is mentioned


def test_a_recovery_in_full() -> None:
    """The whole message about a branch that is green again."""
    made = presets.rendered("mattermost", "gh_oauth_workflow_success", change="fixed")
    run = "https://app.circleci.com/pipelines/github/acme-rockets/launchpad/412/workflows"
    commit = "https://github.com/acme-rockets/launchpad/commit"
    assert presets.said(made) == {
        "text": "🟢 **acme-rockets/launchpad: workflow build-and-ship succeeded on main**",
        "attachments": [
            {
                "fallback": "acme-rockets/launchpad: workflow build-and-ship succeeded on main",
                "color": "#1A7F37",
                "text": "Fix fuel gauge — “überläuft” 🚀\n"
                "**fixed after 2h 10m and 4 failures**"
                f" · [9c1f0d2]({commit}/9c1f0d2ab3e4c5d6f7a8091b2c3d4e5f60718293)"
                " · Zoë Example · took 3m 43s · pipeline 412\n"
                f"[Open workflow]({run}/55555555-5555-4555-9555-555555555555)"
                f" · [Open event](https://relay.example.com/events/{presets.EVENT})",
            }
        ],
    }


def test_several_in_full() -> None:
    """The whole message about three events, the failure first."""
    made = presets.rendered(
        "mattermost",
        presets.a_payload("gh_oauth_workflow_success", url="https://ci.example/1"),
        others=[
            presets.a_payload("gh_oauth_job_failed", url="https://ci.example/2", branch="a_b"),
            presets.a_payload("gh_oauth_workflow_canceled_burst_1_of_4", url=None),
        ],
    )
    headline = (
        "3 events of workflow build-and-ship in launchpad: 1 failed, 1 succeeded, 1 was canceled"
    )
    assert presets.said(made) == {
        "text": f"🔴 **{headline}**",
        "attachments": [
            {
                "fallback": headline,
                "color": "#D1242F",
                "text": "🔴 [acme-rockets/launchpad: job unit-tests failed on a\\_b]"
                "(https://ci.example/2)\n"
                "🟢 [acme-rockets/launchpad: workflow build-and-ship succeeded on main]"
                "(https://ci.example/1)\n"
                "⚪ acme-rockets/launchpad: workflow build-and-ship was canceled on main",
            }
        ],
    }
