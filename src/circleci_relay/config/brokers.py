"""What relay.yaml may say of destinations behind AMQP, NATS and Redis."""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Literal, Self
from urllib.parse import unquote

from pydantic import Field, model_validator

from circleci_relay.config import fields, values
from circleci_relay.config.base import Strict
from circleci_relay.config.containers import MaybeEmpty, OneOrMany
from circleci_relay.config.discretion import shown
from circleci_relay.config.fields import Flag, Reads, ValueFaults

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_AS_WRITTEN = {"type": ["string", "number", "boolean"], "minLength": 1}
_LONGEST_AMQP_NAME = 255
"""AMQP 0-9-1, section 4.2.5.3: a short string's length is one byte."""


def _plain(text: str) -> str:
    if not text or _CONTROLS.search(text):
        raise ValueError("is empty or holds control characters; wanted a line of text")
    return text


def _amqp_name(text: str) -> str:
    if _CONTROLS.search(text) or len(text.encode()) > _LONGEST_AMQP_NAME:
        raise ValueError("holds control characters or is longer than 255 bytes; wanted a name")
    return text


def _stream(text: str) -> str:
    if not re.fullmatch(r"[^\s.*>/\\\x00-\x1f\x7f]{1,255}", text):
        raise ValueError(f"{shown(text)} is no stream's name; it has no space, and none of . * > /")
    return text


def _subjects(text: str) -> str:
    if re.search(r"[\s\x00-\x1f\x7f]", text) or "" in text.split("."):
        raise ValueError(f"{shown(text)} is no subject; wanted one such as circleci.>")
    return text


def _subject_template(text: str) -> str:
    if _plain(text).startswith("$"):
        raise ValueError("begins with $, as the server's own subjects do; begin it with another")
    return text


def _argument(text: str) -> int | bool | str:
    if re.fullmatch(r"-?[0-9]{1,18}", text):
        return int(text)
    return {"true": True, "false": False}.get(text.lower(), text)


def _reads(parse: Callable[[str], object], wanted: str) -> Reads:
    return Reads(parse=parse, wanted=wanted, standin="unknown", schema=dict(_AS_WRITTEN))


Template = Annotated[str, _reads(_plain, "a line of text")]
AmqpName = Annotated[
    str,
    Reads(
        parse=_amqp_name,
        wanted="a name",
        standin="unknown",
        schema={"type": ["string", "number", "boolean"]},
    ),
]
Stream = Annotated[str, _reads(_stream, "a stream's name")]


class AmqpDeclare(Strict):
    """What is declared on each new connection, as the broker then has to have it."""

    type: Annotated[
        Literal["topic", "direct", "fanout", "headers"],
        fields.choice("topic", "direct", "fanout", "headers"),
    ] = "topic"
    """The exchange's; of no effect where `exchange` is the default exchange."""
    queue: AmqpName | None = None
    """A queue to be bound to the exchange; without it, only the exchange is declared."""
    keys: Annotated[tuple[AmqpName, ...], OneOrMany()] | None = None
    """What the queue is bound by; without it `#` for a topic exchange."""
    durable: Flag = True
    """Whether exchange and queue outlive a restart of the broker."""
    arguments: Annotated[
        dict[AmqpName, Annotated[int | bool | str, _reads(_argument, "a value")]], MaybeEmpty()
    ] = Field(default={})
    """The queue's arguments, such as `x-queue-type: quorum`."""

    @model_validator(mode="after")
    def _bound(self) -> Self:
        faults: list[tuple[tuple[str | int, ...], str]] = []
        if self.queue is None and self.keys is not None:
            faults.append((("keys",), "binds nothing without queue; add queue: NAME"))
        if self.queue is None and self.arguments:
            faults.append((("arguments",), "are those of a queue; add queue: NAME"))
        if faults:
            raise ValueFaults(faults)
        return self


class Amqp(Strict):
    """Where on an AMQP 0-9-1 broker, such as RabbitMQ, messages go."""

    exchange: AmqpName = ""
    """Empty for the default exchange, which takes the routing key for a queue's name."""
    routing_key: Template = "{{ type }}"
    """A template; at most 255 bytes once rendered."""
    declare: Annotated[AmqpDeclare, MaybeEmpty()] | None = None
    """The exchange and queue to declare; null where they are somebody else's."""

    @model_validator(mode="after")
    def _routed(self) -> Self:
        if self.declare is None:
            return self
        if not self.exchange and self.declare.queue is None:
            raise ValueFaults([(("declare",), "declares nothing; add exchange: NAME, or queue")])
        direct = self.exchange and self.declare.queue and self.declare.type == "direct"
        if direct and not self.declare.keys:
            raise ValueFaults([(("declare",), "has a direct exchange; add keys: [...]")])
        return self

    def templates(self) -> Mapping[str, str]:
        """Texts rendered for each message, by the name `Message.address` has them under."""
        return {"routing_key": self.routing_key}


