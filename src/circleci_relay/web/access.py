"""Who may use the admin listener: tokens, and the browsers' same-origin rules."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from hashlib import sha256
from ipaddress import ip_address
from typing import TYPE_CHECKING, Literal

from yarl import URL

if TYPE_CHECKING:
    from collections.abc import Mapping

    from circleci_relay.config.values import Address

Role = Literal["viewer", "operator"]

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})

ANYBODY = "loopback"
"""The name of whoever comes without a token where none is needed."""


class Denied(Exception):  # noqa: N818 -- it is an answer
    """A request that is turned away; *status* is the HTTP answer."""

    def __init__(self, status: int, error: str) -> None:
        super().__init__(error)
        self.status = status
        self.error = error


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks, by the name of the token."""

    name: str
    role: Role


class Access:
    """Judges one request after the other under the settings in force."""

    def __init__(
        self,
        *,
        listen: Address,
        tokens: Mapping[str, tuple[str, Role]],
        external_url: str | None = None,
    ) -> None:
        """*listen* is `server.admin`; *tokens* maps names to secrets and roles."""
        self._open = listen.loopback and not tokens
        # A digest each: the comparison's time tells not even a token's length.
        self._tokens = [
            (_digest(secret), Caller(name=name, role=role))
            for name, (secret, role) in tokens.items()
        ]
        self._wildcard = listen.wildcard
        external = URL(external_url) if external_url else None
        self._origin = str(external.origin()) if external is not None else None
        self._hosts = LOOPBACK | {listen.host.lower()}
        if external is not None and external.host:
            self._hosts |= {external.host.lower()}

    def check_host(self, host: str | None) -> None:
        """
        Raise `Denied` unless *host*, the header, is one of ours.

        Else a page could reach a listener on loopback by a name of its own that it lets
        resolve to 127.0.0.1 (DNS rebinding). Such a page never has an address for a name,
        so where we listen on every interface any address will do.
        """
        name = _host_name(host or "")
        if name in self._hosts or (self._wildcard and _is_address(name)):
            return
        raise Denied(403, "this host is not known here; set server.external_url to its URL")

    def check_origin(self, origin: str | None, host: str | None) -> None:
        """Raise `Denied` if a browser says that another site's page asks for a change."""
        if origin is None or origin == self._origin:
            return
        scheme, _, authority = origin.partition("://")
        if scheme in {"http", "https"} and authority.lower() == (host or "").lower():
            return
        raise Denied(403, "changes are not taken from pages of another origin")

    def identify(self, authorization: str | None, *, changes: bool) -> Caller:
        """
        Return who sent the header *authorization*; raise `Denied` if nobody known did.

        What *changes* anything takes an operator.
        """
        if self._open:
            return Caller(name=ANYBODY, role="operator")
        scheme, _, token = (authorization or "").partition(" ")
        given = _digest(token.strip()) if scheme.lower() == "bearer" else b""
        found: Caller | None = None
        for digest, caller in self._tokens:
            if hmac.compare_digest(digest, given):  # all are compared, whichever fits
                found = caller
        if found is None:
            raise Denied(401, "a token is needed: authorization: Bearer TOKEN")
        if changes and found.role != "operator":
            raise Denied(403, "the token's role is viewer; this takes an operator")
        return found


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _host_name(host: str) -> str:
    """Return *host* without its port, and an IPv6 address without brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()


def _digest(token: str) -> bytes:
    return sha256(token.encode("utf-8", "surrogateescape")).digest()
