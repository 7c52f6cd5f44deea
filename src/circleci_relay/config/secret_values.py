"""Every string that must never be seen, gathered from a configuration."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from urllib.parse import SplitResult

    from circleci_relay.config.model import Config, Destination

SHORTEST = 4
"""What is shorter would blot out half of every text, and hides nothing worth hiding."""

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
    found.update(_of_store(config.store.url))
    lines = {line for value in found for line in (value, value.strip(), *value.splitlines())}
    return replace(config, secret_values=frozenset(line for line in lines if len(line) >= SHORTEST))


def _may_be_secret(path: tuple[str | int, ...]) -> bool:
    """Addresses, branches and names are no secrets, though a variable may hold them."""
    if path[:1] == ("routes",):
        return False
    return path[:1] != ("server",) or path[1:2] == ("admin_tokens",)


def _of_destination(destination: Destination) -> Iterator[str]:
    yield from _of_url(destination.url.get_secret_value())
    if destination.proxy is not None:
        yield from _of_user(urlsplit(destination.proxy.get_secret_value()))
    for name, value in destination.headers.items():
        text = value.get_secret_value()
        if name in _HARMLESS_HEADERS or len(text) < _TELLTALE:
            continue
        yield text
        scheme, space, rest = text.partition(" ")
        if space and scheme.isalpha() and len(rest) >= _TELLTALE:
            yield rest  # the token of "Bearer TOKEN"
    if destination.sign is not None:
        for secret in destination.sign.secrets:
            yield secret.get_secret_value()
            yield secret.get_secret_value().removeprefix("whsec_")


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
