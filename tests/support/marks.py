"""Secrets that can be told again wherever they turn up, and in whatever form."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus, unquote

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

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


def faulty(mark: Marks) -> Mapping[str, str]:
    """Return files in which a secret stands in or beside what is wrong."""
    good = {"sources": {"c": {"path": "/c", "secrets": [mark("beside a fault")]}}}

    def destination(**settings: Any) -> str:
        url = f"https://chat.example.com/{mark('URL beside a fault')}"
        return yaml.safe_dump(good | {"destinations": {"chat": {"url": url} | settings}})

    def secrets(written: str) -> str:
        return f"sources:\n  c:\n    path: /c\n    secrets: {written}\n"

    def token(value: object) -> str:
        return yaml.safe_dump(good | {"server": {"admin_tokens": {"ci": value}}})

    bad = mark("faulty value")
    return {
        "unknown key": destination(sing=bad),
        "no duration": destination(timeout="soon", headers={"x": bad}),
        "user in URL": destination(url=f"https://u:{bad}@chat.example.com/"),
        "no scheme": destination(url=f"htps://chat.example.com/{bad}"),
        "no port": destination(url=f"https://chat.example.com:{bad}/"),
        "fragment": destination(url=f"https://chat.example.com/#{bad}"),
        "space in URL": destination(url=f"https://chat.example.com/ {bad}"),
        "a URL alone": yaml.safe_dump(good | {"destinations": {"chat": f"https://x/{bad}"}}),
        "line break": destination(headers={"x": f"{bad}\n{bad}"}),
        "not Latin": destination(headers={"x": f"{bad}\u20ac"}),
        "headers a text": destination(headers=f"authorization: {bad}"),
        "headers a list": destination(headers=[f"authorization: {bad}"]),
        "unset variable": destination(headers={"x": f"Bearer {bad} ${{env:RELAY_UNSET}}"}),
        "never closed": destination(headers={"x": f"Bearer ${{{bad}"}),
        "default": destination(headers={"x": f"Bearer ${{env:1:-{bad}}}"}),
        "socks": destination(proxy=f"socks5://u:{bad}@proxy"),
        "proxy path": destination(proxy=f"http://u:{bad}@proxy/path"),
        "whsec": destination(sign={"scheme": "standard-webhooks", "secrets": f"whsec_{bad}"}),
        "no whsec": destination(sign={"scheme": "standard-webhooks", "secrets": bad}),
        "sign a text": destination(sign=bad),
        "token alone": token(bad),
        "token with space": token({"token": f"{bad} {bad}"}),
        "token a list": token({"token": [bad]}),
        "store": yaml.safe_dump(good | {"store": {"url": f"mysql://u:{bad}@host/db"}}),
        "postgresql": yaml.safe_dump(good | {"store": {"url": f"postgresql://u:{bad}@host:x/db"}}),
        "list of maps": secrets(f"[{{{bad}: x}}]"),
        "tag": secrets(f"!{bad} x"),
        "anchor": secrets(f"&{bad}"),
        "percent": secrets(f"%{bad}"),
        "backquote": secrets(f"`{bad}"),
        "open quote": secrets(f'"{bad}'),
        "escape": secrets(f'"{bad}\\q"'),
        "tab": secrets(f"\n\t- {bad}"),
        "no colon": f"sources:\n  c:\n    path: /c\n    secrets:{bad}\n",
        "no map": bad,
    }
