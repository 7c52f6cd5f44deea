"""Who may use the admin listener: tokens, sessions, and the browsers' same-origin rules."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from hashlib import sha256
from ipaddress import ip_address
from typing import TYPE_CHECKING, Literal

from aiohttp import web
from yarl import URL

from circleci_relay.web import sessions
from circleci_relay.web.sessions import Seal, Session

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from circleci_relay.config.values import Address

Role = Literal["viewer", "operator"]

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})

ANYBODY = "loopback"
"""The name of whoever comes without a token where none is needed."""


class Denied(Exception):  # noqa: N818 -- it is an answer
    """A request that is turned away; *status* is the HTTP answer."""

    def __init__(
        self, status: int, error: str, *, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(error)
        self.status = status
        self.error = error
        self.headers = dict(headers or {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks, by the name of the token."""

    name: str
    role: Role


CALLER = web.RequestKey("caller", Caller)
"""Who sent a request: `request[CALLER]`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Token:
    """One of `server.admin_tokens`."""

    digest: bytes  # the comparison's time tells not even a token's length
    caller: Caller
    seal: Seal


class Access:
    """Judges one request after the other under the settings in force."""

    def __init__(
        self,
        *,
        listen: Address,
        tokens: Mapping[str, tuple[str, Role]],
        external_url: str | None = None,
        hosts: Iterable[str] = (),
    ) -> None:
        """
        *listen* is `server.admin`; *tokens* maps names to secrets and roles.

        *hosts* are names in lower case that are ours beside those of the two addresses.
        """
        self.open = listen.loopback and not tokens  #: whoever reaches the port is an operator
        self._tokens = {
            name: _Token(
                digest=_digest(secret), caller=Caller(name=name, role=role), seal=Seal(secret)
            )
            for name, (secret, role) in tokens.items()
        }
        self._wildcard = listen.wildcard
        external = URL(external_url) if external_url else None
        self._origin = str(external.origin()) if external is not None else None
        self.https = external is not None and external.scheme == "https"  #: as people see it
        self._hosts = LOOPBACK | {listen.host.lower(), *hosts}
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
        raise Denied(
            403,
            "this host is not known here; set server.external_url to its URL, "
            "or name it in server.admin_hosts",
        )

    def check_origin(self, origin: str | None, host: str | None) -> None:
        """Raise `Denied` if a browser says that another site's page asks for a change."""
        if origin is None or origin == self._origin:
            return
        scheme, _, authority = origin.partition("://")
        if scheme in {"http", "https"} and authority.lower() == (host or "").lower():
            return
        raise Denied(403, "changes are not taken from pages of another origin")

    def caller(self, token: str) -> Caller | None:
        """Return whose *token* it is; None if nobody's."""
        given = _digest(token)
        found: Caller | None = None
        for known in self._tokens.values():
            if hmac.compare_digest(known.digest, given):  # all are compared, whichever fits
                found = known.caller
        return found

    def begin(self, caller: Caller, *, now: float) -> Session:
        """Return a session of *caller*, who has just shown the token."""
        return Session.begun(caller.name, now=now)

    def seal(self, session: Session) -> str:
        """Return what the cookie holds for *session*."""
        return self._tokens[session.name].seal.seal(session)

    def csrf(self, session: Session) -> str:
        """Return what goes into the forms of *session*."""
        return self._tokens[session.name].seal.csrf(session)

    def resume(self, cookie: str, *, now: float) -> tuple[Caller, Session] | None:
        """Return whose session *cookie* holds; None if it is none, over, or its token gone."""
        claimed = sessions.parse(cookie)
        if claimed is None:
            return None
        session, signature = claimed
        token = self._tokens.get(session.name)
        if token is None or not token.seal.verify(session, signature, now=now):
            return None
        return token.caller, session


def check_fetch(site: str | None, mode: str | None, *, changes: bool) -> None:
    """
    Raise `Denied` if a browser says that another site's page is behind the request.

    *site* and *mode* are the headers `sec-fetch-site` and `sec-fetch-mode`, absent where no
    browser asks. A link from elsewhere may be followed, but nothing embedded or sent from there.
    """
    if site in {None, "same-origin", "none"} or (mode == "navigate" and not changes):
        return
    raise Denied(403, "requests are not taken from pages of another origin")


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _host_name(host: str) -> str:
    """Return *host* without its port, an IPv6 address without brackets, a name without its root."""
    if host.startswith("["):
        address, _, port = host[1:].partition("]")
        return "" if port and not port.startswith(":") else address.lower()
    return host.partition(":")[0].lower().removesuffix(".")


def _digest(token: str) -> bytes:
    return sha256(token.encode("utf-8", "surrogateescape")).digest()
