"""
YAML into a tree with positions; every document in it bounded, every trap named.

The tree is composed here from the parser's events: PyYAML's own composer takes the last of
two equal keys without a word, recurses as deep as the file says, and throws away which
text a scalar had.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

from circleci_relay.config import traps
from circleci_relay.config.discretion import UNSAID, Unsaid, as_key
from circleci_relay.config.interpolate import marks
from circleci_relay.config.tree import Map, Scalar, Seq, Spot, Value

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from circleci_relay.model import Fault

MAX_BYTES = 4 << 20
MOST_VALUES = 100_000
"""Of one file; an alias counts each time: what a "billion laughs" runs into."""

_DEEPEST = 40

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_PLAIN_TAGS = frozenset(
    f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "null", "map", "seq")
)
_STR = "tag:yaml.org,2002:str"

Expand = "Callable[[str, Spot], tuple[str, bool]]"


class Unreadable(Exception):  # noqa: N818  a state of the file, caught by `read_tree`
    """The rest of the file cannot be read."""

    def __init__(self, line: int, column: int, message: str) -> None:
        super().__init__(message)
        self.line, self.column, self.message = line, column, message


@dataclass(slots=True, eq=False)
class _Node:
    """What the parser found, before aliases are followed."""

    kind: str  #: "scalar", "map" or "list"
    line: int
    column: int
    text: str = ""
    plain: bool = False
    null: bool = False
    items: list[_Node] = field(default_factory=list)  #: of a map: key, value, key, value ...


def read_tree(
    data: bytes,
    *,
    file: str,
    base: Path,
    expand: Callable[[str, Spot], tuple[str, bool]],
    most: int = MOST_VALUES,
) -> tuple[Map | None, list[Fault]]:
    """
    The map that *data* holds (None where it cannot be told) and what is wrong with it.

    *expand* turns a string into what its `${...}` stand for and tells whether something
    had to be made up for them. It holds *most* values, and as many keys.
    """
    grower = _Grower(file, base, expand, most)
    try:
        text = _decoded(data)
        node = _composed(text, 2 * most)
        return grower.document(node), grower.faults
    except Unreadable as error:
        spot = Spot(file, error.line, error.column, ())
        return None, [*grower.faults, spot.fault(error.message)]


def _decoded(data: bytes) -> str:
    if len(data) > MAX_BYTES:
        raise Unreadable(1, 1, "the file is larger than 4MiB; split it, and give -c a directory")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8-sig", "replace")
        raise Unreadable(
            *_place(before, len(before)), "a byte that is not UTF-8; save the file as UTF-8"
        ) from None
    if bad := _UNPRINTABLE.search(text):
        raise Unreadable(
            *_place(text, bad.start()),
            f"the control character U+{ord(bad[0]):04X}, which YAML does not allow; "
            "take it out, or write it as an escape in double quotes",
        )
    return text


def _place(text: str, index: int) -> tuple[int, int]:
    line = text.count("\n", 0, index) + 1
    return line, index - (text.rfind("\n", 0, index) + 1) + 1


def _composed(text: str, most: int) -> _Node | None:
    """The one document in *text*."""
    composer = _Composer(most)
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            composer.take(event)
    except yaml.MarkedYAMLError as error:
        raise Unreadable(*traps.explain(error, text)) from None
    except yaml.YAMLError:
        raise Unreadable(1, 1, "not YAML") from None
    return composer.root


class _Composer:
    """Events in, nodes out; no recursion, so no depth of nesting can hurt it."""

    def __init__(self, most: int) -> None:
        self.root: _Node | None = None
        self._left = most
        self._documents = 0
        self._open: list[_Node] = []
        self._anchors: dict[str, _Node] = {}

    def take(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.ScalarEvent):
            self._add(self._scalar(event), event.anchor)
        elif isinstance(event, yaml.AliasEvent):
            self._add(self._aliased(event), None)
        elif isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            kind = "map" if isinstance(event, yaml.MappingStartEvent) else "list"
            line, column = _at(event)
            _check_tag(event.tag, line, column)
            node = _Node(kind, line, column)
            self._add(node, event.anchor)
            self._open.append(node)
            if len(self._open) > _DEEPEST:
                raise Unreadable(
                    line,
                    column,
                    f"nested more than {_DEEPEST} levels deep; is a bracket left open?",
                )
        elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            self._open.pop()
        elif isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                raise Unreadable(
                    *_at(event), "a second document begins here; put it into a file of its own"
                )

    def _add(self, node: _Node, anchor: str | None) -> None:
        self._left -= 1
        if self._left < 0:
            raise Unreadable(
                node.line, node.column, "too many keys and values; split the file, or take some out"
            )
        if anchor is not None:
            self._anchors[anchor] = node
        if self._open:
            self._open[-1].items.append(node)
        elif self.root is None:
            self.root = node

    def _scalar(self, event: yaml.ScalarEvent) -> _Node:
        line, column = _at(event)
        _check_tag(event.tag, line, column)
        bare = event.style is None or event.style == ""
        if bare and not event.value and (event.anchor is not None or event.tag is not None):
            sign = "& begins a YAML anchor" if event.anchor is not None else "! begins a YAML tag"
            raise Unreadable(line, column, f"{sign}, and nothing follows; {traps.QUOTE}")
        null = bare and event.value in _NULLS and event.tag != _STR
        plain = bare and event.tag != _STR
        return _Node("scalar", line, column, text=event.value, plain=plain, null=null)

    def _aliased(self, event: yaml.AliasEvent) -> _Node:
        node = self._anchors.get(event.anchor or "")
        if node is None:
            raise Unreadable(
                *_at(event),
                "* begins a YAML alias, and no anchor is called so; "
                f"if it is meant as text, {traps.QUOTE}",
            )
        if any(node is open_ for open_ in self._open):
            raise Unreadable(
                *_at(event), "an alias inside what it stands for; write out what is meant"
            )
        return node


def _kind(node: _Node) -> str:
    if node.kind == "scalar":
        return "nothing" if node.null else "a text"
    return f"a {node.kind}"


def _at(event: Any) -> tuple[int, int]:
    # typeshed takes the marks for optional; no parser leaves them out.
    return event.start_mark.line + 1, event.start_mark.column + 1


def _check_tag(tag: str | None, line: int, column: int) -> None:
    if tag is not None and tag != "!" and tag not in _PLAIN_TAGS:
        raise Unreadable(
            line, column, f"! begins a YAML tag, and none is known here; {traps.QUOTE}"
        )


class _Grower:
    """Nodes in, a tree out: aliases followed, keys checked, strings expanded."""

    def __init__(
        self, file: str, base: Path, expand: Callable[[str, Spot], tuple[str, bool]], most: int
    ) -> None:
        self.faults: list[Fault] = []
        self._file, self._base, self._expand, self._most = file, base, expand, most
        self._grown = 0

    def document(self, node: _Node | None) -> Map | None:
        if node is None or node.null:
            return Map(Spot(self._file, 1, 1, ()))
        if node.kind != "map":
            hint = ""
            if node.kind == "scalar" and re.match(r"[A-Za-z]\w*:\S", node.text):
                hint = "; a space is missing after the colon"
            raise Unreadable(
                node.line, node.column, f"the file is no map of keys such as sources:{hint}"
            )
        return self._map(node, (), top=True)

    def _value(self, node: _Node, path: tuple[str | int, ...]) -> Value:
        self._grown += 1
        if self._grown > self._most or len(path) > _DEEPEST:
            raise Unreadable(
                node.line, node.column, "aliases make the file too large; write it out, or split it"
            )
        if node.kind == "map":
            return self._map(node, path)
        if node.kind == "list":
            return self._list(node, path)
        if node.null:
            return None
        spot = Spot(self._file, node.line, node.column, path)
        text, unknown = self._expand(node.text, spot) if "$" in node.text else (node.text, False)
        scalar = Scalar.at(text, spot, self._base, plain=node.plain)
        scalar.expanded, scalar.unknown = text != node.text, unknown
        if scalar.expanded:
            scalar.template, scalar.marked = marks(node.text, text)
        return scalar

    def _list(self, node: _Node, path: tuple[str | int, ...]) -> Seq:
        grown = Seq(Spot(self._file, node.line, node.column, path))
        for index, item in enumerate(node.items):
            below = (*path, index)
            grown.items_at.append(Spot(self._file, item.line, item.column, below))
            grown.append(self._value(item, below))
        return grown

    def _map(self, node: _Node, path: tuple[str | int, ...], *, top: bool = False) -> Map:
        grown = Map(Spot(self._file, node.line, node.column, path))
        merged: list[_Node] = []
        pairs = iter(node.items)
        for key, value in zip(pairs, pairs, strict=True):
            if key.plain and key.text == "<<":
                merged.append(value)
            elif name := self._key(key, path):
                name = as_key(name, path, _kind(value))
                said = UNSAID if isinstance(name, Unsaid) else name
                spot = Spot(self._file, key.line, key.column, (*path, said))
                if name in grown.keys_at:
                    first = grown.keys_at[name]
                    self.faults.append(
                        spot.fault(
                            f"the key stands twice, first in line {first.line}; keep one of them"
                        )
                    )
                elif not (top and name.startswith("x-")):
                    grown.put(name, self._value(value, spot.path), spot)
                else:
                    grown.keys_at[name] = spot
        for value in merged:
            self._merge(grown, value, path)
        return grown

    def _key(self, key: _Node, path: tuple[str | int, ...]) -> str:
        spot = Spot(self._file, key.line, key.column, path)
        if key.kind != "scalar":
            self.faults.append(
                spot.fault(
                    f"{'a map' if key.kind == 'map' else 'a list'} stands where a key belongs; "
                    "put { and [ in single quotes if they are meant as text"
                )
            )
        elif not key.text:
            self.faults.append(spot.fault("a key is missing before the colon"))
        return key.text

    def _merge(self, grown: Map, node: _Node, path: tuple[str | int, ...]) -> None:
        """YAML's merge key: what is already there stays."""
        for source in node.items if node.kind == "list" else [node]:
            if source.kind != "map":
                spot = Spot(self._file, node.line, node.column, path)
                self.faults.append(
                    spot.fault("<< merges maps only; wanted *name of an anchored map")
                )
                return
            other = self._map(source, path)
            for key, value in other.items():
                if key not in grown:
                    grown.put(key, value, other.keys_at[key])
