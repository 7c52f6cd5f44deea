"""The Discord preset: every message is one that Discord documents, and nobody else is pinged."""

from __future__ import annotations

from typing import Any, Final

import pytest
from jsonschema import Draft202012Validator

from circleci_relay.rendering.filters import plain, truncate
from support import chats, presets

# https://github.com/discord/discord-api-spec: IncomingWebhookRequestPartial, RichEmbed and
# MessageAllowedMentionsRequest, as far as the preset uses them, with their lengths.
_SNOWFLAKES: Final = {
    "type": "array",
    "maxItems": 100,
    "items": {"type": "string", "pattern": "^(0|[1-9][0-9]{0,19})$"},
}
SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["content", "allowed_mentions"],
    "additionalProperties": False,
    "properties": {
        "content": {"type": "string", "minLength": 1, "maxLength": 2000},
        "username": {"type": "string", "minLength": 1, "maxLength": 80},
        "avatar_url": {"type": "string", "maxLength": 2048, "pattern": "^https?://"},
        "allowed_mentions": {
            "type": "object",
            "required": ["parse"],
            "additionalProperties": False,
            "properties": {
                "parse": {"type": "array", "items": {"enum": ["users", "roles", "everyone"]}},
                "users": _SNOWFLAKES,
                "roles": _SNOWFLAKES,
            },
        },
        "embeds": {
            "type": "array",
            "minItems": 1,
            "maxItems": 10,
            "items": {
                "type": "object",
                "required": ["color", "description"],
                "additionalProperties": False,
                "properties": {
                    "color": {"type": "integer", "minimum": 0, "maximum": 16777215},
                    "description": {"type": "string", "minLength": 1, "maxLength": 4096},
                },
            },
        },
    },
}
VALIDATOR: Final = Draft202012Validator(SCHEMA)


def texts_of(message: dict[str, Any]) -> list[str]:
    """The texts in which Discord looks for markup."""
    embeds = message.get("embeds", [])
    return [message["content"], *(embed["description"] for embed in embeds)]


def mentions_of(mention: str, **more: Any) -> dict[str, Any]:
    """The `allowed_mentions` of a message about a failure with this option."""
    payload = presets.a_payload(**more)
    made = presets.rendered("discord", payload, options={"mention": mention})
    allowed: dict[str, Any] = presets.said(made)["allowed_mentions"]
    return allowed


def test_every_message_is_one_that_discord_takes() -> None:
    """Within the lengths of Discord's own specification, for every payload and many at once."""
    options = {"mention": "<@&4815162342>", "username": "CircleCI " * 20}
    for label, made in chats.every("discord", options=options):
        message = presets.said(made)
        faults = [fault.message for fault in VALIDATOR.iter_errors(message)]
        assert not faults, f"{label}: {faults}"
        assert sum(len(each["description"]) for each in message.get("embeds", [])) <= 6000


def test_nothing_reads_as_if_something_were_missing() -> None:
    """No None, no empty brackets, no separator with nothing behind it."""
    chats.sensible("discord")


def test_nothing_in_a_payload_is_markup() -> None:
    """A reader of Markdown finds bold and our own links; every mention is defused."""
    for label, made in chats.nasty("discord"):
        message = presets.said(made)
        assert message["allowed_mentions"] == {"parse": []}, label
        for text in texts_of(message):
            links: set[str] = set()
            chats.only_plain_markdown(text, links)
            for link in links:
                text = text.replace(link, "")  # noqa: PLW2901 - what is left of it
            assert text.count("@") == text.count("@\u200b"), f"{label}: {text}"


@pytest.mark.parametrize("word", presets.NASTY)
def test_a_nasty_subject_is_read_as_it_is(word: str) -> None:
    """What a reader of the Markdown sees is the subject, but for what is unseen."""
    nasty = presets.NASTY[word]
    message = presets.said(presets.rendered("discord", presets.a_payload(subject=nasty)))
    seen = chats.only_plain_markdown(message["embeds"][0]["description"]).partition("\n")[0]
    first = nasty.strip().partition("\n")[0][:1000].replace("\ud83d", "\ufffd")
    wanted = truncate(plain(first.replace("\0", "\ufffd")), 200)
    assert seen.replace("\u200b", "") == wanted


@pytest.mark.parametrize(
    ("mention", "allowed"),
    [
        ("<@&4815162342>", {"parse": [], "roles": ["4815162342"]}),
        ("<@4815162342>", {"parse": [], "users": ["4815162342"]}),
        ("<@!4815162342>", {"parse": [], "users": ["4815162342"]}),
        ("@here", {"parse": ["everyone"]}),
        ("@everyone", {"parse": ["everyone"]}),
        ("people", {"parse": []}),
    ],
)
def test_only_the_one_mentioned_is_pinged(mention: str, allowed: dict[str, Any]) -> None:
    """A role, a user, or everyone; and for a commit that names others, still only that one."""
    hostile = "@everyone <@&1> <@2>"
    assert mentions_of(mention, subject=hostile, branch=hostile, author=hostile) == allowed


def test_nobody_is_pinged_when_all_is_well() -> None:
    """A success mentions nobody, and so allows nobody."""
    message = presets.said(
        presets.rendered("discord", "gh_oauth_workflow_success", options={"mention": "@everyone"})
    )
    assert "@" not in message["content"]
    assert message["allowed_mentions"] == {"parse": []}


def test_several_are_told_worst_first_and_counted() -> None:
    """One embed lists what fits, failures first, says how many more, in the worst's colour."""
    message = presets.said(chats.several("discord", 30))
    [embed] = message["embeds"]
    *lines, last = embed["description"].split("\n")
    assert embed["color"] == 0xD1242F
    assert len(lines) == 10
    assert [line[0] for line in lines] == sorted((line[0] for line in lines), key="🔴".__ne__)
    assert last == "and 20 more"


def test_a_failure_in_full() -> None:
    """The whole message about a failure of the main branch."""
    made = presets.rendered(
        "discord",
        "gh_oauth_workflow_failed",
        change="broken",
        options={"mention": "<@&4815162342>", "username": "CI"},
    )
    run = "https://app.circleci.com/pipelines/github/acme-rockets/launchpad/412/workflows"
    commit = "https://github.com/acme-rockets/launchpad/commit"
    assert presets.said(made) == {
        "username": "CI",
        "content": "🔴 **acme-rockets/launchpad: workflow build-and-ship failed on main**"
        " <@&4815162342>",
        "allowed_mentions": {"parse": [], "roles": ["4815162342"]},
        "embeds": [
            {
                "color": 0xD1242F,
                "description": "Fix fuel gauge — “überläuft” 🚀\n"
                f"**broken** · [9c1f0d2]({commit}/9c1f0d2ab3e4c5d6f7a8091b2c3d4e5f60718293)"
                " · Zoë Example · took 3m 43s · pipeline 412\n"
                f"[Open workflow]({run}/55555555-5555-4555-9555-555555555555)"
                f" · [Open event](https://relay.example.com/events/{presets.EVENT})",
            }
        ],
    }
