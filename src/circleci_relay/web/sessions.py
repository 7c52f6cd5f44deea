"""
What a browser holds instead of a token: who it is, until when, signed.

Nothing is stored. The keys are derived from the token's own secret, so every replica with the
same configuration knows the session, over restarts too, and none does once the token has
changed. The role is not in it: it is looked up at each request.
"""

from __future__ import annotations

import hmac
import re
import secrets
from base64 import urlsafe_b64encode
from dataclasses import dataclass, replace

LIFE = 12 * 3600
"""Seconds a session lasts; it is renewed once half of them have gone."""

_VALUE = re.compile(r"([a-z0-9_-]{1,63})\.([0-9]{1,12})\.([A-Za-z0-9_-]{22})\.([A-Za-z0-9_-]{43})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One login."""

    name: str  #: of the token
    expires: int  #: seconds since the epoch
    nonce: str  #: kept when it is renewed, so that forms already shown hold

    @classmethod
    def begun(cls, name: str, *, now: float) -> Session:
        """Return a new session of the token *name*."""
        return cls(name=name, expires=int(now) + LIFE, nonce=_text(secrets.token_bytes(16)))

    def renewed(self, *, now: float) -> Session | None:
        """Return the session that follows this one; None while it is young."""
        if self.expires - now > LIFE / 2:
            return None
        return replace(self, expires=int(now) + LIFE)


class Seal:
    """Signs the sessions of one token, and knows them again."""

    def __init__(self, secret: str) -> None:
        # As HKDF (RFC 5869) does: extract once, expand to one key for each use.
        root = _mac(b"circleci-relay admin session", secret.encode("utf-8", "surrogateescape"))
        self._session_key = _mac(root, b"session\x01")
        self._csrf_key = _mac(root, b"csrf\x01")

    def seal(self, session: Session) -> str:
        """Return what the cookie holds."""
        return f"{session.name}.{session.expires}.{session.nonce}.{self._signature(session)}"

    def csrf(self, session: Session) -> str:
        """Return what a form or header must carry along with *session*."""
        return _text(_mac(self._csrf_key, f"{session.name}|{session.nonce}".encode()))

    def verify(self, session: Session, signature: str, *, now: float) -> bool:
        """Whether *session* is one of ours and not over."""
        signed = hmac.compare_digest(self._signature(session).encode(), signature.encode())
        return signed and now < session.expires

    def _signature(self, session: Session) -> str:
        what = f"{session.name}|{session.expires}|{session.nonce}"
        return _text(_mac(self._session_key, what.encode()))


def parse(value: str) -> tuple[Session, str] | None:
    """Return the session that a cookie claims, and its signature; None if it is no session."""
    found = _VALUE.fullmatch(value)
    if found is None or not value.isascii():
        return None
    name, expires, nonce, signature = found.groups()
    return Session(name=name, expires=int(expires), nonce=nonce), signature


def same(expected: str, given: str) -> bool:
    """Whether two tokens are the same, in constant time; *given* may hold anything."""
    return hmac.compare_digest(expected.encode(), given.encode("utf-8", "surrogatepass"))


def key() -> bytes:
    """Return a random key."""
    return secrets.token_bytes(32)


def tied(key: bytes) -> str:
    """Return the text that goes into forms where there are no sessions, under a process's *key*."""
    return _text(_mac(key, b"csrf\x01"))


def _mac(key: bytes, what: bytes) -> bytes:
    return hmac.digest(key, what, "sha256")


def _text(what: bytes) -> str:
    return urlsafe_b64encode(what).rstrip(b"=").decode()
