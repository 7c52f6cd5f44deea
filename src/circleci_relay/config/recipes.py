"""From a destination's settings to the recipe that its messages are made by."""

from __future__ import annotations

from typing import TYPE_CHECKING

from circleci_relay.config import presets
from circleci_relay.config.templates import Template, text_of
from circleci_relay.rendering.recipe import Recipe
from circleci_relay.rendering.structure import Text

if TYPE_CHECKING:
    from pydantic import SecretStr

    from circleci_relay.config.destinations import Destination
    from circleci_relay.rendering.recipe import Kind
    from circleci_relay.rendering.structure import Structure


def recipe_of(destination: Destination) -> Recipe | None:
    """How its messages are made; None where they are CircleCI's own bytes to one URL."""
    headers = {name.lower(): value for name, value in destination.headers.items()}
    templates = any(isinstance(each, Template) for each in (destination.url, *headers.values()))
    body, addresses = destination.body, destination.addresses
    preset = None if body is None or body.preset is None else presets.find(body.preset)
    raw = body is None or (preset is not None and preset.kind == "raw")
    if raw and not templates and not addresses:
        return None
    options = {}
    if body is not None and body.options is not None:
        options = {**body.options.constants, **body.options.templates}
    kind: Kind = "raw"
    content: Structure | Text | None = None
    content_type = None
    if preset is not None:
        kind, content, content_type = preset.kind, preset.content, preset.content_type
    elif body is not None:
        kind = _KINDS[body.kind]
        content, content_type = body.content, body.content_type
    return Recipe(
        url=_text(destination.url),
        headers={name: _text(value) for name, value in headers.items()},
        kind=kind,
        content=content,
        content_type=content_type,
        options=options,
        required=frozenset(
            name for name, option in (preset.options.items() if preset else ()) if option.required
        ),
        address={key: text_of(text) for key, text in addresses.items()},
        groups=body is not None and bool(body.groups),
    )


_KINDS: dict[str, Kind] = {"template": "json", "text": "text", "form": "form"}


def _text(value: SecretStr) -> Text:
    """Its template; as it stands, where it is none."""
    if isinstance(value, Template):
        return value.compiled
    return Text(frozenset(), frozenset(), value.get_secret_value())
