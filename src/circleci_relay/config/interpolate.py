"""`${env:NAME}`, `${env:NAME:-default}` and `${file:/path}` in strings."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPENING, _CLOSING = re.compile(r"\{\{|\{%|\{#"), re.compile(r"\}\}|%\}|#\}")
_SPECIAL = re.compile(r"\$\$|\$\{")
FORMS = "${env:NAME}, ${env:NAME:-default} or ${file:/path}; a literal ${ is written $${"


@dataclass(frozen=True, slots=True)
class EnvRef:
    """An environment variable, and what to take where it is unset or empty."""

    name: str
    default: str | None = None


@dataclass(frozen=True, slots=True)
class FileRef:
    """A file's whole text, less its trailing newline."""

    path: str


Part = str | EnvRef | FileRef


def parse(text: str) -> list[Part]:
    """
    *text* as literal strings and references; only `${` and `$$` are special.

    Raises `ValueError`; the message repeats nothing, for it may be a secret that has a ${.
    """
    parts: list[Part] = []
    at = 0
    while found := _SPECIAL.search(text, at):
        parts.append(text[at : found.start()])
        if found[0] == "$$":
            parts.append("$")
            at = found.end()
            continue
        end = text.find("}", found.end())
        if end < 0:
            raise ValueError(f"a ${{ that is never closed; wanted {FORMS}")
        parts.append(_reference(text[found.end() : end]))
        at = end + 1
    parts.append(text[at:])
    return _joined(parts)


def _reference(inside: str) -> EnvRef | FileRef:
    kind, colon, rest = inside.partition(":")
    if kind == "file" and rest:
        return FileRef(rest)
    if kind == "env" and rest:
        name, dash, default = rest.partition(":-")
        if _NAME.fullmatch(name):
            return EnvRef(name, default if dash else None)
        raise ValueError("what follows env: is no variable's name; wanted letters, digits and _")
    if not colon and _NAME.fullmatch(inside):
        raise ValueError("a ${...} that says not from where; wanted ${env:NAME}")
    raise ValueError(f"a ${{...}} that is none of {FORMS}")


def _joined(parts: list[Part]) -> list[Part]:
    joined: list[Part] = []
    for text, run in groupby(parts, lambda part: isinstance(part, str)):
        if not text:
            joined += run
        elif whole := "".join(map(str, run)):
            joined.append(whole)
    return joined


def expand(parts: list[Part], resolve: Callable[[EnvRef | FileRef], str]) -> str:
    """The parts put together, each reference replaced by what *resolve* says."""
    return "".join(part if isinstance(part, str) else resolve(part) for part in parts)


def has_marks(text: str) -> bool:
    """Whether *text* holds what begins an expression, a statement or a comment of a template."""
    return _OPENING.search(text) is not None


def marks(written: str, expanded: str) -> tuple[bool, bool]:
    """Whether *written* has marks of a template, and *expanded*, made of it, has others."""
    try:
        own = "\0".join(part for part in parse(written) if isinstance(part, str))
    except ValueError:
        return False, False
    template = has_marks(own)
    # What closes an expression does so only where one is open.
    kinds = [_OPENING, _CLOSING] if template else [_OPENING]
    return template, any(len(each.findall(own)) != len(each.findall(expanded)) for each in kinds)
