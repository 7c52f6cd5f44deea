"""JSON as the tables hold it: compact text, safe for both databases."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from typing import TYPE_CHECKING, Any

from circleci_relay.model import Change, Facts

if TYPE_CHECKING:
    from collections.abc import Callable

    from circleci_relay.model import History

try:
    import orjson

    _FAST = True
except ImportError:  # the `fast` extra is not installed
    _FAST = False

_JSON = {True: "true", False: "false"}
_FACTS = tuple(field.name for field in dataclasses.fields(Facts) if field.name != "change")
_CHANGES = frozenset(Change)


def _slow_text(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _fast_text(value: Any) -> str:
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        # Lone surrogates and integers over 64 bits, which the standard library writes.
        return _slow_text(value)


text: Callable[[Any], str] = _fast_text if _FAST else _slow_text
"""*value* as compact JSON."""


def _fast_parse(stored: str) -> Any:
    try:
        return orjson.loads(stored)
    except ValueError:
        return json.loads(stored)  # what `_slow_text` had to write


parse: Callable[[str], Any] = _fast_parse if _FAST else json.loads
"""What `text` wrote."""


def digest(names: list[str]) -> bytes:
    """What stands for *names* in a key: the same whichever library writes the tables' JSON."""
    written = json.dumps(names, ensure_ascii=False, separators=(",", ":"))
    # A lone surrogate may stand in an id, which is taken from the payload as it is.
    return hashlib.blake2b(written.encode(errors="surrogatepass"), digest_size=16).digest()


def facts_text(facts: Facts, change: Change | None) -> str:
    """The facts that are not absent, with *change*, in the order of the record."""
    known = {name: value for name in _FACTS if (value := getattr(facts, name)) is not None}
    if change is not None:
        known["change"] = change.value
    return text(known)


def facts_of(stored: str) -> Facts:
    """The facts that `facts_text` wrote, with their change; what is not one of them is left out."""
    found = parse(stored)
    known: dict[str, Any] = {
        name: value
        for name in _FACTS
        if isinstance(value := found.get(name), int if name == "pipeline_number" else str)
    }
    known.setdefault("type", "")
    change = found.get("change")
    return Facts(**known, change=Change(change) if change in _CHANGES else None)


def history_text(history: History) -> str:
    """What is known of the history, in the order of the record; written out, as it is hot."""
    written = f'{{"line":"{history.line}"'
    if history.good is not None:
        written += (
            f',"good":{_JSON[history.good]},"since":{history.since},"streak":{history.streak}'
        )
    if history.before_good is not None:
        written += (
            f',"before_good":{_JSON[history.before_good]},"before_since":{history.before_since}'
            f',"before_streak":{history.before_streak}'
        )
    return written + "}"


@functools.lru_cache(maxsize=1024)
def names_text(names: tuple[str, ...]) -> str:
    """A tuple of names; few differ, so each is written once."""
    return text(names)


def headers_text(headers: tuple[tuple[str, str], ...]) -> str:
    """Header pairs, as a list of lists."""
    return text(headers)


def headers_of(stored: str) -> tuple[tuple[str, str], ...]:
    """The pairs that `headers_text` wrote."""
    return tuple((name, value) for name, value in parse(stored))
