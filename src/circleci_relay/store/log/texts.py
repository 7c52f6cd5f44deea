"""
Texts in stored JSON: patterns that may find too much and never too little, then the truth.

JSON writes a character as it is or as an escape, by the library that wrote it; databases fold
the case of ASCII alone. So a pattern says nothing of any other character.
"""

from __future__ import annotations

import json
import re
import unicodedata
from functools import lru_cache
from typing import TYPE_CHECKING

import sqlalchemy as sa

if TYPE_CHECKING:
    from collections.abc import Iterable

ESCAPE = "!"  #: a backslash would be one more thing for each database to read differently

_SPECIAL = re.compile(rf"([{ESCAPE}%_])")
_ANY = "\0"  #: stands for what can be written in more ways than one


def patterns(text: str, *, before: str = "", after: str = "") -> frozenset[str]:
    """
    Return LIKE patterns for JSON in which *text* stands between *before* and *after*.

    One of them holds of any JSON where it does. The latter are matched as they are, and ASCII.
    """
    written = {
        "".join(map(_as_it_is, text)),
        "".join(map(_escaped, text)),
    }
    return frozenset(_pattern(f"{before}{each}{after}") for each in written)


def _pattern(text: str) -> str:
    parts = [_SPECIAL.sub(rf"{ESCAPE}\1", part) for part in text.split(_ANY) if part]
    return "%".join(["", *parts, ""]) if parts else "%"


def _as_it_is(char: str) -> str:
    if char.isascii():
        return char if char.isprintable() and char not in '"\\' else _ANY
    return char if _solid(char) else _ANY


def _escaped(char: str) -> str:
    return _as_it_is(char) if char.isascii() or not _solid(char) else json.dumps(char)[1:-1]


@lru_cache(4096)
def _solid(char: str) -> bool:
    """Whether *char* has no case, nor is a part of what another with case folds into."""
    return (
        unicodedata.category(char) in {"Lo", "So"}
        and len({char, char.lower(), char.upper(), char.casefold()}) == 1
    )


def like(
    dialect: str,
    column: sa.ColumnElement[str],
    wanted: Iterable[str],
    *,
    any_case: bool = False,
) -> sa.ColumnElement[bool]:
    """Return the condition that *column* is like any *wanted*, by case or not."""
    if dialect == "sqlite":  # ASCII's case counts for nothing there
        return sa.or_(*(column.like(each, escape=ESCAPE) for each in wanted))
    plain: sa.ColumnElement[str] = sa.collate(column, "C")  # in Turkish an I would have no i
    if any_case:
        plain = sa.func.lower(plain)
        wanted = map(ascii_lower, wanted)
    return sa.or_(*(plain.like(each, escape=ESCAPE) for each in wanted))


_UPPER = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}


def ascii_lower(text: str) -> str:
    """*text* with ASCII's letters small, and every other as it is."""
    return text.translate(_UPPER)


def folded(text: str) -> str:
    """*text* without case; what folds into ASCII, such as a ligature, stays as it is."""
    if text.isascii():
        return text.lower()
    return "".join(map(_folded_char, text))


@lru_cache(4096)
def _folded_char(char: str) -> str:
    if char.isascii():
        return char.lower()
    small = char.casefold()
    return char if any(map(str.isascii, small)) else small


def holds(wanted: str, values: Iterable[object]) -> bool:
    """Whether *wanted*, `folded` already, stands in any of *values*, whatever their case."""
    return any(wanted in folded(str(value)) for value in values)
