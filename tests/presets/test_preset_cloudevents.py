"""CloudEvents: every mode read back by the official SDK."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from cloudevents.v1.http import from_http

from circleci_relay.rendering import preset
from support.composed import composed
from support.presets import EVENT, SAMPLES, a_payload, body_of, rendered, said
from support.rounds import rounds

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from cloudevents.core.base import BaseCloudEvent

    from circleci_relay.rendering.recipe import Made

URL = "https://bus.example.com/events"
FORBIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
HEADER = re.compile(r"[\x21\x23-\x7e]+")  # printable ASCII without the space and the quote


def read(headers: Mapping[str, str], body: bytes) -> BaseCloudEvent:
    """What the SDK reads, once both its generations have; the older leaves headers encoded."""
    old = from_http(dict(headers), body)
    event = from_http_event(HTTPMessage(dict(headers), body))
    assert (old["id"], old["type"]) == (event.get_id(), event.get_type())
    return event


def structured(made: Made) -> BaseCloudEvent:
    """The event in an envelope."""
    assert made.body is not None
    assert made.content_type == "application/cloudevents+json; charset=utf-8"
    return read({"content-type": made.content_type}, made.body)


def binary(made: Made, body: bytes) -> BaseCloudEvent:
    """The event of the original bytes with headers."""
    assert made.body is None
    return read({"content-type": "application/json", **made.headers}, body)


def check(name: str, event: BaseCloudEvent) -> None:
    """What the specification says of attributes, which the SDK leaves to others."""
    for key, value in event.get_attributes().items():
        assert re.fullmatch("[a-z0-9]{1,20}", key), name
        if isinstance(value, str):
            assert value, f"{name}: {key}"
            assert not FORBIDDEN.search(value), f"{name}: {key}"
    source = event.get_source()
    assert re.fullmatch(r"https://app\.circleci\.com/pipelines[!-~]*", source), name
    assert event.get_time() is not None, name


def test_every_event_is_read_back_whole(payloads: Mapping[str, Any]) -> None:
    """Whatever was sent or left out, in structured mode."""
    for name, made in rounds("cloudevents", payloads, {}, url=URL):
        check(name, structured(made))


def test_binary_mode_leaves_the_bytes_alone(payloads: Mapping[str, Any]) -> None:
    """The attributes are those of structured mode, the data are CircleCI's bytes."""
    pairs = zip(
        rounds("cloudevents-binary", payloads, {}, url=URL),
        rounds("cloudevents", payloads, {}, url=URL),
        strict=True,
    )
    for (name, made), (_, other) in pairs:
        body = body_of(payloads[name.partition(",")[0] if name not in payloads else name])
        event, wrapped = binary(made, body), structured(other)
        check(name, event)
        assert all(HEADER.fullmatch(value) for value in made.headers.values()), name
        assert event.get_attributes() == wrapped.get_attributes(), name
        assert event.get_data() == json.loads(body), name


def test_an_envelope_in_full() -> None:
    """Every attribute, and the payload as it came."""
    made = rendered("cloudevents", "gh_oauth_job_failed", change="broken", url=URL)
    assert said(made) == {
        "specversion": "1.0",
        "id": f"{EVENT}-chat",
        "type": "com.circleci.job-completed",
        "source": "https://app.circleci.com/pipelines/github/acme-rockets/launchpad",
        "subject": "build-and-ship/unit-tests",
        "time": "2026-03-02T09:15:44.889145Z",
        "datacontenttype": "application/json",
        "status": "failed",
        "outcome": "bad",
        "change": "broken",
        "branch": "main",
        "revision": "9c1f0d2ab3e4c5d6f7a8091b2c3d4e5f60718293",
        "relayid": "01KJPZK3YG6WQ4S0V5J4X7T2A0",
        "data": json.loads(body_of("gh_oauth_job_failed")),
    }


def test_headers_in_full() -> None:
    """Percent-encoded as the HTTP binding has it, and none where there is nothing to say."""
    payload = a_payload(branch="Euro € 😀 100%", slug="gh/acme/new port")
    made = rendered("cloudevents-binary", payload, url=URL)
    assert made.headers == {
        "ce-specversion": "1.0",
        "ce-id": f"{EVENT}-chat",
        "ce-type": "com.circleci.workflow-completed",
        "ce-source": "https://app.circleci.com/pipelines/gh/acme/new%2520port",
        "ce-subject": "build-and-ship",
        "ce-time": "2026-03-02T09:15:44.931204Z",
        "ce-status": "failed",
        "ce-outcome": "bad",
        "ce-branch": "Euro%20%E2%82%AC%20%F0%9F%98%80%20100%25",
        "ce-revision": "9c1f0d2ab3e4c5d6f7a8091b2c3d4e5f60718293",
        "ce-relayid": "01KJPZK3YG6WQ4S0V5J4X7T2A0",
    }


def test_binary_mode_on_its_way(tmp_path: Path) -> None:
    """What the relay sends is an event of CircleCI's bytes, its headers beside it."""
    headers = {"content-type": "application/json", "circleci-signature": f"v1={'0' * 64}"}
    settings = f"url: {URL}, body: {{preset: cloudevents-binary}}"
    message = composed(tmp_path, settings, "gh_oauth_job_failed", headers)
    assert headers.items() <= dict(message.headers).items()
    assert message.body == body_of("gh_oauth_job_failed")
    event = read(message.headers, message.body)
    assert event.get_id() == message.headers["webhook-id"]
    assert event.get_subject() == "build-and-ship/unit-tests"


def test_a_batch_is_a_list_of_envelopes(payloads: Mapping[str, Any]) -> None:
    """One of each event, in the order they came, each with its own id."""
    assert preset.find("cloudevents-batch").groups
    rest = [payload for name, payload in payloads.items() if name.startswith("bare")][:40]
    first, *others = SAMPLES
    made = rendered("cloudevents-batch", first, others=[*others, *rest], url=URL)
    assert made.content_type == "application/cloudevents-batch+json; charset=utf-8"
    envelopes = said(made)
    assert len(envelopes) == len(SAMPLES) + 40
    for name, envelope in zip([*SAMPLES, *map(str, rest)], envelopes, strict=True):
        body = json.dumps(envelope).encode()
        check(name, read({"content-type": "application/cloudevents+json"}, body))
    [alone] = said(rendered("cloudevents-batch", first, url=URL))
    assert alone["id"] == "01KJPZK3YG6WQ4S0V5J4X7T2A0-chat"
    assert alone["data"] == json.loads(body_of(first))


@pytest.mark.parametrize("name", ["cloudevents", "cloudevents-binary"])
def test_prefix_and_server(name: str) -> None:
    """Both modes take them."""
    options = {"prefix": "com.example.ci", "server": "https://circleci.example.com/pipelines"}
    made = rendered(name, "gh_oauth_workflow_success", options=options, url=URL)
    event = structured(made) if made.body else binary(made, body_of("gh_oauth_workflow_success"))
    assert event.get_type() == "com.example.ci.workflow-completed"
    assert event.get_source() == (
        "https://circleci.example.com/pipelines/github/acme-rockets/launchpad"
    )
