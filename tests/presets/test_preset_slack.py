"""The Slack preset: every message is one that Slack's own models take, and says what matters."""

from __future__ import annotations

import html
import re
from typing import Any

import pytest
import yaml
from slack_sdk.models.attachments import BlockAttachment
from slack_sdk.models.blocks import ActionsBlock, Block, ContextBlock, SectionBlock

from circleci_relay.rendering import preset
from circleci_relay.rendering.filters import plain, truncate
from support import chats, presets

_MARKUP = re.compile(r"<([^<>]*)>")
_LINK = re.compile(r"https?://[^|<>\s]+\|[^<>]+", re.IGNORECASE)


def slack_takes(message: dict[str, Any]) -> None:
    """Raise unless Slack's SDK can read *message* and finds nothing wrong with it."""
    assert set(message) <= {"text", "blocks", "attachments", "unfurl_links", "unfurl_media"}
    assert 0 < len(message["text"]) <= 4000
    assert message["unfurl_links"] is message["unfurl_media"] is False
    _blocks(message["blocks"])
    for attachment in message.get("attachments", ()):
        assert set(attachment) == {"color", "blocks"}
        assert re.fullmatch("#[0-9A-F]{6}", attachment["color"])
        made = _blocks(attachment["blocks"])
        BlockAttachment(blocks=made, color=attachment["color"]).validate_json()
    assert "attachments" not in message or message["attachments"]


def _blocks(raw: list[dict[str, Any]]) -> list[Block]:
    made = Block.parse_all(raw)
    assert 0 < len(made) <= 50
    for block, given in zip(made, raw, strict=True):
        assert isinstance(block, (SectionBlock, ContextBlock, ActionsBlock)), given
        assert block.to_dict() == given  # nothing was unknown to it, and all of it was kept
        elements = given.get("elements", [given])
        assert elements, "an empty block"
        for element in elements:
            text = element["text"] if isinstance(element["text"], str) else element["text"]["text"]
            assert 0 < len(text) <= (75 if element["type"] == "button" else 3000)
            if element["type"] == "button":
                assert element["url"].lower().startswith(("https://", "http://"))
    return made


def rich(message: dict[str, Any]) -> list[str]:
    """The texts in which Slack looks for markup."""
    found = [message["text"]]

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            if value.get("type") == "mrkdwn":
                found.append(value["text"])
            for each in value.values():
                walk(each)
        elif isinstance(value, list):
            for each in value:
                walk(each)

    walk(message)
    return found


def test_every_message_is_one_that_slack_takes() -> None:
    """Samples after every change, hostile and bare payloads, and many at once."""
    for label, made in chats.every("slack", options={"mention": "<!here>"}):
        assert made.content_type == "application/json"
        try:
            slack_takes(presets.said(made))
        except Exception as fault:
            fault.add_note(f"{label}: {made.body!r}")
            raise


def test_nothing_reads_as_if_something_were_missing() -> None:
    """No None, no empty brackets, no separator with nothing behind it."""
    chats.sensible("slack")


def test_nothing_in_a_payload_is_markup() -> None:
    """Slack sees links of ours and nothing else: no mention, no link, no entity of theirs."""
    for label, made in chats.nasty("slack"):
        for text in rich(presets.said(made)):
            for inside in _MARKUP.findall(text):
                assert _LINK.fullmatch(inside), f"{label}: {inside}"
            rest = _MARKUP.sub("", text)
            assert "<" not in rest, label
            assert ">" not in rest, label
            assert not re.search("&(?!amp;|lt;|gt;)", text), label


@pytest.mark.parametrize("word", presets.NASTY)
def test_a_nasty_subject_arrives_as_it_is(word: str) -> None:
    """The subject stands in a text that knows no markup, unaltered but for what is unseen."""
    nasty = presets.NASTY[word]
    message = presets.said(presets.rendered("slack", presets.a_payload(subject=nasty)))
    [subject] = [
        block["text"] for block in message["attachments"][0]["blocks"] if block["type"] == "section"
    ]
    assert subject["type"] == "plain_text"
    first = nasty.strip().partition("\n")[0][:1000].replace("\ud83d", "\ufffd")
    assert subject["text"] == truncate(plain(first.replace("\0", "\ufffd")), 200)


def test_a_hostile_branch_is_seen_as_it_is() -> None:
    """What the reader sees in the headline is the branch's own name."""
    branch = "<!channel>|<https://evil.example|x>&amp;"
    message = presets.said(presets.rendered("slack", presets.a_payload(branch=branch)))
    assert branch in html.unescape(message["text"])


def test_who_is_mentioned_and_when() -> None:
    """By default only when something failed; or only at the first time; or always."""

    def mentions(on: str | None, status: str, change: str | None) -> bool:
        options = {"mention": "<!here>"} | ({"mention_on": on} if on else {})
        payload = presets.a_payload(status=status)
        made = presets.rendered("slack", payload, options=options, change=change)
        return "<!here>" in presets.said(made)["blocks"][0]["text"]["text"]

    assert mentions(None, "failed", None)
    assert mentions("bad", "failed", "still-broken")
    assert not mentions("bad", "success", "fixed")
    assert mentions("broken", "failed", "broken")
    assert not mentions("broken", "failed", "still-broken")
    assert mentions("always", "success", None)


def test_several_are_told_worst_first_and_counted() -> None:
    """One message lists what fits, failures first, says how many more, in the worst's colour."""
    message = presets.said(chats.several("slack", 30))
    [attachment] = message["attachments"]
    lines = "\n".join(block["text"]["text"] for block in attachment["blocks"][:-1]).split("\n")
    assert attachment["color"] == "#D1242F"
    assert len(lines) == 12
    assert [line[0] for line in lines] == sorted((line[0] for line in lines), key="🔴".__ne__)
    assert attachment["blocks"][-1]["elements"][0]["text"] == "and 18 more"
    assert message["text"].startswith("30 events in ")


