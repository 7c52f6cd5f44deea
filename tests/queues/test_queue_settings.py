"""What relay.yaml may say of AMQP, NATS and Redis, and which transport it comes to."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from circleci_relay.config import brokers
from circleci_relay.delivery.queues import TRANSPORTS
from circleci_relay.delivery.transports import transport_of
from support.queueing import destination

BAD_URLS = {
    "amqp://": "no host",
    "amqp://u:secret@host/a/b": "another path",
    "amqps://u:sec%ret@host/": "not percent-encoded",
    "amqps://u:sec@ret@host/": "not percent-encoded",
    "amqp://u:secret@host/v?heartbeat=1": "holds ?",
    "amqp://u:secret@host:0": "port 0",
    "amqp://u:secret@host:99999": "port",
    "amqp://u:sec%0aret@host": "control character",
    "nats://u:secret@host/path": "another path",
    "nats+tls://u:sec ret@host": "space",
    "redis://:secret@host/zero": "another path",
    "rediss://:secret@host/0#x": "holds ? or #",
}


@pytest.mark.parametrize("url", BAD_URLS)
def test_a_url_that_will_not_do(url: str) -> None:
    """It is refused, with a reason, and nothing of it is repeated."""
    with pytest.raises(ValueError, match=r".") as caught:
        brokers.URL_READERS[url.partition(":")[0]](url)
    assert BAD_URLS[url] in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "amqp://host",
        "amqps://user:p%40ss@host:5671/%2F",
        "amqp://user:pw@[::1]:5672/vhost",
        "nats://token@host:4222",
        "nats+tls://user:pw@host",
        "redis://host",
        "rediss://user:pw@host:6380/15",
    ],
)
def test_a_url_has_its_transport(url: str) -> None:
    """Each scheme loads its module, and connects nowhere yet."""
    made = transport_of(destination(url))
    extra, module, name = TRANSPORTS[url.partition(":")[0]]
    assert extra in module
    assert type(made).__name__ == name


BAD_SETTINGS: list[tuple[str, str, dict[str, Any], str]] = [
    ("amqp://host", "amqp", {"routing_key": ""}, "is empty"),
    ("amqp://host", "amqp", {"exchange": "x" * 256}, "longer than 255 bytes"),
    ("amqp://host", "amqp", {"declare": {}}, "declares nothing"),
    ("amqp://host", "amqp", {"exchange": "e", "declare": {"type": "other"}}, "none of"),
    ("amqp://host", "amqp", {"exchange": "e", "declare": {"keys": "k"}}, "binds nothing"),
    ("amqp://host", "amqp", {"exchange": "e", "declare": {"arguments": {"a": 1}}}, "of a queue"),
    (
        "amqp://host",
        "amqp",
        {"exchange": "e", "declare": {"type": "direct", "queue": "q"}},
        "add keys",
    ),
    ("nats://host", "nats", {"subject": "$JS.API.{{ branch }}"}, "begins with $"),
    ("nats://host", "nats", {"stream": "a.b"}, "no stream's name"),
    ("nats://host", "nats", {"declare": {"subjects": ["a"]}}, "add stream"),
    ("nats://host", "nats", {"stream": "s", "declare": {"subjects": ["a..b"]}}, "no subject"),
    ("redis://host", "redis", {"stream": ""}, "is empty"),
    ("redis://host", "redis", {"max_length": "0"}, "whole number from 1"),
    ("redis://host", "redis", {"deduplicate": "10ms"}, "1s to"),
]


@pytest.mark.parametrize(("url", "section", "settings", "words"), BAD_SETTINGS)
def test_a_setting_that_will_not_do(
    url: str, section: str, settings: dict[str, Any], words: str
) -> None:
    """It is refused, with a reason."""
    said: dict[str, Any] = {section: settings}
    with pytest.raises(ValidationError) as caught:
        destination(url, **said)
    assert words in str(caught.value)


def test_arguments_of_a_queue_have_types() -> None:
    """A broker takes a number for a number, and not for a text of digits."""
    declare = {
        "queue": "q",
        "arguments": {"x-max-length": "10", "x-queue-type": "quorum", "x-single": "true"},
    }
    made = destination("amqp://host", amqp={"declare": declare}).amqp
    assert made is not None
    assert made.declare is not None
    assert made.declare.arguments == {
        "x-max-length": 10,
        "x-queue-type": "quorum",
        "x-single": True,
    }
