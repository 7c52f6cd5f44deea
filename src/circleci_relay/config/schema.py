"""
The JSON Schema of relay.yaml, for editors.

It tells the structure: keys, kinds, patterns. What needs the rest of the file, or another
file, only `load` can tell.
"""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import models_json_schema

from circleci_relay.config import projects
from circleci_relay.config.model import (
    Defaults,
    Destination,
    Notify,
    RouteSettings,
    Server,
    SourceSettings,
    StoreSettings,
)
from circleci_relay.config.values import NAME
from circleci_relay.model import RELAY

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_MODELS = (Server, StoreSettings, SourceSettings, Defaults, Destination, RouteSettings, Notify)


def json_schema() -> dict[str, Any]:
    """JSON Schema, draft 2020-12."""
    references, definitions = models_json_schema([(model, "validation") for model in _MODELS])
    server, store, source, defaults, destination, route, notify = (
        references[(model, "validation")] for model in _MODELS
    )
    schema = {
        "$schema": DIALECT,
        "title": "relay.yaml",
        "description": "The configuration of circleci-relay.",
        "type": "object",
        "required": ["sources"],
        "properties": {
            "server": _or_empty(server),
            "store": _or_empty(store),
            "sources": {
                **_by_name(source, besides=RELAY),
                "minProperties": 1,
                "description": "Endpoints that CircleCI webhooks post to, by name.",
            },
            "projects": _or_empty(projects.SCHEMA),
            "defaults": _or_empty(defaults),
            "destinations": _or_empty(
                {**_by_name(destination), "description": "Where copies go, by name."}
            ),
            "routes": _or_empty(
                {**_by_name(route), "description": "Which events go where, by name."}
            ),
            "notify": _or_empty(notify),
        },
        "patternProperties": {"^x-": {"description": "Ignored; a place for anchors."}},
        "additionalProperties": False,
        "$defs": definitions["$defs"],
    }
    _tidy(schema)
    return schema


def _or_empty(schema: dict[str, Any]) -> dict[str, Any]:
    """A section whose keys are all commented out is empty, and that is fine."""
    return {"anyOf": [schema, {"type": "null"}]}


def _by_name(reference: dict[str, Any], *, besides: str | None = None) -> dict[str, Any]:
    reserved = {} if besides is None else {"not": {"const": besides}}
    return {
        "type": "object",
        "propertyNames": {"pattern": f"^{NAME.pattern}$", **reserved},
        "additionalProperties": reference,
    }


def _tidy(schema: Any) -> None:
    """Leave out the titles pydantic makes of names, and defaults in seconds and bytes."""
    if isinstance(schema, list):
        for item in schema:
            _tidy(item)
    if not isinstance(schema, dict):
        return
    if isinstance(schema.get("title"), str) and schema["title"] != "relay.yaml":
        del schema["title"]
    if "default" in schema and not isinstance(schema["default"], bool | None):
        del schema["default"]
    if "patternProperties" in schema:
        schema.setdefault("additionalProperties", False)
    for item in schema.values():
        _tidy(item)
