"""The parts that a compiled structure is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from circleci_relay.errors import RenderError
from circleci_relay.rendering.bounds import (
    OMIT,
    is_missing,
    kind_of,
    plain_data,
    size_of_data,
    take_size,
    take_turns,
)

if TYPE_CHECKING:
    from circleci_relay.rendering.leaf import Leaf


class Node(Protocol):
    """A part of a structure."""

    def make(self, scope: dict[str, Any]) -> Any:
        """Its value, or `OMIT`."""


@dataclass(frozen=True, slots=True)
class Constant:
    """What is the same for every event."""

    value: Any
    size: int

    def make(self, scope: dict[str, Any]) -> Any:  # noqa: ARG002 - the same for all
        """It; only scalars are constants, so it can be shared."""
        take_size(self.size)
        return self.value


@dataclass(frozen=True, slots=True)
class Native:
    """A leaf that keeps its expression's type."""

    leaf: Leaf
    path: tuple[str | int, ...]

    def make(self, scope: dict[str, Any]) -> Any:
        """What the expression comes to."""
        try:
            value = self.leaf.value(scope)
            if value is OMIT:
                return OMIT
            made = plain_data(value)
            take_size(size_of_data(made))
        except RenderError as error:
            raise error.under(*self.path) from None
        return made


@dataclass(frozen=True, slots=True)
class Written:
    """A leaf that is text."""

    leaf: Leaf
    path: tuple[str | int, ...]

    def make(self, scope: dict[str, Any]) -> Any:
        """The text."""
        try:
            return self.leaf.text(scope)
        except RenderError as error:
            raise error.under(*self.path) from None


@dataclass(frozen=True, slots=True)
class Map:
    """A map, its keys as they are."""

    entries: tuple[tuple[str, Node], ...]

    def make(self, scope: dict[str, Any]) -> Any:
        """Its entries, but those omitted."""
        made = {}
        for key, node in self.entries:
            value = node.make(scope)
            if value is not OMIT:
                take_size(len(key) + 4)
                made[key] = value
        return made


@dataclass(frozen=True, slots=True)
class List:
    """A list; one item of it may become several."""

    nodes: tuple[Node, ...]

    def make(self, scope: dict[str, Any]) -> Any:
        """Its items, but those omitted."""
        made: list[Any] = []
        for node in self.nodes:
            value = node.make(scope)
            if isinstance(node, Each):
                made += value
            elif value is not OMIT:
                take_size(1)
                made.append(value)
        return made


@dataclass(frozen=True, slots=True)
class If:
    """What may be left out."""

    condition: Condition
    content: Node

    def make(self, scope: dict[str, Any]) -> Any:
        """The content, where the condition holds."""
        return self.content.make(scope) if self.condition.holds(scope) else OMIT


@dataclass(frozen=True, slots=True)
class Condition:
    """What `$if` says."""

    leaf: Leaf | bool
    path: tuple[str | int, ...]

    def holds(self, scope: dict[str, Any]) -> bool:
        """Whether the map stays."""
        if isinstance(self.leaf, bool):
            return self.leaf
        try:
            return bool(self.leaf.value(scope))
        except RenderError as error:
            raise error.under(*self.path) from None


@dataclass(frozen=True, slots=True)
class Each:
    """What `$each` makes of one item."""

    source: Leaf
    name: str
    content: Node
    path: tuple[str | int, ...]

    def make(self, scope: dict[str, Any]) -> list[Any]:
        """The items; none where the list is missing."""
        made = []
        for element in self._elements(scope):
            value = self.content.make({**scope, self.name: element})
            if value is not OMIT:
                take_size(1)
                made.append(value)
        return made

    def _elements(self, scope: dict[str, Any]) -> list[Any] | tuple[Any, ...]:
        try:
            found = self.source.value(scope)
            if is_missing(found):
                return []
            if not isinstance(found, (list, tuple)):
                raise RenderError(  # noqa: TRY301 - gets its path below
                    f"a list is wanted here, and the value is {kind_of(found)}"
                )
            take_turns(len(found))
        except RenderError as error:
            raise error.under(*self.path) from None
        return found
