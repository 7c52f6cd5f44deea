"""What one rendering may cost, and what its values become: text, or plain JSON data."""

from __future__ import annotations

import json
import math
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from jinja2.runtime import ChainableUndefined, Undefined

from circleci_relay.circleci.payload import Written, clean
from circleci_relay.errors import RenderError

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_TURNS: Final = 10_000
"""Turns of all loops of one rendering."""
MOST_WORK: Final = 5_000_000
"""Characters that the filters of one rendering may go through; an item of a list is ten."""
MOST_TEXT: Final = 256 * 1024
"""Bytes of one leaf's text."""
MOST_BYTES: Final = 1024 * 1024
"""Bytes of one whole rendering."""

_ITEM: Final = 10
_CONTAINER: Final = 30
_DEEPEST: Final = 100
_HIGHEST: Final = 2**128
_EXACT: Final = 2.0**53  # whole numbers below it are exact as a double


class Missing(ChainableUndefined):
    """What is not there: empty in text, null as a value, and so is all that is asked of it."""

    __slots__ = ()

    def __str__(self) -> str:
        return ""


class Omit:
    """As a leaf's value: leave its key or item out."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "omit"

    def __bool__(self) -> bool:
        return False


OMIT: Final = Omit()


class Budget:
    """What is left for one rendering."""

    __slots__ = ("size", "turns", "work")

    def __init__(self) -> None:
        self.turns = MOST_TURNS
        self.work = MOST_WORK
        self.size = MOST_BYTES


_BUDGET: ContextVar[Budget | None] = ContextVar("budget", default=None)


@contextmanager
def budget() -> Iterator[Budget]:
    """One rendering; inside another it draws on that one's budget."""
    there = _BUDGET.get()
    if there is not None:
        yield there
        return
    fresh = Budget()
    token = _BUDGET.set(fresh)
    try:
        yield fresh
    finally:
        _BUDGET.reset(token)


def spend(characters: int = 0, items: int = 0) -> None:
    """Pay for work; `RenderError` once too much was done."""
    there = _BUDGET.get()
    if there is not None:
        there.work -= characters + items * _ITEM + 1
        if there.work < 0:
            raise RenderError("it takes too much work for this event")


def take_turns(turns: int) -> None:
    """Pay for the turns of a loop; `RenderError` once there were too many."""
    there = _BUDGET.get()
    if there is not None:
        there.turns -= turns
        if there.turns < 0:
            raise RenderError(f"its loops take more than {MOST_TURNS:,} turns for this event")


def take_size(size: int) -> None:
    """Pay for *size* bytes of what is made; `RenderError` once it is too large."""
    there = _BUDGET.get()
    if there is not None:
        there.size -= size
        if there.size < 0:
            raise RenderError(f"the message would be larger than {MOST_BYTES // 1024:,} KiB")


def size_of(text: str) -> int:
    """The bytes of *text* as UTF-8."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))


def finish(text: str) -> str:
    """*text* as a leaf holds it: without what no encoding takes, and paid for."""
    size = size_of(text)
    if size > MOST_TEXT:
        raise RenderError(f"its text would be larger than {MOST_TEXT // 1024} KiB")
    take_size(size)
    return clean(text)


def is_missing(value: object) -> bool:
    """Whether *value* is null, not there, or to be left out."""
    return value is None or isinstance(value, (Undefined, Omit))


def kind_of(value: object) -> str:
    """What *value* is, as people say it, and nothing of it."""
    if is_missing(value):
        return "null"
    return next((name for kind, name in _KINDS if isinstance(value, kind)), "something else")


_KINDS: Final = (
    (str, "a text"),
    (bool, "true or false"),
    ((int, float), "a number"),
    (dict, "a map"),
    ((list, tuple), "a list"),
)


def text_of(value: Any) -> str:
    """*value* as text: nothing for null, `true` and `false`, JSON for maps and lists."""
    if isinstance(value, str):
        return value
    if is_missing(value):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return _number_text(value)
    return encode(value)


def _number_text(value: Any) -> str:
    """A number as JSON would have it; as it was written, where that is known."""
    if isinstance(value, Written):
        return value.text
    if isinstance(value, float) and not (value.is_integer() and abs(value) < _EXACT):
        return repr(value) if math.isfinite(value) else ""
    return str(bounded(int(value)))


def encode(value: Any) -> str:
    """*value* as compact JSON."""
    return json.dumps(plain_data(value), ensure_ascii=False, separators=(",", ":"))


def bounded(number: Any) -> Any:
    """*number*, unless it is too large to go on with."""
    if isinstance(number, int) and not -_HIGHEST < number < _HIGHEST:
        raise RenderError("a number is too large")
    return number


def plain_data(value: Any) -> Any:
    """
    *value* as plain JSON data of its own, its texts clean, and paid for.

    What is missing is null, and so are the numbers that JSON does not have.
    """
    return _plain(value, 0)


def _plain(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        spend(len(value))
        return clean(str.__str__(value))  # the configuration's texts have a class of their own
    if value is None or isinstance(value, Undefined):
        return None
    if isinstance(value, bool):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, int):
        return int(value)
    return _plain_container(value, depth + 1)


def _plain_container(value: Any, depth: int) -> Any:
    if depth > _DEEPEST:
        raise RenderError(f"a value is nested more than {_DEEPEST} deep")
    if isinstance(value, dict):
        spend(_CONTAINER, items=len(value))
        return {
            clean(str.__str__(text_of(key))): _plain(each, depth)
            for key, each in value.items()
            if each is not OMIT
        }
    if isinstance(value, (list, tuple)):
        spend(_CONTAINER, items=len(value))
        return [_plain(each, depth) for each in value if each is not OMIT]
    raise RenderError(f"a value has no form in JSON: {type(value).__name__}")


def size_of_data(value: Any) -> int:
    """About the bytes of plain data as JSON."""
    if isinstance(value, str):
        return size_of(value) + 2
    if isinstance(value, dict):
        return 2 + sum(size_of(key) + 4 + size_of_data(each) for key, each in value.items())
    if isinstance(value, list):
        return 2 + sum(1 + size_of_data(each) for each in value)
    return len(repr(value))
