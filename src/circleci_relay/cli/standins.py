"""What is made of something that stands in for a variable or file that is absent."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from jinja2 import nodes

from circleci_relay.config import merge
from circleci_relay.config.templates import is_template
from circleci_relay.config.tree import Map, Scalar, Seq, value_at
from circleci_relay.rendering.leaf import names_in, parse

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


_LABELS: Final = frozenset({"labels", "public_labels"})


class StandIns:
    """Where in the *tree* of all files something is made up, and what that goes into."""

    def __init__(self, tree: Map) -> None:
        self._tree = tree
        self._labels = {
            (name, str(value))
            for labels in self._section("projects").values()
            if isinstance(labels, Map)
            for name, value in labels.items()
            if isinstance(value, Scalar) and value.unknown
        }

    def behind(
        self, destination: str, place: tuple[str | int, ...], labels: Mapping[str, str]
    ) -> bool:
        """Whether it has a part in what *destination* makes of *labels* at *place*."""
        settings = self._section("destinations").get(destination)
        if not isinstance(settings, Map):
            return False
        settings = merge.destination(settings, self._section("defaults"))
        body = settings.get("body")
        if place[:2] == ("body", "preset"):
            place = ("body",)  # its own texts are made of all that stands beside its name
        texts = list(_scalars(_under(settings, place)))
        if any("options" in _names(text) for text in texts):
            texts += _scalars(body)
        if any(text.unknown for text in texts):
            return True
        made_up = {name for name, value in self._labels if labels.get(name) == value}
        return any(made_up & _labels_in(text, made_up) for text in texts)

    def _section(self, name: str) -> Map:
        found = self._tree.get(name)
        return found if isinstance(found, Map) else Map(self._tree.spot)


def _under(settings: Map, place: tuple[str | int, ...]) -> object:
    """What stands at *place*; the case of a header's name does not count."""
    headers = settings.get("headers")
    if place[:1] == ("headers",) and isinstance(headers, Map):
        found = {name.lower(): value for name, value in headers.items()}
        return value_at(found, place[1:])
    return value_at(settings, place)


def _scalars(value: object) -> Iterator[Scalar]:
    if isinstance(value, Scalar):
        yield value
    elif isinstance(value, (Map, Seq)):
        for each in value.values() if isinstance(value, Map) else value:
            yield from _scalars(each)


def _parsed(text: Scalar) -> nodes.Node:
    if is_template(text):
        with suppress(ValueError):  # no template after all
            return parse(text)
    return nodes.Template([])


def _names(text: Scalar) -> set[str]:
    return names_in(_parsed(text))


def _labels_in(text: Scalar, every: set[str]) -> set[str]:
    """The labels that *text* asks for; *every* one where it does not name them."""
    tree = _parsed(text)
    asked = sum(each.name in _LABELS for each in tree.find_all(nodes.Name))
    found = [each.attr for each in tree.find_all(nodes.Getattr) if _of_labels(each.node)]
    found += [
        str(each.arg.value)
        for each in tree.find_all(nodes.Getitem)
        if _of_labels(each.node) and isinstance(each.arg, nodes.Const)
    ]
    return set(found) if len(found) == asked else every


def _of_labels(node: nodes.Expr) -> bool:
    return isinstance(node, nodes.Name) and node.name in _LABELS
