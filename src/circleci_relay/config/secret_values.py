"""Every string that must never be seen, gathered from a configuration."""

from __future__ import annotations

import base64
import contextlib
import re
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import SecretStr

from circleci_relay.config import queues
from circleci_relay.config.templates import Template, literals

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from urllib.parse import SplitResult

    from pydantic import BaseModel

    from circleci_relay.config.model import Config, Destination
    from circleci_relay.config.urls import SecretUrl

SHORTEST = 4
"""What is shorter would blot out half of every text, and hides nothing worth hiding."""

_LABEL = re.compile(r"\blabels\.([a-z][a-z0-9_]*)")
_TELLING = re.compile("auth|token|key|secret")
_TELLTALE = 8  # the shortest part of a URL or header that is taken for a secret of its own
_TOKEN_SEGMENT = 16
# What these hold is the same for everyone.
_HARMLESS_HEADERS = frozenset(
    {"accept", "accept-language", "cache-control", "content-language", "content-type", "user-agent"}
)


def known(config: Config, revealed: Iterable[tuple[tuple[str | int, ...], str]]) -> Config:
    """*config* with the secrets in it, and what variables and files *revealed*."""
    found = {value for path, value in revealed if _may_be_secret(path)}
    for source in config.sources.values():
        found.update(secret.value.decode("utf-8", "replace") for secret in source.secrets)
    found.update(each.token.get_secret_value() for each in config.server.admin_tokens.values())
    for destination in config.destinations.values():
        found.update(_of_destination(destination))
    for labels in config.projects.values():
        found.update(_of_labels(labels.values()))
    found.update(_of_used_labels(config))
    found.update(_of_store(config.store.url))
    lines = {line for value in found for line in (value, value.strip(), *value.splitlines())}
    return replace(config, secret_values=frozenset(line for line in lines if len(line) >= SHORTEST))


def _may_be_secret(path: tuple[str | int, ...]) -> bool:
    """Addresses, branches and names are no secrets, though a variable may hold them."""
    if path[:1] in {("routes",), ("notify",)}:
        return False
    return path[:1] != ("server",) or path[1:2] == ("admin_tokens",)


def _of_destination(destination: Destination) -> Iterator[str]:
    yield from _of_address(destination.url)
    if destination.proxy is not None:
        yield from _of_user(urlsplit(destination.proxy.get_secret_value()))
    for name, value in destination.headers.items():
        if name not in _HARMLESS_HEADERS:
            yield from _of_header(value)
    if destination.sign is not None:
        for secret in destination.sign.secrets:
            yield secret.get_secret_value()
            yield secret.get_secret_value().removeprefix("whsec_")
    if destination.body is not None:
        yield from destination.body.secrets
    for name in queues.NAMES:
        yield from _of_settings(getattr(destination, name))


def _of_header(value: SecretStr) -> Iterator[str]:
    text = value.get_secret_value()
    if isinstance(value, Template):
        for literal in literals(text):
            yield from (word for word in literal.split() if len(word) >= _TOKEN_SEGMENT)
        return
    if len(text) < _TELLTALE:
        return
    yield text
    scheme, space, rest = text.partition(" ")
    if space and scheme.isalpha() and len(rest) >= _TELLTALE:
        yield rest  # the token of "Bearer TOKEN"


def _of_settings(settings: BaseModel | None) -> Iterator[str]:
    """What the settings of a queue keep secret."""
    for _, value in settings or ():
        if isinstance(value, SecretStr):
            yield value.get_secret_value()


def _of_labels(values: Iterable[str]) -> Iterator[str]:
    """The URLs among labels are such as destinations have."""
    for value in values:
        if "://" in value:
            with contextlib.suppress(ValueError):
                yield from _of_url(value)
                yield from _of_user(urlsplit(value))


def _of_used_labels(config: Config) -> Iterator[str]:
    """Labels that stand where a secret belongs: in an option that is one, a URL, a token."""
    telling: set[str] = set()
    maybe: set[str] = set()
    for destination in config.destinations.values():
        for secret in destination.body.secrets if destination.body else ():
            telling.update(_LABEL.findall(secret))
        addresses = [destination.url] + [
            value for name, value in destination.headers.items() if _TELLING.search(name)
        ]
        for value in addresses:
            maybe.update(_LABEL.findall(value.get_secret_value()))
    for labels in config.projects.values():
        for name, text in labels.items():
            # A team's or a room's name may stand in a URL too, and in every other text.
            if name in telling or (name in maybe and len(text) >= _TOKEN_SEGMENT):
                yield text


def _of_store(url: str) -> Iterator[str]:
    """The passwords of a database; its user and host are named in messages."""
    parts = urlsplit(url)
    if parts.password:
        yield from (parts.password, unquote(parts.password))
    for name, value in parse_qsl(parts.query):
        if name in {"password", "sslpassword"}:
            yield value


def _of_user(parts: SplitResult) -> Iterator[str]:
    """The user and password of a URL."""
    for word in (parts.username, parts.password):
        if word:
            yield from (word, unquote(word))
    if parts.username or parts.password:
        # As it is sent, and as a proxy that echoes headers shows it; aiohttp sends Latin-1.
        pair = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
        for encoding in ("latin-1", "utf-8"):
            yield base64.b64encode(pair.encode(encoding, "replace")).decode()


def _of_address(url: SecretUrl) -> Iterator[str]:
    text = url.get_secret_value()
    if isinstance(url, Template):
        first, *others = literals(text)
        beyond = re.sub(r"^[a-zA-Z+.-]+://[^/?#]*", "", first)
        for literal in (beyond, *others):
            words = re.split(r"[/?&=#]", literal)
            yield from (word for word in words if len(word) >= _TOKEN_SEGMENT)
    elif queues.section_of(text) is not None:
        # The path of a queue's URL is its name: no secret, and in many messages.
        parts = urlsplit(text)
        if parts.password:
            # Its user has mostly a name that is a word in many messages: relay, guest.
            yield from (text, parts.password, unquote(parts.password))
        elif parts.username:
            yield from (text, parts.username, unquote(parts.username))
    else:
        yield from _of_url(text)


def _of_url(url: str) -> Iterator[str]:
    parts = urlsplit(url)
    beyond = parts.path + (f"?{parts.query}" if parts.query else "")
    if len(beyond) < _TELLTALE:
        return
    yield url
    yield beyond
    for segment in parts.path.split("/"):
        if len(segment) >= _TOKEN_SEGMENT:
            yield from (segment, unquote(segment))
    for _, value in parse_qsl(parts.query):
        if len(value) >= _TELLTALE:
            yield value
