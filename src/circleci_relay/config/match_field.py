"""`match`: compiled to tell its faults, kept as it was written, and described for editors."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic_core import core_schema

from circleci_relay.config.discretion import UNSAID, Unsaid, sayable
from circleci_relay.config.fields import ValueFaults
from circleci_relay.config.tree import Map, Scalar, kind, plain, value_at
from circleci_relay.routing import MATCH_KEYS, MatchFaults, PatternError, compile_match

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import GetCoreSchemaHandler
    from pydantic import GetJsonSchemaHandler as JsonHandler
    from pydantic_core import CoreSchema


@dataclass(frozen=True)
class MatchField:
    """What a route matches: compiled, to tell its faults, and kept as it was written."""

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Read a map."""
        return core_schema.no_info_plain_validator_function(_match)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: JsonHandler
    ) -> dict[str, Any]:
        """The keys and what they take; see `schema`."""
        return match_schema()


def _match(value: object) -> dict[str, Any]:
    if value is None:
        raise ValueError("is empty; leave match out to send on everything but pings")
    if not isinstance(value, dict):
        raise ValueError(f"is {kind(value)}; wanted a map such as {{status: failed}}")  # noqa: TRY004
    faults = list(_control_characters(value, ()))
    raw: dict[str, Any] = plain(value)
    try:
        compile_match(raw)
    except MatchFaults as error:
        faults += [(fault.path, _discreet(value, fault)) for fault in error.faults]
    if faults:
        raise ValueFaults(faults)
    return raw


def _discreet(match: dict[str, Any], fault: PatternError) -> str:
    """The message without the key or value it is about, where that may be a secret."""
    found, holder = value_at(match, fault.path), value_at(match, fault.path[:-1])
    message = fault.message
    if isinstance(found, Scalar) and found.expanded:
        return "does not hold, once its ${...} is filled in, a text, glob or /regular expression/"
    if isinstance(found, Scalar) and not sayable(found):
        # RE2 repeats the pattern, or a part of it, after what it complains of.
        said, takes, reason = message.replace(found, "this").partition(" RE2 takes: ")
        return said + takes + reason.partition(": ")[0]
    keys = [*(holder if isinstance(holder, dict) else ()), *(found if type(found) is Map else ())]
    for each in keys:
        if each in message and isinstance(each, Unsaid):
            message = message.replace(each, UNSAID)
    return message


def _control_characters(
    value: object, path: tuple[str | int, ...]
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    r"""`"\bmain"` in double quotes is a backspace, and matches no branch."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _control_characters(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _control_characters(item, (*path, index))
    elif isinstance(value, str) and re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", value):
        yield (
            path,
            (
                "holds a control character, as a backslash in double quotes makes them; "
                "put it in single quotes, where a backslash is itself"
            ),
        )


_PATTERN: dict[str, Any] = {"type": ["string", "number", "boolean", "null"]}
_PATTERNS: dict[str, Any] = {
    "anyOf": [_PATTERN, {"type": "array", "items": _PATTERN, "minItems": 1}]
}


def match_schema() -> dict[str, Any]:
    """Every key that may stand under `match`, and under its `not`."""
    keys: dict[str, Any] = {
        key: {**_PATTERNS, "description": "A text, a glob, a /regular expression/, or a list."}
        for key in sorted(MATCH_KEYS - {"not", "payload", "labels"})
    }
    keys["payload"] = {
        "type": "object",
        "minProperties": 1,
        "additionalProperties": _PATTERNS,
        "description": "Dotted paths into the body, each with what it must be.",
    }
    keys["labels"] = {
        "type": "object",
        "minProperties": 1,
        "additionalProperties": _PATTERNS,
        "description": "Labels of the project, each with what it must be.",
    }
    inner = {"type": "object", "additionalProperties": False, "properties": keys}
    refused = {**inner, "minProperties": 1, "description": "None of these may hold."}
    return {**inner, "properties": {**keys, "not": refused}}
