"""What a query's, a path's or a header's parameters are, read off their model's JSON Schema."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from circleci_relay.web.api.shapes import Schemas

if TYPE_CHECKING:
    from collections.abc import Mapping

    from circleci_relay.web.api.shapes import Given

_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,17}")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_NUMBER_LIKE = re.compile(r"[-+0-9._eE\s]*")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,17})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One parameter, by the name it goes by in requests."""

    kind: str  #: of its value, or of each of its values
    instant: bool  #: whether that is a date and time
    many: bool  #: whether it may come more than once

    def fits(self, text: str) -> bool:
        """Whether *text* is no number where a date and time is wanted: pydantic takes both."""
        number = _NUMBER_LIKE.fullmatch(text) and not _DATE.fullmatch(text)
        return not (self.instant and number)

    def convert(self, text: str) -> object:
        """Return *text* as its kind; unchanged, to be complained of, where it is none."""
        if self.kind == "integer" and _INTEGER.fullmatch(text):
            return int(text)
        if self.kind == "number" and _NUMBER.fullmatch(text):
            return float(text)
        if self.kind == "boolean" and text in {"true", "false"}:
            return text == "true"
        return text


@cache
def parameters(shape: type[Given]) -> Mapping[str, Parameter]:
    """Return the parameters that *shape* describes."""
    schema = shape.model_json_schema(schema_generator=Schemas)
    defined = schema.get("$defs", {})
    return {
        name: _parameter(shape, name, value, defined)
        for name, value in schema.get("properties", {}).items()
    }


def present(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a parameter's *schema* without null: one that is not given is absent."""
    found = {key: value for key, value in schema.items() if key != "anyOf"}
    if found.get("default", ...) is None:
        del found["default"]
    options = [each for each in schema.get("anyOf", ()) if each.get("type") != "null"]
    if len(options) == 1:
        return {**options[0], **found}
    return found | ({"anyOf": options} if options else {})


def _parameter(
    shape: type[Given], name: str, schema: Mapping[str, Any], defined: Mapping[str, Any]
) -> Parameter:
    schema = _resolved(present(schema), defined)
    many = schema.get("type") == "array"
    if many:
        schema = _resolved(present(schema.get("items", {})), defined)
    # Several ways to write one text: a date and time, or how long ago.
    ways = schema.get("anyOf", (schema,))
    kinds = {way.get("type") for way in ways}
    kind = kinds.pop() if len(kinds) == 1 else None
    if kind not in {"string", "integer", "number", "boolean"}:
        raise TypeError(f"{shape.__name__}.{name} is nothing that stands in a query")
    instant = any(way.get("format") == "date-time" for way in ways)
    return Parameter(kind=kind, instant=instant, many=many)


def _resolved(schema: Mapping[str, Any], defined: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return *schema*, or what it refers to."""
    name = schema.get("$ref", "").rpartition("/")[2]
    return defined[name] if name else schema
