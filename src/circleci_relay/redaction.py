"""Known secrets replaced in whatever is stored, logged or shown."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import quote, quote_plus

import re2

Redact = Callable[[str], str]

MASK = "***"


class Redaction:
    """
    Replaces every known secret in a text by `***`; the secrets can change while it runs.

    Also where it is written as in JSON, a URL or a `repr`: receivers echo in any of these.
    One RE2 alternation, the longest secret first: linear in the text however many there are.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._pattern: Any = None
        self.known: frozenset[str] = frozenset()
        self.know(secrets)

    def know(self, secrets: Iterable[str]) -> None:
        """Replace what is known by *secrets*."""
        self.known = frozenset(secret for secret in secrets if secret)
        written = {form for secret in self.known for form in _forms(secret)}
        known = sorted(written, key=lambda secret: (-len(secret), secret))
        if not known:
            self._pattern = None
            return
        options = re2.Options()
        options.max_mem = 64 << 20  # thousands of secrets in one pattern
        options.log_errors = False
        self._pattern = re2.compile("|".join(re2.escape(secret) for secret in known), options)

    def __call__(self, text: str) -> str:
        """Return *text* without secrets."""
        if self._pattern is None or not text:
            return text
        if not text.isascii():
            # RE2 takes UTF-8: a lone surrogate has none.
            text = text.encode("utf-8", "replace").decode()
        return str(self._pattern.sub(MASK, text))


def _forms(secret: str) -> set[str]:
    """Return every way *secret* is written, as it stands first of all."""
    # A variable may hold bytes that are no UTF-8; texts are searched with these replaced.
    plain = secret.encode("utf-8", "replace").decode()
    return {
        plain,
        repr(secret)[1:-1],
        json.dumps(secret)[1:-1],
        json.dumps(plain, ensure_ascii=False)[1:-1],
        quote(plain),
        quote(plain, safe=""),
        quote_plus(plain),
    }
