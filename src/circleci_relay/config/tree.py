"""
A YAML document as maps, lists and text, each knowing where in which file it stands.

Scalars stay text, as written: what a key wants of it, the key's own parser decides. Only
a plain `null`, `~` or nothing is None.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from circleci_relay.config.discretion import said
from circleci_relay.config.interpolate import has_marks
from circleci_relay.model import Fault

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

Value = Any
"""A `Map`, a `Seq`, a `Scalar` or None."""


class Spot(NamedTuple):
    """A place in a file, and the path of keys that leads there."""

    file: str
    line: int
    column: int
    path: tuple[str | int, ...]

    def fault(self, message: str, below: Iterable[str | int] = ()) -> Fault:
        """What is wrong here, or at a key *below* that has no place of its own."""
        return Fault(
            file=self.file,
            line=self.line,
            column=self.column,
            path=dotted((*self.path, *(said(part) for part in below))),
            message=message,
        )


class Scalar(str):
    """Text as written, after interpolation."""

    __slots__ = ("base", "expanded", "marked", "plain", "spot", "template", "unknown")

    spot: Spot
    base: Path  #: relative paths start here
    plain: bool  #: written without quotes
    expanded: bool  #: holds what a variable or file held, and so perhaps a secret
    template: bool  #: was written with the marks of a template
    marked: bool  #: a variable or file brought such marks into it
    unknown: bool  #: holds a stand-in for a variable or file that is absent

    @classmethod
    def at(cls, text: str, spot: Spot, base: Path, *, plain: bool) -> Scalar:
        """Make one that stands as it was written."""
        scalar = cls(text)
        scalar.expanded = scalar.marked = scalar.unknown = False
        scalar.template = has_marks(text)
        scalar.spot, scalar.base, scalar.plain = spot, base, plain
        return scalar


class Map(dict[str, Value]):
    """A map; `keys_at` holds the place of each key."""

    __slots__ = ("keys_at", "spot")

    def __init__(self, spot: Spot) -> None:
        super().__init__()
        self.spot = spot
        self.keys_at: dict[str, Spot] = {}

    def put(self, key: str, value: Value, spot: Spot) -> None:
        """Set *key*, which stands at *spot*."""
        self[key] = value
        self.keys_at[key] = spot

    def said(self, key: str) -> str:
        """*key*, or what stands for it where it may be a secret."""
        return str(self.keys_at[key].path[-1])


class Seq(list[Value]):
    """A list; `items_at` holds the place of each item."""

    __slots__ = ("items_at", "spot")

    def __init__(self, spot: Spot) -> None:
        super().__init__()
        self.spot = spot
        self.items_at: list[Spot] = []


def dotted(path: Iterable[str | int]) -> str:
    """`destinations.chat.retry.dead_on[2]`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            quoted = repr(part) if "." in part else part
            text += f".{quoted}" if text else quoted
    return text


def locate(root: Map, path: Iterable[str | int]) -> tuple[Spot, tuple[str | int, ...]]:
    """
    The nearest place on the way from *root* along *path*, and what is left of the path.

    A scalar's own place; for a map or an empty value that of its key.
    """
    spot = root.spot
    here: Value = root
    rest = list(path)
    while rest:
        part = rest[0]
        if isinstance(here, Map) and part in here.keys_at:
            spot, here = here.keys_at[str(part)], here[str(part)]
        elif isinstance(here, Seq) and isinstance(part, int) and 0 <= part < len(here):
            spot, here = here.items_at[part], here[part]
        elif isinstance(here, Scalar):
            pass  # a scalar that stands for a list of one, or for a map of one key
        else:
            break
        rest.pop(0)
    if isinstance(here, Scalar):
        spot = here.spot
    return spot, tuple(rest)


def value_at(root: Value, path: Iterable[str | int]) -> Value:
    """What stands at *path*, None where nothing does; a scalar stands for a list of one."""
    here: Any = root
    for part in path:
        if isinstance(here, list):
            here = dict(enumerate(here))
        if isinstance(here, dict):
            here = here.get(part)
        elif not (isinstance(here, str) and isinstance(part, int)):
            return None
    return here


def plain(value: Value) -> Any:
    """The same in Python's own types."""
    if isinstance(value, Map):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Seq):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, str) else value


def kind(value: object) -> str:
    """What *value* is, in the words of messages."""
    if value is None:
        return "empty"
    if isinstance(value, dict):
        return "a map"
    return "a list" if isinstance(value, list) else "a single value"
