"""The Teams preset: every card is one that Microsoft's own models take, and says what matters."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import pytest
from microsoft_teams import cards

from circleci_relay.rendering.filters import plain, truncate
from support import chats, presets

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import BaseModel

MOST_BYTES: Final = 28 * 1024
MODELS: Final[dict[str, type[BaseModel]]] = {
    "AdaptiveCard": cards.AdaptiveCard,
    "Container": cards.Container,
    "RichTextBlock": cards.RichTextBlock,
    "TextRun": cards.TextRun,
    "Action.OpenUrl": cards.OpenUrlAction,
}


def elements(value: Any) -> Iterator[dict[str, Any]]:
    """Every typed element of a card."""
    if isinstance(value, dict):
        if "type" in value:
            yield value
        for each in value.values():
            yield from elements(each)
    elif isinstance(value, list):
        for each in value:
            yield from elements(each)


def teams_takes(message: dict[str, Any]) -> None:
    """Raise unless Microsoft's models take every element, and know every key of it."""
    assert set(message) == {"type", "summary", "attachments"}
    assert message["type"] == "message"
    [attachment] = message["attachments"]
    assert set(attachment) == {"contentType", "contentUrl", "content"}
    assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    card = attachment["content"]
    for element in elements(card):
        made = MODELS[element["type"]].model_validate(element)
        assert not made.model_extra, element
        for held in ("body", "items", "inlines", "actions"):
            assert element.get(held) != [], element
        if element["type"] == "Action.OpenUrl":
            assert element["url"].lower().startswith(("https://", "http://"))
    assert len(card.get("actions", [])) <= 6
    assert len(json.dumps(message).encode()) < MOST_BYTES  # with every emoji as \uXXXX\uXXXX


def lines(message: dict[str, Any]) -> list[str]:
    """What a person reads, a block a line."""
    return [
        "".join(run["text"] for run in element["inlines"])
        for element in elements(message)
        if element["type"] == "RichTextBlock"
    ]


def test_every_message_is_one_that_teams_takes() -> None:
    """Samples after every change, hostile and bare payloads, and many at once."""
    for label, made in chats.every("msteams"):
        try:
            teams_takes(presets.said(made))
        except Exception as fault:
            fault.add_note(f"{label}: {made.body!r}")
            raise


def test_nothing_reads_as_if_something_were_missing() -> None:
    """No None, no empty brackets, no separator with nothing behind it."""
    for label, made in chats.tame("msteams"):
        for line in lines(presets.said(made)):
            assert not chats.HOLLOW.search(line), f"{label}: {line!r}"


def test_texts_stand_where_no_markup_is_looked_for() -> None:
    """Every text of a card is a text run, which knows no Markdown, or a button's constant."""
    for _, made in chats.nasty("msteams"):
        card = presets.said(made)["attachments"][0]["content"]
        for element in elements(card):
            assert element["type"] in MODELS
            if element["type"] == "Action.OpenUrl" and "title" in element:
                assert element["title"] in {"Open workflow", "Open commit", "Open event"}


@pytest.mark.parametrize("word", presets.NASTY)
def test_a_nasty_subject_arrives_as_it_is(word: str) -> None:
    """The subject is unaltered but for what is unseen."""
    nasty = presets.NASTY[word]
    message = presets.said(presets.rendered("msteams", presets.a_payload(subject=nasty)))
    first = nasty.strip().partition("\n")[0][:1000].replace("\ud83d", "\ufffd")
    assert lines(message)[1] == truncate(plain(first.replace("\0", "\ufffd")), 200)


@pytest.mark.parametrize(
    ("sample", "style"),
    [
        ("gh_oauth_workflow_failed", "attention"),
        ("gh_oauth_workflow_success", "good"),
        ("gh_oauth_workflow_canceled_burst_1_of_4", "emphasis"),
    ],
)
def test_the_outcome_has_its_colour(sample: str, style: str) -> None:
    """Red, green, or neither."""
    card = presets.said(presets.rendered("msteams", sample))["attachments"][0]["content"]
    assert card["body"][0]["style"] == style


def test_several_are_told_worst_first_and_counted() -> None:
    """One card lists what fits, failures first, says how many more, in the worst's colour."""
    message = presets.said(chats.several("msteams", 30))
    headline, *listed, last = lines(message)
    assert headline.startswith("🔴 30 events in ")
    assert len(listed) == 12
    assert [line[0] for line in listed] == sorted((line[0] for line in listed), key="🔴".__ne__)
    assert last == "and 18 more"


def test_a_failed_job_in_full() -> None:
    """The whole message about a job that still fails."""
    made = presets.rendered("msteams", "gh_oauth_job_failed", change="still-broken")
    title = "acme-rockets/launchpad: job unit-tests failed on main"
    run = "https://app.circleci.com/pipelines/github/acme-rockets/launchpad/412/workflows"
    commit = "https://github.com/acme-rockets/launchpad/commit"
    assert presets.said(made) == {
        "type": "message",
        "summary": title,
        "attachments": [
            {
                "contentType": "application/vnd.microsoft.card.adaptive",
                "contentUrl": None,
                "content": {
                    "type": "AdaptiveCard",
                    "version": "1.4",
                    "fallbackText": title,
                    "body": [
                        {
                            "type": "Container",
                            "bleed": True,
                            "style": "attention",
                            "items": [
                                {
                                    "type": "RichTextBlock",
                                    "inlines": [
                                        {
                                            "type": "TextRun",
                                            "weight": "Bolder",
                                            "size": "Medium",
                                            "text": f"🔴 {title}",
                                        }
                                    ],
                                }
                            ],
                        },
                        {
                            "type": "RichTextBlock",
                            "inlines": [
                                {"type": "TextRun", "text": "Fix fuel gauge — “überläuft” 🚀"}
                            ],
                        },
                        {
                            "type": "RichTextBlock",
                            "spacing": "Small",
                            "inlines": [
                                {
                                    "type": "TextRun",
                                    "weight": "Bolder",
                                    "text": "still broken since 2026-03-02 07:06 UTC,"
                                    " 3 in a row · ",
                                },
                                {
                                    "type": "TextRun",
                                    "isSubtle": True,
                                    "text": "9c1f0d2 · in build-and-ship · Zoë Example"
                                    " · took 3m 40s · pipeline 412",
                                },
                            ],
                        },
                    ],
                    "actions": [
                        {
                            "type": "Action.OpenUrl",
                            "title": "Open workflow",
                            "url": f"{run}/55555555-5555-4555-9555-555555555555",
                        },
                        {
                            "type": "Action.OpenUrl",
                            "title": "Open commit",
                            "url": f"{commit}/9c1f0d2ab3e4c5d6f7a8091b2c3d4e5f60718293",
                        },
                        {
                            "type": "Action.OpenUrl",
                            "title": "Open event",
                            "url": f"https://relay.example.com/events/{presets.EVENT}",
                        },
                    ],
                },
            }
        ],
    }
