"""Templates in the shape of JSON, rendered leaf by leaf to native types; and texts alone."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from circleci_relay.errors import RenderError
from circleci_relay.rendering import scene as scenes
from circleci_relay.rendering.bounds import (
    OMIT,
    budget,
    size_of_data,
)
from circleci_relay.rendering.complaints import near
from circleci_relay.rendering.leaf import (
    KEPT,
    MARKS,
    Leaf,
    LeafFaults,
    compile_leaf,
    with_omit,
)
from circleci_relay.rendering.parts import (
    Condition,
    Constant,
    Each,
    If,
    List,
    Map,
    Native,
    Node,
    Written,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

_DEEPEST: Final = 60
_KEYS: Final = ("$if", "$each", "$as", "$value")
_MISTYPED: Final = 0.75


@dataclass(frozen=True, slots=True)
class TemplateFault:
    """One thing wrong with a template, and where."""

    path: tuple[str | int, ...]
    message: str


class TemplateFaults(ValueError):  # noqa: N818 - plural: it carries all that was found
    """Everything wrong with one template."""

    def __init__(self, faults: Iterable[TemplateFault]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(fault.message for fault in self.faults))


@dataclass(frozen=True, slots=True)
class Text:
    """A compiled text."""

    names: frozenset[str]  #: the top-level names in use
    options: frozenset[str]  #: what it asks of `options`
    constant: str | None = field(repr=False)  #: the text itself, where it is no template
    _leaf: Leaf | None = field(repr=False, default=None)
    labels: frozenset[str] = frozenset()  #: without which it is not whole
    labels_asked: frozenset[str] = frozenset()  #: what it asks of `labels` by name

    def render(self, scene: Mapping[str, Any]) -> str:
        """The text for *scene*; raises `RenderError`."""
        if self._leaf is None:
            return self.constant or ""
        with budget():
            return self._leaf.text(with_omit(scene))


class Structure:
    """A compiled structure."""

    __slots__ = ("_root", "labels_asked", "names", "options")

    def __init__(
        self,
        root: Node,
        names: frozenset[str],
        options: frozenset[str],
        labels_asked: frozenset[str],
    ) -> None:
        self._root = root
        self.names = names  #: the top-level names in use
        self.options = options  #: what it asks of `options`
        self.labels_asked = labels_asked  #: what it asks of `labels` by name

    def render(self, scene: Mapping[str, Any]) -> Any:
        """The JSON value for *scene*; raises `RenderError`."""
        with budget():
            made = self._root.make(with_omit(scene))
        if made is OMIT:
            raise RenderError("the whole of it is omitted")
        return made


def compile_text(
    raw: str,
    *,
    names: Iterable[str] | None = None,
    escape: str | None = None,
    trusted: Iterable[str] = (),
) -> Text:
    """
    *raw* ready to render; raises `TemplateFaults`.

    *names* are those in reach. Every expression goes through the filter *escape*, unless
    all names in it are *trusted*.
    """
    if not any(mark in raw for mark in MARKS):
        return Text(frozenset(), frozenset(), raw)
    try:
        leaf = compile_leaf(
            raw,
            scenes.NAMES if names is None else names,
            fields=scenes.FIELDS,
            native=False,
            escape=escape,
            trusted=frozenset(trusted),
        )
    except LeafFaults as faults:
        raise TemplateFaults(TemplateFault((), each) for each in faults.messages) from None
    return Text(leaf.names, leaf.options, None, leaf, labels_asked=leaf.labels)


def compile_structure(raw: Any, *, names: Iterable[str] | None = None) -> Structure:
    """*raw* (plain data) ready to render; raises `TemplateFaults` with all that is wrong."""
    compiler = _Compiler()
    scope = _Scope(frozenset(scenes.NAMES if names is None else names))
    root = compiler.node(raw, (), scope, _Place(root=True))
    if compiler.faults:
        raise TemplateFaults(compiler.faults)
    return Structure(
        root, frozenset(compiler.names), frozenset(compiler.options), frozenset(compiler.labels)
    )


@dataclass(frozen=True, slots=True)
class _Scope:
    known: frozenset[str]  #: every name in reach
    own: frozenset[str] = frozenset()  #: those that `$as` gives

    def with_name(self, name: str) -> _Scope:
        return _Scope(self.known | {name}, self.own | {name})

    @property
    def fields(self) -> dict[str, frozenset[str]]:
        return {name: keys for name, keys in scenes.FIELDS.items() if name not in self.own}


@dataclass(frozen=True, slots=True)
class _Place:
    root: bool = False
    item: bool = False


def _mistyped(key: str) -> bool:
    """Whether *key* is nearly one of ours; JSON has keys with $ of its own, such as $schema."""
    if key.lower() in {*_KEYS, "$for"}:
        return True
    return any(
        key[:2].lower() == known[:2] and abs(len(key) - len(known)) <= 1 and _alike(key, known)
        for known in _KEYS
    )


def _alike(key: str, known: str) -> bool:
    return difflib.SequenceMatcher(None, key.lower(), known).ratio() >= _MISTYPED


class _Compiler:
    """Compiles one structure, gathering what it uses and what is wrong."""

    def __init__(self) -> None:
        self.faults: list[TemplateFault] = []
        self.names: set[str] = set()
        self.options: set[str] = set()
        self.labels: set[str] = set()

    def fault(self, path: tuple[str | int, ...], message: str) -> None:
        self.faults.append(TemplateFault(path, message))

    def node(self, raw: Any, path: tuple[str | int, ...], scope: _Scope, place: _Place) -> Node:
        """The node for *raw*; after a fault any node will do."""
        if len(path) > _DEEPEST:
            self.fault(path, f"it is nested more than {_DEEPEST} deep")
        elif isinstance(raw, str):
            return self._text(raw, path, scope)
        elif isinstance(raw, Mapping):
            return self._map(raw, path, scope, place)
        elif isinstance(raw, (list, tuple)):
            item = _Place(item=True)
            return List(
                tuple(self.node(each, (*path, i), scope, item) for i, each in enumerate(raw))
            )
        elif raw is None or (isinstance(raw, (bool, int, float)) and math.isfinite(raw)):
            return Constant(raw, len(str(raw)))
        else:
            self.fault(path, f"JSON has no {type(raw).__name__} like this; put it in quotes")
        return Constant(None, 4)

    def _text(self, raw: str, path: tuple[str | int, ...], scope: _Scope) -> Node:
        if not any(mark in raw for mark in MARKS):
            return Constant(raw, size_of_data(raw))
        leaf = self._leaf(raw, path, scope)
        if leaf is None:
            return Constant(None, 4)
        return Native(leaf, path) if leaf.native else Written(leaf, path)

    def _leaf(self, raw: str, path: tuple[str | int, ...], scope: _Scope) -> Leaf | None:
        try:
            leaf = compile_leaf(raw, scope.known, fields=scope.fields, native=True)
        except LeafFaults as faults:
            for message in faults.messages:
                self.fault(path, message)
            return None
        self.names |= leaf.names - scope.own
        self.options |= leaf.options
        self.labels |= leaf.labels
        return leaf

    def _map(
        self,
        raw: Mapping[Any, Any],
        path: tuple[str | int, ...],
        scope: _Scope,
        place: _Place,
    ) -> Node:
        self._check_keys(raw, path, place)
        source, name = None, "item"
        if "$each" in raw and place.item:
            name = self._name(raw, path)
            source = self._expression(raw["$each"], (*path, "$each"), scope, "a list")
            scope = scope.with_name(name)
        condition = self._condition(raw, path, scope)
        if "$value" in raw:
            node = self.node(raw["$value"], (*path, "$value"), scope, _Place())
        else:
            node = Map(
                tuple(
                    (key, self.node(each, (*path, key), scope, _Place()))
                    for key, each in raw.items()
                    if isinstance(key, str) and key not in _KEYS
                )
            )
        if condition is not None:
            node = If(condition, node)
        if source is not None:
            node = Each(source, name, node, (*path, "$each"))
        return node

    def _check_keys(
        self, raw: Mapping[Any, Any], path: tuple[str | int, ...], place: _Place
    ) -> None:
        content = [key for key in raw if key not in _KEYS]
        for key in content:
            if not isinstance(key, str):
                self.fault(path, f'a key must be text; put it in quotes: "{key}"')
            elif any(mark in key for mark in MARKS):
                self.fault((*path, key), "keys are taken as they are; only values are templates")
            elif _mistyped(key):
                self.fault((*path, key), f"there is no {key}{near(key, _KEYS)}")
        if "$value" in raw and content:
            self.fault((*path, "$value"), "stands for the whole map: no other key beside it")
        if "$each" in raw and not place.item:
            self.fault((*path, "$each"), "only an item of a list can become several")
        if "$as" in raw and "$each" not in raw:
            self.fault((*path, "$as"), "names the element of $each, and there is none")
        if "$if" in raw and place.root:
            self.fault((*path, "$if"), "the whole cannot be left out; see a route's `match`")

    def _name(self, raw: Mapping[Any, Any], path: tuple[str | int, ...]) -> str:
        name = raw.get("$as", "item")
        plain = isinstance(name, str) and name.isidentifier() and name[0] != "_"
        if plain and name not in KEPT | {"loop"}:
            return str(name)
        self.fault((*path, "$as"), "is a plain name, such as item")
        return "item"

    def _condition(
        self, raw: Mapping[Any, Any], path: tuple[str | int, ...], scope: _Scope
    ) -> Condition | None:
        if "$if" not in raw:
            return None
        wanted, path = raw["$if"], (*path, "$if")
        if isinstance(wanted, bool):
            return Condition(wanted, path)
        leaf = self._expression(wanted, path, scope, "true or false")
        return None if leaf is None else Condition(leaf, path)

    def _expression(
        self, raw: Any, path: tuple[str | int, ...], scope: _Scope, what: str
    ) -> Leaf | None:
        if not isinstance(raw, str) or not any(mark in raw for mark in MARKS):
            meant = f'"{{{{ {raw} }}}}"' if isinstance(raw, str) else '"{{ … }}"'
            self.fault(path, f"wants an expression that gives {what}: {meant}")
            return None
        leaf = self._leaf(raw, path, scope)
        if leaf is not None and not leaf.native:
            self.fault(path, f"wants one expression that gives {what}, and nothing around it")
            return None
        return leaf