class NatsDeclare(Strict):
    """The stream to add where there is none of its name; one that is there stays as it is."""

    subjects: Annotated[tuple[Annotated[str, _reads(_subjects, "a subject")], ...], OneOrMany()]
    """What it takes, such as `circleci.>`."""
    max_age: Annotated[float, fields.duration(1, 3650 * 86400, "1s to 3650d")] | None = None
    """How long it keeps messages; null for ever."""
    max_bytes: Annotated[int, fields.size(1 << 10, 1 << 60, "1KiB or more")] | None = None
    """How much it keeps; the oldest go first. Null for no such limit."""
    duplicate_window: Annotated[float, fields.duration(0.1, 3650 * 86400, "100ms to 3650d")] = (
        3600.0
    )
    """For how long it knows a message again; `max_age` where that is shorter."""
    replicas: Annotated[int, fields.integer(1, 5)] = 1
    """On how many servers of a cluster each message is kept."""


class Nats(Strict):
    """Where in NATS JetStream messages go."""

    subject: Annotated[str, _reads(_subject_template, "a subject")] = "circleci.{{ type }}"
    """A template; what a subject cannot hold becomes `_`."""
    stream: Stream | None = None
    """The stream that must take it; without it, whichever has the subject."""
    declare: NatsDeclare | None = None
    """The stream to add; null where it is somebody else's."""

    @model_validator(mode="after")
    def _named(self) -> Self:
        if self.declare is not None and self.stream is None:
            raise ValueFaults([(("declare",), "needs the stream's name; add stream: NAME")])
        return self

    def templates(self) -> Mapping[str, str]:
        """Texts rendered for each message, by the name `Message.address` has them under."""
        return {"subject": self.subject}


class Redis(Strict):
    """Where in Redis messages go."""

    stream: Template = "circleci"
    """The stream's key; a template."""
    max_length: Annotated[int, fields.integer(1, 1 << 53)] | None = 100_000
    """About how many entries it keeps; the oldest go first. Null for no limit."""
    deduplicate: Annotated[float, fields.duration(1, 3650 * 86400, "1s to 3650d")] | None = 86400.0
    """For how long a message is not added again; null to add every repeat."""
    wait: Annotated[int, fields.integer(0, 100)] = 0
    """How many replicas must have it, too, before it counts as taken."""

    def templates(self) -> Mapping[str, str]:
        """Texts rendered for each message, by the name `Message.address` has them under."""
        return {"stream": self.stream}


def _broker(text: str, example: str, path: str) -> str:
    parts = values.split(text)
    if not parts.hostname:
        raise ValueError(f"has no host; wanted a URL such as {example}")
    if parts.query or parts.fragment:
        raise ValueError(f"holds ? or #; wanted a URL such as {example}, or write %3F and %23")
    if not re.fullmatch(path, parts.path):
        raise ValueError(f"has another path than is known; wanted a URL such as {example}")
    authority = parts.netloc.rpartition("@")[0]
    if re.search(r"%(?![0-9A-Fa-f]{2})", authority + parts.path) or "@" in authority:
        raise ValueError("has a user, password or path that is not percent-encoded")
    if _CONTROLS.search(unquote(authority + parts.path)):
        raise ValueError("holds a control character; wanted a URL without")
    return text


def amqp_url(text: str) -> str:
    """`amqp://user:password@host:5672/vhost`."""
    return _broker(text, "amqps://user:password@host/vhost", "(/[^/]*)?")


def nats_url(text: str) -> str:
    """`nats://host:4222`, with a user and password or a token."""
    return _broker(text, "nats+tls://user:password@host", "/?")


def redis_url(text: str) -> str:
    """`redis://user:password@host:6379/0`."""
    return _broker(text, "rediss://user:password@host/0", "(/[0-9]{0,5})?")


URL_READERS: Mapping[str, Callable[[str], str]] = MappingProxyType(
    {
        "amqp": amqp_url,
        "amqps": amqp_url,
        "nats": nats_url,
        "nats+tls": nats_url,
        "redis": redis_url,
        "rediss": redis_url,
    }
)
"""By URL scheme: takes a URL, returns it; raises `ValueError`, which repeats nothing of it."""

SECTIONS: Mapping[str, str] = MappingProxyType(
    {
        "amqp": "amqp",
        "amqps": "amqp",
        "nats": "nats",
        "nats+tls": "nats",
        "redis": "redis",
        "rediss": "redis",
    }
)
"""By URL scheme: the destination setting that belongs to it, and the package's extra."""
