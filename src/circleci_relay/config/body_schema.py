"""`body` as editors are told of it: each form, each preset with its options."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from circleci_relay.config.fields import REFERENCE
from circleci_relay.config.presets import find, names

if TYPE_CHECKING:
    from collections.abc import Mapping

    from circleci_relay.rendering.preset import Preset

KEYS: Mapping[str, str] = MappingProxyType(
    {
        "template": "JSON: a structure whose texts are templates.",
        "text": "Plain text: one template.",
        "form": "A form as browsers send it: names, each with a template.",
        "preset": "A body that comes with the relay, by its name; its options stand beside it.",
        "content_type": "Beside `template` or `text`: another content type than the usual one.",
    }
)
"""What may stand under `body`, and what it is."""

_SCALAR: dict[str, Any] = {"type": ["string", "number", "boolean", "null"]}
_TEXT: dict[str, Any] = {"type": ["string", "number", "boolean"]}


def schema() -> dict[str, Any]:
    """Any of the forms."""
    beside = {"content_type": {"type": "string", "description": KEYS["content_type"]}}
    form = {"type": "object", "minProperties": 1, "additionalProperties": _TEXT}
    return {
        "anyOf": [
            _names(),
            _one("template", {"not": {"type": "null"}}, beside),
            _one("text", _TEXT, beside),
            _one("form", form, {}),
            *(_preset(name) for name in names()),
            {"type": "string", "pattern": REFERENCE},
            {"type": "null"},
        ]
    }


def with_url() -> list[str]:
    """The presets that bring a URL along."""
    return [name for name in names() if "url" in find(name).settings]


def url_required() -> dict[str, Any]:
    """A destination has a URL, or a preset that brings it along."""
    bringing = {"enum": with_url()}
    named = {"type": "object", "required": ["preset"], "properties": {"preset": bringing}}
    return {
        "anyOf": [
            {"required": ["url"]},
            {"required": ["body"], "properties": {"body": {"anyOf": [bringing, named]}}},
        ]
    }


def _names() -> dict[str, Any]:
    """Those whose name is enough."""
    short = [name for name in names() if not _required(find(name))]
    return {"type": "string", "enum": short, "description": KEYS["preset"]}


def _required(preset: Preset) -> list[str]:
    return [key for key, each in preset.options.items() if each.required]


def _one(key: str, holds: dict[str, Any], beside: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "required": [key],
        "properties": {key: {**holds, "description": KEYS[key]}, **beside},
        "additionalProperties": False,
    }


def _preset(name: str) -> dict[str, Any]:
    preset = find(name)
    named = {"const": name, "description": preset.about}
    return {
        "type": "object",
        "required": ["preset", *_required(preset)],
        "properties": {"preset": named, **_options(preset)},
        "additionalProperties": False,
    }


def _options(preset: Preset) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, option in preset.options.items():
        found[key] = {"description": option.about, **_SCALAR}
        if option.choices:
            words = "|".join(str(choice) for choice in option.choices)
            found[key]["pattern"] = rf"^({words}|.*\{{\{{.*|.*\$\{{.*)$"
    return found
