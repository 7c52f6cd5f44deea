"""The seam between one attempt and what carries it: HTTP, or a queue."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from circleci_relay.model import Result


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What is sent: complete, whatever carries it."""

    url: str  #: where to; with everything secret in it
    headers: Mapping[str, str]  #: names in lower case; the values are printable Latin-1
    body: bytes
    address: Mapping[str, str] = field(default_factory=dict)  #: a queue's own: topic, key ...


@dataclass(slots=True)
class Answer:
    """What has come of an answer so far; a queue has no status and says nothing."""

    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    excerpt: bytearray = field(default_factory=bytearray)  #: the first bytes of its body


class Undeliverable(Exception):  # noqa: N818 - says what the message is
    """The message will never be taken, however often it is tried; says why, without secrets."""


class Throttled(Exception):  # noqa: N818 - says what the sender is
    """The other side wants fewer messages; says why, without secrets."""


class Transport(Protocol):
    """
    Carries messages to one destination, over connections of its own.

    It makes them when they are needed, and anew when they are lost.
    Sets no timeout: whoever calls cancels what takes too long, and the transport must be
    fit for the next message afterwards. Several messages are sent at once.
    """

    async def send(self, message: Message, answer: Answer) -> None:
        """
        Hand *message* over and return once it is known to be taken; for a queue: confirmed.

        Raises `Undeliverable`, `Throttled`, or whatever the library raises; what has come
        of an answer by then stands in *answer*.
        """

    def explain(self, fault: Exception) -> tuple[Result, str]:
        """What *fault*, raised by `send`, means, in words without URL, user or password."""

    async def close(self) -> None:
        """Close the connections; a message under way is lost."""
