"""Several files into one tree, and `defaults` and a preset's settings under each destination."""

from __future__ import annotations

from typing import TYPE_CHECKING

from circleci_relay.config import presets, queues
from circleci_relay.config.tree import Map

if TYPE_CHECKING:
    from collections.abc import Iterable

    from circleci_relay.config.tree import Value
    from circleci_relay.model import Fault

_NAMED = frozenset({"sources", "projects", "destinations", "routes"})
_WHOLE = frozenset({"body"})
"""Settings that take the place of a default whole: one body is no part of another."""


def files(trees: Iterable[Map]) -> tuple[Map, list[Fault]]:
    """
    One tree of all files, and what is said in two of them.

    Sources, projects, destinations and routes merge by name; what stands in a name is one file's
    alone. Other maps merge key by key.
    """
    found = list(trees)
    whole = Map(found[0].spot)
    faults: list[Fault] = []
    for tree in found:
        _into(whole, tree, faults)
    return whole, faults


def _into(whole: Map, tree: Map, faults: list[Fault]) -> None:
    for key, value in tree.items():
        spot = tree.keys_at[key]
        if key not in whole:
            whole.put(key, _copy(value) if len(spot.path) == 1 else value, spot)
            continue
        before = whole[key]
        named = len(spot.path) == 2 and spot.path[0] in _NAMED  # noqa: PLR2004
        if isinstance(before, Map) and isinstance(value, Map) and not named:
            _into(before, value, faults)
        elif before is None and len(spot.path) == 1:
            whole.put(key, _copy(value), spot)
        elif value is not None or len(spot.path) > 1:
            first = whole.keys_at[key]
            faults.append(
                spot.fault(
                    f"stands also in {first.file}:{first.line}:{first.column}; keep one of them"
                )
            )


def _copy(value: Value) -> Value:
    """A map of its own, so that merging changes no file's tree."""
    if not isinstance(value, Map):
        return value
    copy = Map(value.spot)
    for key, item in value.items():
        copy.put(key, _copy(item), value.keys_at[key])
    return copy


def defaults(settings: Map, under: Map, *, fold: bool = False) -> Map:
    """
    *settings* with *under* where it says nothing; maps merge, null overrides.

    With *fold* the case of keys does not count: they are header names. A null header takes
    a default one away.
    """
    known = {key.lower() if fold else key for key in settings}
    merged = Map(settings.spot)
    for key, value in under.items():
        if (key.lower() if fold else key) not in known:
            merged.put(key, value, under.keys_at[key])
    folded = {key.lower() for key in under}
    for key, value in settings.items():
        below = under.get(key)
        if fold and value is None and key.lower() in folded:
            continue
        if isinstance(value, Map) and isinstance(below, Map) and key not in _WHOLE:
            value = defaults(value, below, fold=key == "headers")  # noqa: PLW2901
        merged.put(key, value, settings.keys_at[key])
    return merged


def destination(settings: Map, under: Map) -> Map:
    """
    *settings* with what its preset brings along, and under that the defaults.

    Of the defaults, settings of queues count only for a URL that they belong to.
    """
    merged = defaults(settings, under)
    preset, spot = presets.chosen(merged.get("body"))
    if preset is not None:
        brought = presets.planted(preset.settings, spot or settings.spot)
        merged = defaults(settings, defaults(brought, under))
    url = merged.get("url")
    own = queues.section_of(url) if isinstance(url, str) else None
    for name in queues.NAMES:
        if name in merged and name not in settings and name != own:
            del merged[name]
            del merged.keys_at[name]
    if own is not None and merged.get(own) is None:
        merged.put(own, Map(merged.keys_at["url"]), merged.keys_at["url"])
    return merged
