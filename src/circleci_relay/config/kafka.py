"""What relay.yaml may say of destinations behind Kafka."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import unquote

from circleci_relay.config import fields
from circleci_relay.config.base import Strict

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PORT = 9092
"""Where a broker listens if its URL does not tell."""

_AS_WRITTEN: dict[str, Any] = {"type": ["string", "number", "boolean", "null"]}
_Text = Annotated[
    str, fields.Reads(parse=str, wanted="text", standin="unknown", schema=_AS_WRITTEN)
]
_MECHANISMS = ("plain", "scram-sha-256", "scram-sha-512")


class Kafka(Strict):
    """Where in Kafka messages go."""

    topic: _Text = "circleci"
    """The topic; what no topic's name can hold becomes `.` for `/`, else `_`."""
    key: _Text = "{{ project }}"
    """The key: messages of one key stay in order in one partition. Empty for no key."""
    mechanism: Annotated[
        Literal["plain", "scram-sha-256", "scram-sha-512"], fields.choice(*_MECHANISMS)
    ] = "plain"
    """How the URL's user and password are proved, if it has them."""

    def templates(self) -> Mapping[str, str]:
        """Texts rendered for each message, by the name `Message.address` has them under."""
        return {"topic": self.topic, "key": self.key}


@dataclass(frozen=True, slots=True, kw_only=True)
class Brokers:
    """Brokers, as a URL names them."""

    hosts: tuple[str, ...]  #: each HOST:PORT
    tls: bool
    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)


_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9_.-]{1,253})(?::([0-9]{1,5}))?")
_USER = re.compile(r"(?:[^%@/?#:]|%[0-9A-Fa-f]{2})+:(?:[^%@/?#:]|%[0-9A-Fa-f]{2})+")
_WANTED = "wanted kafka://HOST:PORT,HOST:PORT or kafka+tls://USER:PASSWORD@HOST:PORT"
_HIGHEST_PORT = 65535


def brokers_of(url: str) -> Brokers:
    """What *url* names; of another, raise what repeats nothing."""
    if not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError(f"holds a space, or what is not printable ASCII; {_WANTED}")
    scheme, separator, rest = url.partition("://")
    if scheme not in {"kafka", "kafka+tls"} or not separator:
        raise ValueError(f"is no URL of Kafka; {_WANTED}")
    who, at, where = rest.removesuffix("/").rpartition("@")
    if at and not _USER.fullmatch(who):
        raise ValueError(
            "has a user and password that cannot be read; write both, and in them @ as %40,"
            " : as %3A, / as %2F, ? as %3F, # as %23 and % as %25"
        )
    if re.search("[/?#]", where):
        raise ValueError("holds more than hosts; name the topic by kafka: {topic: ...}")
    hosts = tuple(map(_host, where.split(",")))
    user, _, password = who.partition(":")
    return Brokers(
        hosts=hosts,
        tls=scheme == "kafka+tls",
        user=unquote(user) if at else None,
        password=unquote(password) if at else None,
    )


def _host(text: str) -> str:
    found = _HOST.fullmatch(text)
    if not found or (found[1] and not 1 <= int(found[1]) <= _HIGHEST_PORT):
        raise ValueError(f"names a host or port that cannot be; {_WANTED}")
    return text if found[1] else f"{text}:{PORT}"


def _read(url: str) -> str:
    brokers_of(url)
    return url


URL_READERS: Mapping[str, Callable[[str], str]] = {"kafka": _read, "kafka+tls": _read}
"""By URL scheme: takes a destination's URL and returns it; a `ValueError` repeats none of it."""

SECTIONS: Mapping[str, str] = {"kafka": "kafka", "kafka+tls": "kafka"}
"""By URL scheme: the destination setting that belongs to it, and the package's extra."""
