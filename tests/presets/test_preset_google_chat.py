"""The Google Chat preset: every card is one that the API's schema takes, and says what matters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest
from jsonschema import Draft202012Validator

from circleci_relay.rendering.filters import plain, truncate
from support import chats, presets

HERE: Final = "support/google_chat.json"
MOST_BYTES: Final = 32_000


def schema() -> dict[str, Any]:
    """The API's own schema of a message as JSON Schema: no key that it does not know."""
    path = Path(__file__).parents[1] / HERE
    definitions = json.loads(path.read_text())["schemas"]

    def turned(value: Any) -> Any:
        if isinstance(value, list):
            return [turned(each) for each in value]
        if not isinstance(value, dict):
            return value
        made = {key: turned(each) for key, each in value.items()}
        if isinstance(made.get("$ref"), str):
            made["$ref"] = f"#/$defs/{made['$ref']}"
        if made.get("type") == "object":
            made["additionalProperties"] = False
        made.pop("format", None)
        return made

    made = {name: turned(definition) for name, definition in definitions.items()}
    return {"$ref": "#/$defs/Message", "$defs": made}


VALIDATOR: Final = Draft202012Validator(schema())


def google_takes(message: dict[str, Any], size: int) -> None:
    """Raise unless the API's schema and its documented limits allow *message*."""
    faults = [fault.message for fault in VALIDATOR.iter_errors(message)]
    assert not faults, faults
    assert size < MOST_BYTES
    [card] = message["cardsV2"]
    [section] = card["card"]["sections"]
    assert 0 < len(section["widgets"]) <= 100
    for widget in section["widgets"]:
        [(kind, content)] = widget.items()
        if kind == "buttonList":
            assert content["buttons"]
            for button in content["buttons"]:
                url = button["onClick"]["openLink"]["url"]
                assert url.lower().startswith(("https://", "http://"))
        else:
            assert content["text"]
            chats.only_plain_html(content["text"])


def paragraphs(message: dict[str, Any]) -> list[str]:
    """What a person reads, a paragraph each."""
    widgets = message["cardsV2"][0]["card"]["sections"][0]["widgets"]
    return [
        chats.only_plain_html(widget["textParagraph"]["text"])
        for widget in widgets
        if "textParagraph" in widget
    ]


def test_every_message_is_one_that_google_chat_takes() -> None:
    """Samples after every change, hostile and bare payloads, and many at once."""
    options = {"mention": "<users/all>", "thread": "line"}
    for label, made in chats.every("google-chat", options=options):
        assert made.body is not None
        try:
            google_takes(presets.said(made), len(made.body))
        except Exception as fault:
            fault.add_note(f"{label}: {made.body!r}")
            raise


def test_nothing_reads_as_if_something_were_missing() -> None:
    """No None, no empty brackets, no separator with nothing behind it."""
    chats.sensible("google-chat")


def test_only_our_mention_stands_in_the_text() -> None:
    """Chat looks for mentions in `text` alone, and nothing of a payload ever stands there."""
    for _, made in chats.nasty("google-chat", options={"mention": "<users/all>"}):
        assert presets.said(made).get("text") in {None, "<users/all>"}
    assert "text" not in presets.said(presets.rendered("google-chat", "gh_oauth_job_failed"))


@pytest.mark.parametrize("word", presets.NASTY)
def test_a_nasty_subject_is_read_as_it_is(word: str) -> None:
    """What a reader of the HTML sees is the subject, but for what is unseen."""
    nasty = presets.NASTY[word]
    message = presets.said(presets.rendered("google-chat", presets.a_payload(subject=nasty)))
    seen = paragraphs(message)[1].partition("\n")[0]
    first = nasty.strip().partition("\n")[0][:1000].replace("\ud83d", "\ufffd")
    assert seen == truncate(plain(first.replace("\0", "\ufffd")), 200)


@pytest.mark.parametrize(
    ("thread", "key"),
    [
        ("none", None),
        ("line", "circleci 0f1e2d3c4b5a6978"),
        ("project", "circleci github/acme-rockets/launchpad"),
    ],
)
def test_what_shares_a_thread(thread: str, key: str | None) -> None:
    """A line, a project, or nothing."""
    made = presets.rendered("google-chat", "gh_oauth_workflow_failed", options={"thread": thread})
    assert presets.said(made).get("thread", {}).get("threadKey") == key


def test_without_a_line_there_is_no_thread() -> None:
    """A tag's build has no line; its message stands alone."""
    made = presets.rendered(
        "google-chat", "gh_oauth_tag_workflow_as_documented", options={"thread": "line"}
    )
    assert "thread" not in presets.said(made)


def test_several_are_told_worst_first_and_counted() -> None:
    """One card lists what fits, failures first, and says how many more."""
    headline, listed = paragraphs(presets.said(chats.several("google-chat", 30)))
    *lines, last = listed.split("\n")
    assert headline.startswith("🔴 30 events in ")
    assert len(lines) == 10
    assert [line[0] for line in lines] == sorted((line[0] for line in lines), key="🔴".__ne__)
    assert last == "and 20 more"


def test_a_failure_in_full() -> None:
    """The whole message about a failure of the main branch."""
    made = presets.rendered(
        "google-chat",
        "gh_oauth_workflow_failed",
        change="broken",
        options={"mention": "<users/all>", "thread": "line"},
    )
    run = "https://app.circleci.com/pipelines/github/acme-rockets/launchpad/412/workflows"
    commit = "https://github.com/acme-rockets/launchpad/commit"
    title = "acme-rockets/launchpad: workflow build-and-ship failed on main"
    assert presets.said(made) == {
        "text": "<users/all>",
        "fallbackText": title,
        "thread": {"threadKey": "circleci 0f1e2d3c4b5a6978"},
        "cardsV2": [
            {
                "cardId": "event",
                "card": {
                    "sections": [
                        {
                            "widgets": [
                                {
                                    "textParagraph": {
                                        "text": f'🔴 <font color="#D1242F"><b>{title}</b></font>'
                                    }
                                },
                                {
                                    "textParagraph": {
                                        "text": "Fix fuel gauge — “überläuft” 🚀<br>"
                                        f'<b>broken</b> · <a href="{commit}/9c1f0d2ab3e4c5d6f7a809'
                                        '1b2c3d4e5f60718293">9c1f0d2</a>'
                                        " · Zoë Example · took 3m 43s · pipeline 412"
                                    }
                                },
                                {
                                    "buttonList": {
                                        "buttons": [
                                            _button(
                                                "Open workflow",
                                                f"{run}/55555555-5555-4555-9555-555555555555",
                                            ),
                                            _button(
                                                "Open event",
                                                f"https://relay.example.com/events/{presets.EVENT}",
                                            ),
                                        ]
                                    }
                                },
                            ]
                        }
                    ]
                },
            }
        ],
    }


def _button(text: str, url: str) -> dict[str, Any]:
    return {"text": text, "onClick": {"openLink": {"url": url}}}