def test_a_headline_of_ones_own() -> None:
    """The title may be a template of the user's; it is escaped like ours."""
    options = {"title": "{{ project_name }} <{{ status }}> & more"}
    made = presets.rendered("slack", "gh_oauth_workflow_failed", options=options)
    assert presets.said(made)["text"] == "launchpad &lt;failed&gt; &amp; more"


@pytest.mark.parametrize("title", ["", " \n", "{{ tag }}", None, "\u200b"])
def test_a_headline_of_nothing_is_the_usual_one(title: str | None) -> None:
    """Slack refuses an empty text, so what a title of one's own leaves empty is filled."""
    made = presets.rendered("slack", "gh_oauth_workflow_failed", options={"title": title})
    text = presets.said(made)["text"]
    assert text == "acme-rockets/launchpad: workflow build-and-ship failed on main"


@pytest.mark.parametrize("name", ["slack", "discord", "mattermost", "google-chat", "msteams"])
def test_options_may_be_numbers(name: str) -> None:
    """Whatever scalar stands in the file makes a message, for all the chats."""
    found = preset.find(name)
    numbers = {key: 7 for key, option in found.options.items() if not option.choices}
    for given in (numbers, dict.fromkeys(numbers, True), dict.fromkeys(numbers)):
        assert presets.rendered(name, "gh_oauth_workflow_failed", options=given).body


def in_yaml(text: str) -> Any:
    """The message that *text* writes as YAML, with the long addresses filled in."""
    run = "https://app.circleci.com/pipelines/github/acme-rockets/launchpad/412/workflows"
    return yaml.safe_load(
        text.replace("RUN", f"{run}/55555555-5555-4555-9555-555555555555")
        .replace("COMMIT", "https://github.com/acme-rockets/launchpad/commit/")
        .replace("EVENT", f"https://relay.example.com/events/{presets.EVENT}")
    )


def test_a_failure_in_full() -> None:
    """The whole message about a failure of the main branch."""
    made = presets.rendered(
        "slack", "gh_oauth_workflow_failed", change="broken", options={"mention": "<!here>"}
    )
    assert presets.said(made) == in_yaml(
        """
        text: "acme-rockets/launchpad: workflow build-and-ship failed on main"
        unfurl_links: false
        unfurl_media: false
        blocks:
        - type: section
          text:
            type: mrkdwn
            verbatim: true
            text: >-
              🔴 *<RUN|acme-rockets/launchpad: workflow build-and-ship failed on main>*
              <!here>
        attachments:
        - color: "#D1242F"
          blocks:
          - type: section
            text: {type: plain_text, emoji: false, text: "Fix fuel gauge — “überläuft” 🚀"}
          - type: context
            elements:
            - {type: mrkdwn, verbatim: true, text: "*broken*"}
            - type: mrkdwn
              verbatim: true
              text: "<COMMIT9c1f0d2ab3e4c5d6f7a8091b2c3d4e5f60718293|9c1f0d2>"
            - {type: mrkdwn, verbatim: true, text: Zoë Example}
            - {type: mrkdwn, text: took 3m 43s}
            - {type: mrkdwn, text: pipeline 412}
          - type: actions
            elements:
            - {type: button, text: {type: plain_text, text: Open workflow}, url: "RUN"}
            - {type: button, text: {type: plain_text, text: Open event}, url: "EVENT"}
        """
    )


def test_a_test_ping_in_full() -> None:
    """The whole message about CircleCI's ping, marked as a test, without a relay's page."""
    made = presets.rendered("slack", "ping", test=True, external_url=None)
    assert presets.said(made) == in_yaml(
        """
        text: "[test] Test ping from CircleCI"
        unfurl_links: false
        unfurl_media: false
        blocks:
        - type: section
          text:
            type: mrkdwn
            verbatim: true
            text: "⚪ *[test] Test ping from CircleCI*"
        """
    )


def test_three_at_once_in_full() -> None:
    """The whole message about three events of two projects, the failure first."""
    made = presets.rendered(
        "slack",
        presets.a_payload("gh_oauth_workflow_success", url="https://ci.example/1?a=1&b=2"),
        others=[
            presets.a_payload("gh_oauth_job_failed", url="https://ci.example/2|", branch="a<b"),
            presets.a_payload("gh_oauth_workflow_canceled_burst_1_of_4", url=None, project="x"),
        ],
        test=True,
    )
    assert presets.said(made) == in_yaml(
        """
        text: "[test] 3 events of workflow build-and-ship in launchpad and x: 1 failed, 1 succeeded, 1 was canceled"
        unfurl_links: false
        unfurl_media: false
        blocks:
        - type: section
          text:
            type: mrkdwn
            verbatim: true
            text: "🔴 *[test] 3 events of workflow build-and-ship in launchpad and x: 1 failed, 1 succeeded, 1 was canceled*"
        attachments:
        - color: "#D1242F"
          blocks:
          - type: section
            text:
              type: mrkdwn
              verbatim: true
              text: |-
                🔴 <https://ci.example/2%7C|[test] acme-rockets/launchpad: job unit-tests failed on a&lt;b>
                🟢 <https://ci.example/1?a=1&amp;b=2|[test] acme-rockets/launchpad: workflow build-and-ship succeeded on main>
                ⚪ [test] acme-rockets/launchpad: workflow build-and-ship was canceled on main
        """  # noqa: E501 - as it is sent
    )
