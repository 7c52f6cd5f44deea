"""Datadog: the very bytes of CircleCI, to the address that Datadog's documentation names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from circleci_relay.circleci import samples
from support.composed import composed
from support.presets import a_payload, rendered
from support.rounds import rounds

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

KEY = "0123456789abcdef0123456789abcdef"
OPTIONS = {"api_key": KEY}


def test_nothing_is_changed(payloads: Mapping[str, Any]) -> None:
    """The original bytes go out, with no content type or header but CircleCI's."""
    url = f"https://webhook-intake.datadoghq.com/api/v2/webhook/?dd-api-key={KEY}"
    for name, made in rounds("datadog", payloads, OPTIONS):
        assert made.body is None, name
        assert made.content_type is None, name
        assert made.headers == {}, name
        assert made.url == url, name


def test_circlecis_headers_go_along(tmp_path: Path) -> None:
    """Its signature still fits, for the bytes are the same; what the relay adds stands beside."""
    headers = {
        "content-type": "application/json",
        "user-agent": "CircleCI-Webhook/1.0",
        "circleci-event-type": "workflow-completed",
        "circleci-signature": f"v1={'0' * 64}",
    }
    settings = f"body: {{preset: datadog, api_key: '{KEY}', site: datadoghq.eu}}"
    message = composed(tmp_path, settings, "gh_oauth_workflow_failed", headers)
    assert message.url == (f"https://webhook-intake.datadoghq.eu/api/v2/webhook/?dd-api-key={KEY}")
    assert message.body == samples.load("gh_oauth_workflow_failed")
    assert headers.items() <= dict(message.headers).items()
    assert set(message.headers) - set(headers) == {
        "webhook-id",
        "webhook-timestamp",
        "relay-attempt",
    }


def test_site_and_tags_as_documented() -> None:
    """Tags are encoded as in Datadog's own example, but that a space is `%20`."""
    options = {
        **OPTIONS,
        "site": "us5.datadoghq.com",
        "tags": 'key1:value1,"key2: value with , comma",key3:value3',
    }
    made = rendered("datadog", "gh_oauth_workflow_failed", options=options)
    documented = "tags=key1%3Avalue1%2C%22key2%3A+value+with+%2C+comma%22%2Ckey3%3Avalue3"
    assert made.url == (
        f"https://webhook-intake.us5.datadoghq.com/api/v2/webhook/?dd-api-key={KEY}&"
        + documented.replace("+", "%20")
    )


def test_tags_by_event_stay_one_parameter() -> None:
    """What a branch is called adds no parameter, and no other key."""
    options = {**OPTIONS, "tags": "team:{{ labels.team or 'none' }},branch:{{ branch }}"}
    payload = a_payload(branch="x&dd-api-key=other#?é")
    made = rendered("datadog", payload, options=options)
    split = urlsplit(made.url)
    assert split.netloc == "webhook-intake.datadoghq.com"
    assert not split.fragment
    assert parse_qsl(split.query) == [
        ("dd-api-key", KEY),
        ("tags", "team:none,branch:x&dd-api-key=other#?é"),
    ]
