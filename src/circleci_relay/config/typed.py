"""YAML as JSON: where a body is written, plain words and numbers become JSON's own."""

from __future__ import annotations

import math
import re
from typing import Any

from circleci_relay.config.templates import Below, refuse_brought_in
from circleci_relay.config.tree import Scalar

# YAML 1.2.2, 10.3.2, "Tag Resolution" of the core schema.
_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER = re.compile(r"[-+]?[0-9]+")
_OTHER_BASE = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NO_NUMBER = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_LARGEST = (1 << 63) - 1
_MOST_DIGITS = 19
_QUOTE = "put it in quotes if it is meant as text"

Faults = list[tuple[Below, str]]


def as_json(value: object, faults: Faults, at: Below = ()) -> Any:
    """
    What stands in a file as JSON's own types; what is wrong with it goes to *faults*.

    Quoted text is text, and so is whatever a variable or file held.
    """
    if isinstance(value, dict):
        return {str(key): as_json(item, faults, (*at, key)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(item, faults, (*at, index)) for index, item in enumerate(value)]
    try:
        return scalar_as_json(value)
    except ValueError as error:
        faults.append((at, str(error)))
        return None


def scalar_as_json(value: object) -> str | float | bool | None:
    """One scalar as JSON's own type; raises `ValueError`."""
    refuse_brought_in(value)
    if isinstance(value, Scalar):
        return _typed(str(value)) if value.plain and not value.expanded else str(value)
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise ValueError("is nothing that JSON has; wanted text, a number, true, false or null")


def _typed(text: str) -> str | float | bool | None:
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        if re.match(r"[-+]?0[0-9]", text):
            raise ValueError(f"begins with 0, which no number does in JSON; {_QUOTE}")
        if len(text) > _MOST_DIGITS or abs(int(text)) > _LARGEST:
            raise ValueError(f"is a larger number than JSON's readers take; {_QUOTE}")
        return int(text)
    if _NO_NUMBER.fullmatch(text):
        raise ValueError(f"is no number that JSON has; {_QUOTE}")
    if _OTHER_BASE.fullmatch(text):
        raise ValueError(f"is a number in another base, which JSON has not; {_QUOTE}")
    if _FLOAT.fullmatch(text):
        number = float(text)
        if not math.isfinite(number):
            raise ValueError(f"is a larger number than JSON's readers take; {_QUOTE}")
        return number
    return text


def setting(value: object) -> str | float | bool | None:
    """
    A preset's option: as in a body, but a number whose writing would change stays text.

    So a key of digits, or 1e5, or 007, is what it was written as.
    """
    refuse_brought_in(value)
    if not isinstance(value, Scalar):
        return scalar_as_json(value)
    if not value.plain or value.expanded:
        return str(value)
    try:
        typed = _typed(str(value))
    except ValueError:
        return str(value)
    same = typed is None or isinstance(typed, bool | str) or str(typed) == value
    return typed if same else str(value)
