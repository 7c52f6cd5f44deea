"""
How much a proposed configuration may hold: what is beyond would keep a running relay busy.

Counted before anything is compiled: values (those of `defaults` once for each destination),
entries, templates, and what patterns come to in RE2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import re2

from circleci_relay.config.interpolate import has_marks
from circleci_relay.config.tree import Map, Scalar, Seq
from circleci_relay.patterns import translate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from circleci_relay.config.tree import Spot, Value
    from circleci_relay.model import Fault

MOST_VALUES: Final = 20_000
MOST_ENTRIES: Final = 1000
_TEMPLATE_COUNT, _TEMPLATE_CHARS = 1000, 128 << 10
_PATTERN_CHARS: Final = 4096
_PATTERN_STEPS: Final = 200_000  # of RE2's programs; to make one takes half a microsecond
_FEWEST_STEPS: Final = 100  # what even a short one takes
_PATTERN_MEMORY: Final = 256 << 10
_SHORTEST_REGEX: Final = 2


def faults(root: Map) -> Iterator[Fault]:
    """What is too much in *root*, the configuration's whole tree."""
    found = [*_entries(root), *_values(root)]
    yield from found
    if not found:
        # The rest takes time for each of them.
        yield from _templates(root)
        yield from _patterns(root)


def scalars(value: Value) -> Iterator[Scalar]:
    """Every text in *value*."""
    if isinstance(value, Map):
        for item in value.values():
            yield from scalars(item)
    elif isinstance(value, Seq):
        for item in value:
            yield from scalars(item)
    elif isinstance(value, Scalar):
        yield value


def _entries(root: Map) -> Iterator[Fault]:
    for section in ("sources", "projects", "destinations", "routes"):
        entries = root.get(section)
        if isinstance(entries, Map) and len(entries) > MOST_ENTRIES:
            yield root.keys_at[section].fault(_beyond(f"{MOST_ENTRIES} entries"))


def _values(root: Map) -> Iterator[Fault]:
    destinations, under = root.get("destinations"), root.get("defaults")
    times = len(destinations) if isinstance(destinations, Map) else 0
    values = count(root)
    if values > MOST_VALUES:
        yield root.spot.fault(_beyond(f"{MOST_VALUES} values"))
    elif values + times * count(under) > 2 * MOST_VALUES:
        yield root.keys_at["defaults"].fault(
            f"counts once for each destination: {_beyond(f'{2 * MOST_VALUES} values so')}"
        )


def count(value: Value) -> int:
    """How many values *value* is."""
    below = value.values() if isinstance(value, Map) else value if isinstance(value, Seq) else ()
    return 1 + sum(map(count, below))


def _templates(root: Map) -> Iterator[Fault]:
    found = [text for text in scalars(root) if text.template and has_marks(text)]
    if len(found) > _TEMPLATE_COUNT:
        yield found[_TEMPLATE_COUNT].spot.fault(_beyond(f"{_TEMPLATE_COUNT} templates"))
    elif sum(map(len, found)) > _TEMPLATE_CHARS:
        yield found[0].spot.fault(_beyond(f"{_TEMPLATE_CHARS >> 10}KiB of templates"))


def _patterns(root: Map) -> Iterator[Fault]:
    left = _PATTERN_STEPS
    for text, spot in _held_against(root):
        if len(text) > _PATTERN_CHARS:
            yield spot.fault(f"is longer than {_PATTERN_CHARS} characters; make several of it")
            continue
        steps = _steps(text)
        if steps is None:
            yield spot.fault("comes to more than a pattern may in a proposal; simplify it")
            continue
        left -= steps
        if left < 0:
            yield spot.fault("with this one the patterns come to more than a proposal may hold")
            return


def _held_against(root: Map) -> Iterator[tuple[str, Spot]]:
    """Each text that events are held against, and its place."""
    routes, projects = root.get("routes"), root.get("projects")
    for route in routes.values() if isinstance(routes, Map) else ():
        match = route.get("match") if isinstance(route, Map) else None
        for text in scalars(match):
            yield text, text.spot
    if isinstance(projects, Map):
        yield from projects.keys_at.items()


def _steps(text: str) -> int | None:
    """What *text* comes to as RE2 runs it; None where that is too much, 0 where it is no such."""
    if len(text) >= _SHORTEST_REGEX and text[0] == text[-1] == "/":
        expression = text[1:-1]
    elif "*" in text or "?" in text:
        try:
            expression = translate(text)
        except ValueError:
            return 0  # told when it is compiled
    else:
        return 0
    options = re2.Options()
    options.log_errors, options.max_mem = False, _PATTERN_MEMORY
    try:
        return max(int(re2.compile(expression, options).programsize), _FEWEST_STEPS)
    except re2.error as error:
        return None if "too large" in str(error) else _FEWEST_STEPS


def _beyond(bound: str) -> str:
    return f"a proposal may hold {bound}; propose a part of it"
