"""Presets as relay.yaml names them: their options read, their settings merged, their URL made."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from circleci_relay.config.discretion import shown
from circleci_relay.config.faults import near
from circleci_relay.config.fields import ValueFaults
from circleci_relay.config.templates import (
    Below,
    is_template,
    refuse_brought_in,
    structure_of,
    text_of,
)
from circleci_relay.config.tree import Map, Scalar, Seq, Spot, kind
from circleci_relay.config.typed import setting
from circleci_relay.errors import RenderError
from circleci_relay.rendering.address import compile_url
from circleci_relay.rendering.preset import OPTION_NAMES, find, names
from circleci_relay.rendering.structure import compile_structure

if TYPE_CHECKING:
    from collections.abc import Mapping

    from circleci_relay.rendering.preset import Preset
    from circleci_relay.rendering.structure import Structure

__all__ = ["Options", "chosen", "find", "made_url", "names", "plain_settings", "planted", "read"]

Constant = str | float | bool | None

_AS_A_WHOLE = re.compile(r"\boptions\b(?!\s*[.\[])")


@dataclass(frozen=True, slots=True)
class Options:
    """The options of a preset: what a destination says, and the preset's own for the others."""

    constants: Mapping[str, Constant] = field(repr=False)
    templates: Mapping[str, Structure] = field(repr=False)
    secrets: frozenset[str] = field(default=frozenset(), repr=False)  #: the texts of secret ones


def read(value: Mapping[str, Any]) -> tuple[str, Options, dict[str, Constant]]:
    """The preset that *value* names, its options, and of them what is said there."""
    preset = _named(value["preset"])
    faults: list[tuple[Below, str]] = []
    written: dict[str, Constant] = {}
    for key, item in value.items():
        if key == "preset":
            continue
        try:
            if (said := _option(key, item, preset)) is not None:
                written[str(key)] = said
        except ValueError as error:
            faults.append(((key,), str(error)))
    faults += [
        ((), f"{key} is missing")
        for key, option in preset.options.items()
        if option.required and key not in value
    ]
    if faults:
        raise ValueFaults(faults)
    return preset.name, _options(preset, written), written


def _named(name: object) -> Preset:
    if not isinstance(name, str):
        raise ValueFaults([(("preset",), f"is {kind(name)}; wanted one of {_listed(names())}")])
    if name not in names():
        hint = near(name, names()) or f"; there are {_listed(names())}"
        raise ValueFaults([(("preset",), f"no preset is called {shown(name, 'so')}{hint}")])
    return find(str(name))


def _listed(known: Any) -> str:
    return ", ".join(known)


def _unknown(key: str, preset: Preset) -> str:
    if not preset.options:
        return "unknown option; this preset has none"
    return f"unknown option{near(key, preset.options) or f'; there are {_listed(preset.options)}'}"


def _option(key: str, value: object, preset: Preset) -> Constant:
    option = preset.options.get(key)
    if option is None:
        raise ValueError(_unknown(key, preset))
    if isinstance(value, dict | list):
        raise ValueError(f"is {kind(value)}; wanted one value")  # noqa: TRY004
    if isinstance(value, Scalar) and value.unknown:
        return "unknown"
    refuse_brought_in(value)
    said = str(value) if option.secret and isinstance(value, str) else setting(value)
    if option.required and (said is None or said == ""):
        raise ValueError("is empty; this preset cannot do without it")
    if isinstance(said, str) and is_template(said):
        made, faults = structure_of(said, value)
        if faults or made is None:
            raise ValueError(faults[0][1])
        if "options" in made.names:
            raise ValueError("names options, and one option cannot be made of another")
        if key in _of_host(preset) and made.names - {"labels"}:
            raise ValueError(
                "is a part of the URL's host, where only labels may stand: what an event holds "
                "must not lead anywhere else"
            )
        return said
    choices = [str(choice) for choice in option.choices if choice is not None]
    if choices and said is not None and str(said) not in choices:
        held = isinstance(value, Scalar) and value.expanded
        called = "this" if held or option.secret else shown(str(said))
        raise ValueError(f"{called} is none of {_listed(choices)}")
    return said


def _of_host(preset: Preset) -> list[str]:
    """The options that the preset's URL has in front of its path."""
    start = re.match(r"[^:/]*://(?:\{\{.*?\}\}|[^/?#{])*", str(preset.settings.get("url", "")))
    return re.findall(r"\boptions\.(\w+)", start[0]) if start else []


def _options(preset: Preset, written: Mapping[str, Constant]) -> Options:
    constants: dict[str, Constant] = {}
    templates: dict[str, Structure] = {}
    for key, option in preset.options.items():
        value = written.get(key, option.default)
        if isinstance(value, str) and is_template(value):
            templates[key] = _template(value)
        else:
            constants[key] = value
    secrets = frozenset(
        str(written[key])
        for key, option in preset.options.items()
        if option.secret and key in written
    )
    return Options(MappingProxyType(constants), MappingProxyType(templates), secrets)


@lru_cache(512)
def _template(text: str) -> Structure:
    """Most options of most destinations are a preset's own, and to compile one takes a while."""
    return compile_structure(text, names=OPTION_NAMES)


def chosen(body: object) -> tuple[Preset | None, Spot | None]:
    """The preset that a destination's *body* names, where there is one, and where it is named."""
    spot = None
    name = body
    if isinstance(body, dict):
        name = body.get("preset")
        spot = body.keys_at.get("preset") if isinstance(body, Map) else None
    if not isinstance(name, str) or name not in names():
        return None, None
    return find(str(name)), name.spot if isinstance(name, Scalar) else spot


def planted(settings: Mapping[str, Any], spot: Spot) -> Map:
    """A preset's settings as if they stood in the file, all at *spot*."""
    grown = Map(spot)
    for key, value in settings.items():
        grown.put(key, _planted(value, spot), spot)
    return grown


def _planted(value: object, spot: Spot) -> Any:
    if isinstance(value, dict):
        return planted(value, spot)
    if isinstance(value, list | tuple):
        grown = Seq(spot)
        grown.extend(_planted(item, spot) for item in value)
        grown.items_at.extend(spot for _ in value)
        return grown
    if value is None:
        return None
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return Scalar.at(text, spot, Path(), plain=False)


def plain_settings(body: object) -> Mapping[str, Any]:
    """The settings that the preset of *body* brings along."""
    preset, _ = chosen(body)
    return preset.settings if preset is not None else {}


def made_url(url: str, options: Options) -> str | None:
    """*url* with its options filled in; None where it differs from message to message."""
    try:
        text = text_of(url, compile_url)
    except ValueError:
        return None
    constant = text.options <= options.constants.keys()
    whole = options.templates and _AS_A_WHOLE.search(url)
    if not text.names <= {"options"} or not constant or whole:
        return None
    try:
        return text.render({"options": dict(options.constants)})
    except RenderError:
        return None
