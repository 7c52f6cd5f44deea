"""Secrets that can be told again wherever they turn up, and in whatever form."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, quote_plus, unquote

SHORTEST = 12
"""Characters of a secret's beginning that are already a leak."""


@dataclass
class Marks:
    """Made-up secrets by where they stand; what was said is searched for all of them."""

    by_place: dict[str, str] = field(default_factory=dict)

    def __call__(self, place: str, *, odd: str = "") -> str:
        """
        Return the secret that stands at *place*, the same one each time.

        *odd* is put in its middle: characters that are written otherwise in URLs or JSON.
        """
        number = len(self.by_place)
        made = f"mk{number:02}-{place.replace(' ', '-')}-{odd}-{number * 7919 % 9973:04}-secret"
        return self.by_place.setdefault(place, made)

    def whsec(self, place: str) -> str:
        """Return a Standard Webhooks secret that stands at *place*."""
        key = f"{place} is signed with a key of thirty-two bytes or more".encode()[:48]
        made = "whsec_" + base64.b64encode(key).decode()
        return self.by_place.setdefault(place, made)

    def found_in(self, said: bytes) -> list[str]:
        """Return which secrets *said* gives away, and in which form."""
        return [
            f"{place} ({form})"
            for place, secret in self.by_place.items()
            for form, text in forms(secret)
            if text.encode() in said
        ]

    def leaks(self, said: Mapping[str, bytes]) -> list[str]:
        """Return each output that gives a secret away, with the place and the form."""
        return [
            f"{output}: {leak}" for output, text in said.items() for leak in self.found_in(text)
        ]


def forms(secret: str) -> Iterator[tuple[str, str]]:
    """Yield every way *secret* is written somewhere, and what that way is called."""
    # A part is enough: whoever has half of a token guesses the rest, or knows whose it is.
    yield "its beginning", secret[: max(SHORTEST, len(secret) * 2 // 3)]
    yield "plain", secret
    yield "URL-unquoted", unquote(secret)
    yield "URL-quoted", quote(secret)
    yield "URL-quoted whole", quote(secret, safe="")
    yield "URL-quoted as a form", quote_plus(secret)
    yield "in JSON", json.dumps(secret)[1:-1]
    yield "in a repr", repr(secret)[1:-1]
    for ahead in range(3):
        yield f"base64 after {ahead} bytes", in_base64(secret.encode(), ahead)


def in_base64(secret: bytes, ahead: int) -> str:
    """Return what every base64 text of *secret* with *ahead* bytes (mod 3) before it holds."""
    encoded = base64.b64encode(bytes(ahead) + secret).decode()
    return encoded[(ahead * 8 + 5) // 6 : (ahead + len(secret)) * 8 // 6]
