"""`body`: what a destination is sent in place of CircleCI's bytes; compiled to tell its faults."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from pydantic_core import core_schema

from circleci_relay.config import body_schema, presets, values
from circleci_relay.config.faults import near
from circleci_relay.config.fields import ValueFaults
from circleci_relay.config.interpolate import has_marks
from circleci_relay.config.templates import Below, structure_of, text_of
from circleci_relay.config.tree import Scalar, kind
from circleci_relay.config.typed import as_json
from circleci_relay.rendering.preset import MOST_EVENTS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydantic import GetCoreSchemaHandler
    from pydantic import GetJsonSchemaHandler as JsonHandler
    from pydantic_core import CoreSchema

    from circleci_relay.config.presets import Options
    from circleci_relay.rendering.structure import Structure, Text

Kind = Literal["template", "text", "form", "preset"]
KINDS: tuple[Kind, ...] = ("template", "text", "form", "preset")
_BESIDE = {"template": {"content_type"}, "text": {"content_type"}, "form": set[str]()}
_WANTED = "wanted a preset's name, or a map with one of template, text, form and preset"
_TELLING = re.compile(
    r"(?i)(api|auth|routing|integration|access|secret)[-_]?key|token|secret|passw"
)
_SHORTEST_SECRET = 8
# RFC 9110, 8.3.1.
_TOKEN = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"  # noqa: S105 - a pattern
_MEDIA_TYPE = re.compile(rf'{_TOKEN}/{_TOKEN}( *; *{_TOKEN}=({_TOKEN}|"[^"\\]*"))*')


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """
    What a destination says of its body.

    Two are equal where the same stands in the file; what it was compiled to does not count.
    """

    kind: Kind
    written: str = field(repr=False)  #: its content or options as JSON
    preset: str | None = None
    content_type: str | None = None
    content: Structure | Text | None = field(default=None, compare=False, repr=False)
    options: Options | None = field(default=None, compare=False, repr=False)

    @property
    def shown(self) -> str:
        """What may be shown of it."""
        return f"preset: {self.preset}" if self.preset is not None else self.kind

    @property
    def secrets(self) -> frozenset[str]:
        """What of it must never be seen: secret options, and constants under telling keys."""
        if self.options is not None:
            return self.options.secrets
        return frozenset(_telling(json.loads(self.written), ""))

    @property
    def groups(self) -> int:
        """Of how many events it can tell at once; 0: of one alone."""
        return MOST_EVENTS if self.preset is None else presets.find(self.preset).groups

    @property
    def counts(self) -> bool:
        """Whether it says of how many events it tells."""
        return self.content is None or not self.content.names.isdisjoint({"events", "count"})


def _telling(value: object, key: str) -> Iterator[str]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _telling(item, name)
    elif isinstance(value, list):
        for item in value:
            yield from _telling(item, key)
    elif isinstance(value, str) and _TELLING.search(key) and not has_marks(value):
        yield from (value,) if len(value) >= _SHORTEST_SECRET else ()


@dataclass(frozen=True)
class BodyField:
    """A body in any of its forms."""

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Read any of the forms."""
        return core_schema.no_info_plain_validator_function(parse)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: JsonHandler
    ) -> dict[str, Any]:
        """Any of the forms, and each preset's options."""
        return body_schema.schema()


def parse(value: object) -> Body | None:
    """Read any of the forms; None for CircleCI's own bytes."""
    if value is None or isinstance(value, Body):
        return value
    if isinstance(value, str):
        if isinstance(value, Scalar) and value.unknown:
            return None
        return _preset({"preset": value})
    if not isinstance(value, dict):
        raise ValueError(f"is {kind(value)}; {_WANTED}")  # noqa: TRY004
    chosen = [key for key in value if key in KINDS]
    if len(chosen) != 1:
        raise ValueFaults(list(_undecided(value, chosen)))
    [one] = [each for each in KINDS if each in value]
    return _preset(value) if one == "preset" else _own(value, one)


