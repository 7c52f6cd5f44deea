"""A message as Amazon SQS and SNS take it: text, attributes, a group."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from circleci_relay.delivery.transport import Undeliverable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from circleci_relay.config.aws import Place

LARGEST = 1 << 20
"""
Bytes of a message with its attributes; a queue or topic may take less, and says so itself.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html
"""

MOST_ATTRIBUTES = 10
"""https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html"""

REST = "relay-headers"
"""The attribute that holds, as a JSON object, headers that have no attribute of their own."""

ENCODING = "content-transfer-encoding"
"""The attribute that tells, by `base64`, that the body could not go as text."""

FIRST = (
    "content-type",
    "webhook-id",
    "webhook-timestamp",
    "relay-attempt",
    "circleci-event-type",
    "circleci-signature",
    "webhook-signature",
)
"""Headers that get an attribute of their own before others do."""

_MOST_NAMED = 128
# SQS and SNS: not AWS. or Amazon. in front, no dot at either end nor two in a row.
_ATTRIBUTE = re.compile(r"(?!aws\.|amazon\.)[a-z0-9_-]+(\.[a-z0-9_-]+)*")
_FOREIGN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_UNNAMEABLE = re.compile(r"[^\x21-\x7e]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """A message as both services take it."""

    text: str
    attributes: Mapping[str, str]


def pack(body: bytes, headers: Mapping[str, str]) -> Parcel:
    """
    Return *body* as text and *headers* as attributes; raise `Undeliverable` if they cannot go.

    A body that is no text the services take goes as base64, since anyone who can push can
    put such a character into a commit's subject, and must not stop the message by it.
    """
    if not body:
        raise Undeliverable("the message is empty, which is not taken there")
    text = _text(body)
    encoded = {} if text is not None else {ENCODING: "base64"}
    if text is None:
        text = base64.b64encode(body).decode()
    attributes = encoded | _attributes(headers, MOST_ATTRIBUTES - len(encoded))
    size = len(text.encode()) + sum(
        len(name) + len("String") + len(value.encode()) for name, value in attributes.items()
    )
    if size > LARGEST:
        raise Undeliverable(f"the message has {size} bytes with its attributes; 1 MiB is the most")
    return Parcel(text=text, attributes=attributes)


def _text(body: bytes) -> str | None:
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return None
    return None if _FOREIGN.search(text) else text


def _attributes(headers: Mapping[str, str], room: int) -> dict[str, str]:
    """The headers, each by itself as long as there is room, and the rest as one JSON object."""
    wanted = {name: headers[name] for name in FIRST if name in headers}
    wanted |= {name: value for name, value in headers.items() if name not in wanted}
    fit = {name: value for name, value in wanted.items() if _fits(name, value)}
    own = dict([*fit.items()][: room if len(fit) == len(wanted) <= room else room - 1])
    rest = {name: value for name, value in wanted.items() if name not in own and value}
    return {**own, REST: json.dumps(rest)} if rest else own


def _fits(name: str, value: str) -> bool:
    return (
        bool(value)
        and len(name) <= 256  # noqa: PLR2004 - both services' own limit
        and bool(_ATTRIBUTE.fullmatch(name))
        and name != REST
    )


def typed(attributes: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """*attributes* as the services want them written."""
    return {
        name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()
    }


def group_of(text: str) -> str:
    """
    *text* as a message group id: up to 128 printable ASCII characters without spaces.

    What is longer ends in a digest, so that different groups stay different.
    """
    name = _UNNAMEABLE.sub("_", text.strip()) or "none"
    if len(name) <= _MOST_NAMED:
        return name
    digest = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:32]
    return f"{name[: _MOST_NAMED - 33]}-{digest}"


def deduplication_of(webhook_id: str) -> str:
    """*webhook_id*, or its digest where it does not fit."""
    if webhook_id and len(webhook_id) <= _MOST_NAMED and not _UNNAMEABLE.search(webhook_id):
        return webhook_id
    return hashlib.sha256(webhook_id.encode("utf-8", "replace")).hexdigest()


def fifo_of(place: Place, *, group: str, asked: bool, webhook_id: str) -> dict[str, str]:
    """What a FIFO queue or topic wants besides; of others, a group only where it was asked for."""
    named = {"MessageGroupId": group_of(group)} if place.fifo or asked else {}
    if place.fifo:
        named["MessageDeduplicationId"] = deduplication_of(webhook_id)
    return named
