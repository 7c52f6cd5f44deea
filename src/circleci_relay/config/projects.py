"""`projects`: labels by project, read and checked."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from circleci_relay.config.discretion import sayable, shown
from circleci_relay.config.quiet import LABEL, LABEL_RULE
from circleci_relay.config.tree import Map, Spot, kind
from circleci_relay.patterns import compile_pattern

if TYPE_CHECKING:
    from collections.abc import Iterator

    from circleci_relay.model import Fault

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")

SCHEMA = {
    "type": "object",
    "propertyNames": {"minLength": 1},
    "additionalProperties": {
        "anyOf": [
            {
                "type": "object",
                "propertyNames": {"pattern": f"^{LABEL.pattern}$"},
                "additionalProperties": {"type": ["string", "number", "boolean"]},
            },
            {"type": "null"},
        ]
    },
    "description": "Labels by project; all patterns that a project meets count, later ones win.",
}
"""What editors are told of the section."""


def read(section: Map) -> tuple[dict[str, dict[str, str]], list[Fault]]:
    """The labels by pattern, in the order of the files, and what is wrong with them."""
    faults: list[Fault] = []
    found = {}
    for pattern, value in section.items():
        spot = section.keys_at[pattern]
        try:
            compile_pattern(str(pattern))
        except ValueError as error:
            said = str(error) if sayable(pattern) else _NO_PATTERN
            faults.append(spot.fault(said))
        if value is None:
            value = Map(spot)  # noqa: PLW2901 - all of it is commented out
        if not isinstance(value, Map):
            faults.append(
                spot.fault(f"is {kind(value)}; wanted labels, such as {{team: payments}}")
            )
            continue
        found[str(pattern)] = dict(_labels(value, faults))
    return found, faults


_NO_PATTERN = "is no pattern; wanted a project's name, a glob, or a /regular expression/"


def _labels(labels: Map, faults: list[Fault]) -> Iterator[tuple[str, str]]:
    for name, value in labels.items():
        spot = labels.keys_at[name]
        if not LABEL.fullmatch(name):
            faults.append(spot.fault(f"{shown(name)} is no label: {LABEL_RULE}"))
        elif complaint := _wrong(value):
            faults.append(_place(value, spot).fault(complaint))
        else:
            yield str(name), str(value)


def _place(value: object, spot: Spot) -> Spot:
    return getattr(value, "spot", spot)


def _wrong(value: object) -> str | None:
    if not isinstance(value, str):
        return f"is {kind(value)}; wanted text"
    if _CONTROL.search(value):
        return "holds a control character (a line break?); wanted one printable line"
    return None
