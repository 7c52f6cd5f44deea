"""How one destination's messages are made: its URL, headers, body and addressing."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import urlencode

from circleci_relay.errors import RenderError
from circleci_relay.rendering.address import check_url
from circleci_relay.rendering.bounds import budget, finish, is_missing, text_of
from circleci_relay.rendering.filters import plain
from circleci_relay.rendering.structure import Structure, Text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Kind = Literal["raw", "json", "text", "form"]
"""What a body is: CircleCI's own bytes, JSON, plain text, or a form."""

CONTENT_TYPES: Final[Mapping[str, str]] = {
    "json": "application/json",
    "text": "text/plain; charset=utf-8",
    "form": "application/x-www-form-urlencoded",
}
"""What each kind of body is called unless the configuration says otherwise."""

_LONGEST_HEADER: Final = 4096
_LATIN: Final = re.compile(r"[^\x20-\x7e\xa0-\xff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """One message as it was made."""

    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | None = field(repr=False)  #: None: the original bytes
    content_type: str | None  #: None: as the original
    address: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How one destination's messages are made."""

    url: Text  #: see `address.compile_url`
    headers: Mapping[str, Text] = field(default_factory=dict)
    kind: Kind = "raw"
    content: Structure | Text | None = None  #: None for `raw`
    content_type: str | None = None  #: None: as `CONTENT_TYPES` has it
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    required: frozenset[str] = frozenset()  #: options that must come to something
    address: Mapping[str, Text] = field(default_factory=dict)
    groups: bool = False  #: whether its body can tell of several events

    @property
    def names(self) -> frozenset[str]:
        """All top-level names in use."""
        return frozenset().union(*(each.names for each in self._parts()))

    @property
    def labels_asked(self) -> frozenset[str]:
        """What is asked of `labels` by name, anywhere."""
        return frozenset().union(*(each.labels_asked for each in self._parts()))

    def _parts(self) -> Iterator[Text | Structure]:
        every = (
            self.url,
            *self.headers.values(),
            *self.address.values(),
            self.content,
            *self.options.values(),
        )
        return (each for each in every if isinstance(each, (Text, Structure)))

    def make(self, scene: Mapping[str, Any]) -> Made:
        """The message for *scene*; raises `RenderError`."""
        with budget():
            options = {name: _at(_option, each, scene, name) for name, each in self.options.items()}
            for name in sorted(self.required):
                if is_missing(options.get(name)) or options[name] == "":
                    raise RenderError(f"the option {name} is empty for this event")
            scene = {**scene, "options": options}
            headers = {
                name: value
                for name, each in self.headers.items()
                if (value := _at(_header, each, scene, "headers", name)) is not None
            }
            return Made(
                url=_at(_url, self.url, scene, "url"),
                headers=headers,
                body=_at(self._body, self.content, scene, "body"),
                content_type=self.content_type or CONTENT_TYPES.get(self.kind),
                address={
                    name: _at(Text.render, each, scene, name) for name, each in self.address.items()
                },
            )

    def _body(self, content: Structure | Text | None, scene: Mapping[str, Any]) -> bytes | None:
        if content is None:
            return None
        value = content.render(scene)
        if self.kind == "text":
            return text_of(value).encode()
        if self.kind == "form":
            return _form(value)
        return to_json(value)


def to_json(value: Any) -> bytes:
    """Plain data as compact JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def _at(make: Any, part: Any, scene: Mapping[str, Any], *path: str) -> Any:
    try:
        return make(part, scene)
    except RenderError as error:
        raise error.under(*path) from None


def _option(option: Any, scene: Mapping[str, Any]) -> Any:
    return option.render(scene) if isinstance(option, (Text, Structure)) else option


def _header(text: Text, scene: Mapping[str, Any]) -> str | None:
    """A header's value as every server takes it; None for a template that gives nothing."""
    if text.constant is not None:
        return text.constant
    line = _LATIN.sub("?", plain(text.render(scene)))
    return line[:_LONGEST_HEADER].strip() or None


def _url(text: Text, scene: Mapping[str, Any]) -> str:
    if text.constant is not None:
        return text.constant
    for name in sorted(text.labels):
        if not scene["labels"].get(name):
            raise RenderError(f"the event's project has no label {name}")
    return check_url(text.render(scene))


def _form(value: Any) -> bytes:
    if not isinstance(value, dict):
        raise RenderError("a form is a map")
    pairs = [
        (key, text_of(each))
        for key, found in value.items()
        for each in (found if isinstance(found, list) else [found])
        if each is not None
    ]
    return finish(urlencode(pairs)).encode()
