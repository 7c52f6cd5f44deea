"""A parsed body as a tree that folds."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

from circleci_relay.web.ui.words import count, foreign, some

if TYPE_CHECKING:
    from collections.abc import Sequence

DEEP, MANY, LONG = 40, 1000, 2000
"""How many levels, values, and characters of one value are shown."""

OPEN = 2
"""Levels that are unfolded at first."""


class _Tree:
    """Writes one tree; stops when there is too much of it."""

    def __init__(self) -> None:
        self._left = MANY

    def write(self, value: Any, label: Markup, depth: int) -> Markup:
        """Return *value* as an item of a list."""
        self._left -= 1
        if isinstance(value, dict):
            return self._folding(list(value.items()), label, depth, some(len(value), "key"))
        if isinstance(value, list):
            return self._folding(list(enumerate(value)), label, depth, some(len(value), "item"))
        return Markup("<li>{}{}</li>").format(label, _leaf(value))

    def _folding(
        self, items: Sequence[tuple[str | int, Any]], label: Markup, depth: int, told: str
    ) -> Markup:
        if not items or depth >= DEEP:
            note = told if items else "empty"
            return Markup('<li>{}<span class="none">{}</span></li>').format(label, note)
        inner: list[Markup] = []
        for number, (key, each) in enumerate(items):
            if self._left <= 0:
                rest = count(len(items) - number)
                inner.append(
                    Markup('<li class="none">… {} more, see the raw body</li>').format(rest)
                )
                break
            # Written here, not before: of what is not shown, nothing is to be paid for.
            name = foreign(key, 100) if isinstance(key, str) else escape(key)
            named = Markup('<span class="key">{}</span> ').format(name)
            inner.append(self.write(each, named, depth + 1))
        return Markup(
            '<li><details{}><summary>{}<span class="none">{}</span></summary>'
            "<ul>{}</ul></details></li>"
        ).format(Markup(" open") if depth < OPEN else "", label, told, Markup().join(inner))


def tree(value: Any) -> Markup:
    """Return *value*, what `json.loads` may return, as nested lists that fold."""
    written = _Tree().write(value, Markup('<span class="key">body</span> '), 0)
    return Markup('<ul class="tree">{}</ul>').format(written)


def _leaf(value: Any) -> Markup:
    if isinstance(value, str):
        return Markup('<span class="text">{}</span>').format(foreign(value, LONG))
    if isinstance(value, float) and value != value:  # noqa: PLR0124 -- NaN, which JSON lacks
        return Markup('<span class="value">NaN</span>')
    try:
        shown = json.dumps(value)
    except (TypeError, ValueError):
        shown = str(value)
    return Markup('<span class="value">{}</span>').format(foreign(shown, LONG))