def _undecided(value: Mapping[str, Any], chosen: list[str]) -> list[tuple[Below, str]]:
    if chosen:
        first = chosen[0]
        return [((key,), f"stands beside {first}; keep one of them") for key in chosen[1:]]
    for key in value:
        if key != "content_type" and (hint := near(key, KINDS)):
            return [((key,), f"unknown key{hint}")]
    return [((), f"does not say what is sent; {_WANTED}")]


def _preset(value: Mapping[str, Any]) -> Body:
    name, options, written = presets.read(value)
    return Body(kind="preset", preset=name, options=options, written=json.dumps(written))


def _own(value: Mapping[str, Any], chosen: Kind) -> Body:
    faults: list[tuple[Below, str]] = []
    faults += [
        ((key,), _stranger(key, chosen))
        for key in value
        if key != chosen and key not in _BESIDE[chosen]
    ]
    content_type = None
    if "content_type" in value and "content_type" in _BESIDE[chosen]:
        content_type = _content_type(value["content_type"], faults)
    reader = {"template": _template, "text": _text, "form": _form}[chosen]
    content, written = reader(value[chosen], faults)
    if faults:
        raise ValueFaults(faults)
    return Body(
        kind=chosen,
        content_type=content_type,
        content=content,
        written=json.dumps(written),
    )


def _stranger(key: str, chosen: str) -> str:
    if key == "content_type":
        return "is a form's own, always the same; leave it out"
    known = [chosen, *sorted(_BESIDE[chosen])]
    hint = near(key, known)
    options = "; only presets have options" if not hint else ""
    return f"unknown key{hint}{options}"


def _content_type(value: object, faults: list[tuple[Below, str]]) -> str | None:
    if isinstance(value, Scalar) and value.unknown:
        return None
    if isinstance(value, str) and _MEDIA_TYPE.fullmatch(value):
        try:
            return values.header_value(str(value))
        except ValueError as error:
            faults.append((("content_type",), str(error)))
            return None
    said = "" if isinstance(value, str) else f"is {kind(value)}; "
    said = said or "is no media type; "
    faults.append((("content_type",), f"{said}wanted one such as application/vnd.example+json"))
    return None


def _template(value: object, faults: list[tuple[Below, str]]) -> tuple[Structure | None, object]:
    if value is None:
        faults.append((("template",), "is empty; wanted what is sent as JSON"))
        return None, None
    wrong: list[tuple[Below, str]] = []
    raw = as_json(value, wrong)
    content, faulty = (None, wrong) if wrong else structure_of(raw, value)
    if wrong:
        # What is wrong with the other leaves is told at once, too.
        faulty = wrong + [one for one in structure_of(raw, value)[1] if one[0] not in dict(wrong)]
    faults += [(("template", *path), message) for path, message in faulty]
    return content, raw


def _text(value: object, faults: list[tuple[Below, str]]) -> tuple[Text | None, object]:
    try:
        if not isinstance(value, str):
            raise ValueError(f"is {kind(value)}; wanted text")  # noqa: TRY004, TRY301
        return text_of(value), str(value)
    except ValueError as error:
        faults.append((("text",), str(error)))
        return None, None


def _form(value: object, faults: list[tuple[Below, str]]) -> tuple[Structure | None, object]:
    if not isinstance(value, dict) or not value:
        said = "is an empty map" if value == {} else f"is {kind(value)}"
        faults.append((("form",), f"{said}; wanted a map of names, such as {{payload: ...}}"))
        return None, None
    fields: dict[str, str] = {}
    for name, item in value.items():
        if isinstance(item, str):
            fields[str(name)] = str(item)
            if isinstance(item, Scalar) and item.marked:
                as_json(item, faults, ("form", name))
        else:
            faults.append((("form", name), f"is {kind(item)}; wanted text"))
    content, faulty = structure_of(fields, value)
    faults += [(("form", *path), message) for path, message in faulty]
    return content, fields
