"""CircleCI's webhook signatures: make them, check them, and find which secret fits."""

# CircleCI docs, "Outbound webhooks", section "Validate outbound webhooks".
from __future__ import annotations

import hmac
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from circleci_relay.errors import BadSignature

if TYPE_CHECKING:
    from collections.abc import Iterable

HEADER = "circleci-signature"
"""The header's name, in lower case."""

# No server lets a longer header through; it bounds the work a forger can ask for.
_LONGEST_HEADER = 8192
_V1 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """One secret that CircleCI may have signed with."""

    name: str  #: what metrics and logs call it
    group: str  #: the path segment that names it; NAME and NAME.next share the group NAME
    value: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if not self.value:
            # Anybody can sign with the empty key.
            raise ValueError(f"the secret {self.name} is empty")


def sign(body: bytes, secret: bytes) -> str:
    """The header's value that CircleCI would send with *body*."""
    return f"v1={_digest(body, secret).hex()}"


def verify(body: bytes, header: str | None, *, secret: bytes) -> None:
    """
    Raise `BadSignature` unless *header* carries a v1 signature of *body*.

    Only v1 is looked at: honouring whichever version the sender names would let a forger
    choose the weakest.
    """
    if not _fits(body, secret, _given(header)):
        raise BadSignature(f"{HEADER} does not match the body")


class Keyring:
    """
    The secrets of one source.

    It remembers which one fitted last and tries that first: of forty secrets behind one
    path, the one in use costs one HMAC.
    """

    def __init__(self, secrets: Iterable[Secret]) -> None:
        self._secrets = tuple(secrets)
        # Whole tuples are swapped, never changed, so that threads may share a keyring.
        self._likeliest = self._secrets
        self._groups: dict[str, tuple[Secret, ...]] = {}
        for secret in self._secrets:
            self._groups[secret.group] = (*self._groups.get(secret.group, ()), secret)

    def __repr__(self) -> str:
        return f"Keyring({', '.join(self.names)})"

    @property
    def names(self) -> tuple[str, ...]:
        """The secrets' names, in the order given."""
        return tuple(secret.name for secret in self._secrets)

    def has_group(self, group: str) -> bool:
        """Whether some secret applies where the path's last segment is *group*."""
        return group in self._groups

    def verify(self, body: bytes, header: str | None, *, group: str | None = None) -> str:
        """
        The name of the secret that *body* was signed with.

        With *group*, only that group's secrets are tried. Raises `BadSignature`.
        """
        given = _given(header)  # before any HMAC: a missing header costs nothing
        secrets = self._likeliest if group is None else self._groups.get(group, ())
        for secret in secrets:
            if _fits(body, secret.value, given):
                if secret is not secrets[0]:
                    self._prefer(secret, group)
                return secret.name
        raise BadSignature(f"{HEADER} does not match the body")

    def _prefer(self, secret: Secret, group: str | None) -> None:
        before = self._likeliest if group is None else self._groups[group]
        after = (secret, *(other for other in before if other is not secret))
        if group is None:
            self._likeliest = after
        else:
            self._groups[group] = after


def _given(header: str | None) -> list[bytes]:
    """The v1 digests in *header*; `BadSignature` where it has none that could be one."""
    if header is None:
        raise BadSignature(f"{HEADER} is missing")
    if len(header) > _LONGEST_HEADER:
        raise BadSignature(f"{HEADER} is too long")
    found = []
    for part in header.split(","):
        version, _, digest = part.partition("=")
        # The pattern lets ASCII through and nothing else, so nothing below can raise.
        if version.strip() == "v1" and _V1.fullmatch(digest := digest.strip()):
            found.append(bytes.fromhex(digest))
    if not found:
        raise BadSignature(f"{HEADER} carries no v1 signature")
    return found


def _fits(body: bytes, secret: bytes, given: list[bytes]) -> bool:
    expected = _digest(body, secret)
    return any(hmac.compare_digest(digest, expected) for digest in given)


def _digest(body: bytes, secret: bytes) -> bytes:
    return hmac.digest(secret, body, "sha256")
