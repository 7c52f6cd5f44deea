"""Bodies of every shape CircleCI sends, made up but exact to the byte; secret `SECRET`."""

from __future__ import annotations

import json
import re
from importlib import resources

SECRET = b"fanout-test-secret"
"""What the samples are signed with unless another secret is given."""

_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\]:,]', re.DOTALL)


def names() -> list[str]:
    """The samples there are, sorted."""
    files = resources.files(__name__).iterdir()
    return sorted(file.name[: -len(".json")] for file in files if file.name.endswith(".json"))


def load(name: str) -> bytes:
    """The body of one sample, as CircleCI would post it; KeyError for an unknown *name*."""
    if name not in names():
        raise KeyError(name)
    return resources.files(__name__).joinpath(f"{name}.json").read_bytes()


def with_id(body: bytes, new_id: str) -> bytes:
    """
    *body* with its own `id` replaced by *new_id*, and every other byte left alone.

    Parsing and encoding again would change spacing, escapes and the order of keys, which
    is just what must survive a relay. ValueError where there is no such `id`.
    """
    start, end = _own_id(body)
    return body[:start] + json.dumps(new_id).encode() + body[end:]


def _own_id(body: bytes) -> tuple[int, int]:
    """Where the value of the outermost object's `id` stands; the last one, as parsers see it."""
    depth = 0
    found: tuple[int, int] | None = None
    key = colon = b""
    for token in _TOKEN.finditer(body):
        text = token.group()
        if text in b"{[":
            depth += 1
        elif text in b"}]":
            depth -= 1
        elif depth == 1 and text.startswith(b'"'):
            if colon and key == b'"id"':
                found = token.span()
            key, colon = (b"", b"") if colon else (text, b"")
        elif depth == 1:
            colon = text if text == b":" else b""
    if found is None:
        raise ValueError("the body is no JSON object with an `id` that is a string")
    return found
