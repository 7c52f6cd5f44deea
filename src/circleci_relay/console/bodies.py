"""A parsed body as it is shown: cut where it is deeper, longer or larger than anybody reads."""

from __future__ import annotations

import math
from typing import Any, Final

from circleci_relay.circleci.payload import clean

DEEPEST: Final = 24
"""Levels of maps and lists."""
MOST: Final = 5_000
"""Values in all."""
LONGEST: Final = 10_000
"""Characters of a text, or of a key."""
CUT: Final = "…"
"""Stands where something was left out."""


def bounded(payload: object) -> Any:
    """*payload* so that it can be written as JSON and shown, in bounded time."""
    return _Bounded().value(payload, DEEPEST)


class _Bounded:
    def __init__(self) -> None:
        self._left = MOST

    def value(self, value: object, levels: int) -> Any:
        self._left -= 1
        if isinstance(value, str):
            return _text(value)
        if value is None or isinstance(value, bool | int):
            return _number(value) if type(value) is int else value
        if isinstance(value, float):
            return float(value) if math.isfinite(value) else _text(str(value))
        if isinstance(value, dict | list) and value and (levels <= 0 or self._left <= 0):
            return CUT
        if isinstance(value, dict):
            return self._map(value, levels - 1)
        return self._list(value, levels - 1) if isinstance(value, list) else CUT

    def _map(self, value: dict[Any, Any], levels: int) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for key, each in value.items():
            if self._left <= 0:
                made[CUT] = CUT
                break
            made[_text(str(key))] = self.value(each, levels)
        return made

    def _list(self, value: list[Any], levels: int) -> list[Any]:
        made: list[Any] = []
        for each in value:
            if self._left <= 0:
                made.append(CUT)
                break
            made.append(self.value(each, levels))
        return made


def _text(text: str) -> str:
    return clean(text) if len(text) <= LONGEST else clean(text[:LONGEST]) + CUT


def _number(value: int) -> int | str:
    """Whole numbers beyond 64 bits as a text: not every reader takes them."""
    return value if -(2**63) <= value < 2**63 else _text(_digits(value))


def _digits(value: int) -> str:
    try:
        return str(value)
    except ValueError:  # more digits than Python writes
        return hex(value)
