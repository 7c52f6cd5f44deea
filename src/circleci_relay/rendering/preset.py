"""Presets: bodies and settings for services, kept as data files beside this module."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache, cached_property, partial
from importlib import resources
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import yaml

from circleci_relay.rendering import scene
from circleci_relay.rendering.address import compile_url
from circleci_relay.rendering.structure import (
    Structure,
    TemplateFaults,
    Text,
    compile_structure,
    compile_text,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from circleci_relay.rendering.recipe import Kind

_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_KINDS: Final[Mapping[str, Kind]] = MappingProxyType(
    {"template": "json", "text": "text", "form": "form", "raw": "raw"}
)
_SCALAR: Final = (str, int, float, bool, type(None))
OPTION_NAMES: Final = frozenset(scene.NAMES) - {"options"}
"""What an option's own template may name."""


MOST_EVENTS: Final = 200
"""Events that any message tells of at most."""


class BrokenPreset(AssertionError):  # noqa: N818 - says what the preset is
    """A packaged preset's file is wrong, which tests should have told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """What may stand beside `preset:`."""

    about: str
    default: str | int | float | bool | None = None  #: may be a template
    required: bool = False
    secret: bool = False
    choices: tuple[str | int | float | bool | None, ...] = ()  #: nothing else, where there are any


@dataclass(frozen=True, kw_only=True)
class Preset:
    """One service's body and settings."""

    name: str
    title: str
    about: str
    sources: tuple[str, ...]
    options: Mapping[str, Option]
    settings: Mapping[str, Any]  #: a destination's, under its own and over the defaults
    groups: int  #: of how many events its body can tell at once; 0: of one alone
    kind: Kind
    raw: Any = field(repr=False)  #: the body as written; None for `raw`
    content_type: str | None
    limits: tuple[str, ...]

    @cached_property
    def content(self) -> Structure | Text | None:
        """Its body, compiled; None for CircleCI's own bytes."""
        return compile_content(self.kind, self.raw)


def compile_content(kind: Kind, raw: Any) -> Structure | Text | None:
    """A body's content, ready to render; raises `TemplateFaults`."""
    if kind == "raw":
        return None
    return compile_text(raw) if kind == "text" else compile_structure(raw)


@cache
def names() -> tuple[str, ...]:
    """The presets there are, sorted."""
    files = (each.name for each in _files().iterdir())
    return tuple(sorted(each.removesuffix(".yaml") for each in files if each.endswith(".yaml")))


@cache
def find(name: str) -> Preset:
    """One preset; KeyError for an unknown *name*, `BrokenPreset` where its file is wrong."""
    if name not in names():
        raise KeyError(name)
    return read(name, _files().joinpath(f"{name}.yaml").read_text("utf-8"))


def read(name: str, text: str) -> Preset:
    """The preset in a file's *text*; raises `BrokenPreset`."""
    try:
        raw = yaml.load(text, Loader=_strict())  # noqa: S506 - a subclass of the safe loader
    except yaml.YAMLError as error:
        raise BrokenPreset(f"preset {name}: {error}") from None
    faults: list[str] = []
    reading = _Reading(raw if isinstance(raw, dict) else {}, faults)
    preset = reading.preset(name)
    faults += _template_faults(preset)
    if faults:
        raise BrokenPreset(f"preset {name}: " + "; ".join(faults))
    return preset


def _files() -> Any:
    return resources.files(__package__).joinpath("presets")


@cache
def _strict() -> type[yaml.SafeLoader]:
    """The safe loader, that lets no key stand twice."""

    class Strict(_LOADER):  # type: ignore[misc, valid-type]
        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> Any:  # noqa: FBT001, FBT002 - PyYAML's
            keys = [key.value for key, _ in node.value]
            twice = {key for key in keys if isinstance(key, str) and keys.count(key) > 1}
            if twice:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{min(twice)} stands twice", node.start_mark
                )
            return super().construct_mapping(node, deep=deep)

    return Strict


class _Reading:
    """One look over a preset's file."""

    def __init__(self, raw: dict[Any, Any], faults: list[str]) -> None:
        self._raw, self._faults = raw, faults

    def preset(self, name: str) -> Preset:
        self._keys(
            self._raw, "the file",
            needed=("title", "about", "sources", "body"),
            others=("options", "settings", "groups", "limits"),
        )  # fmt: skip
        kind, raw, content_type = self._body(self._raw.get("body"))
        return Preset(
            name=name,
            title=self._text(self._raw, "title"),
            about=self._text(self._raw, "about"),
            sources=self._texts("sources"),
            options=self._options(self._map("options")),
            settings=MappingProxyType(self._map("settings")),
            groups=self._groups(),
            kind=kind,
            raw=raw,
            content_type=content_type,
            limits=self._texts("limits"),
        )

    def _body(self, body: Any) -> tuple[Kind, Any, str | None]:
        body = body if isinstance(body, dict) else {}
        chosen = [key for key in _KINDS if key in body]
        self._keys(body, "body", needed=(), others=(*_KINDS, "content_type"))
        if len(chosen) != 1:
            self._faults.append(f"body has one of {', '.join(_KINDS)}")
            return "raw", None, None
        [key] = chosen
        raw = body[key]
        if {"raw": raw is not True, "text": not isinstance(raw, str),
                "form": not isinstance(raw, dict)}.get(key):  # fmt: skip
            self._faults.append(f"body.{key} is not what it should be")
            return "raw", None, None
        content_type = self._text(body, "content_type") if "content_type" in body else None
        return _KINDS[key], None if key == "raw" else raw, content_type

    def _options(self, raw: dict[str, Any]) -> Mapping[str, Option]:
        return MappingProxyType({str(name): self._option(str(name), raw[name]) for name in raw})

    def _option(self, name: str, raw: Any) -> Option:
        raw = raw if isinstance(raw, dict) else {}
        self._keys(raw, f"options.{name}", needed=("about",),
                   others=("default", "required", "secret", "choices"))  # fmt: skip
        choices = raw.get("choices", [])
        default = raw.get("default")
        if not isinstance(choices, list) or not all(isinstance(each, _SCALAR) for each in choices):
            self._faults.append(f"options.{name}.choices is a list of scalars")
            choices = []
        if not isinstance(default, _SCALAR):
            self._faults.append(f"options.{name}.default is a scalar")
        elif choices and default is not None and default not in choices:
            self._faults.append(f"options.{name}.default is none of its choices")
        if not name.isidentifier():
            self._faults.append(f"options.{name} is no name that a template can use")
        return Option(
            about=self._text(raw, "about"),
            default=default,
            required=self._flag(raw, "required"),
            secret=self._flag(raw, "secret"),
            choices=tuple(choices),
        )

    def _keys(
        self, raw: dict[Any, Any], where: str, *, needed: Iterable[str], others: Iterable[str]
    ) -> None:
        known = {*needed, *others}
        self._faults += [f"{where} has no {key}" for key in needed if key not in raw]
        self._faults += [f"{where}: what is {key}?" for key in raw if key not in known]

    def _text(self, raw: dict[Any, Any], key: str) -> str:
        value = raw.get(key)
        if not isinstance(value, str) or not value.strip():
            self._faults.append(f"{key} is text")
            return ""
        return value.strip()

    def _flag(self, raw: dict[Any, Any], key: str) -> bool:
        value = raw.get(key, False)
        if not isinstance(value, bool):
            self._faults.append(f"{key} is true or false")
        return value is True

    def _groups(self) -> int:
        value = self._raw.get("groups", False)
        if isinstance(value, bool):
            return MOST_EVENTS if value else 0
        if not isinstance(value, int) or not 1 < value <= MOST_EVENTS:
            self._faults.append("groups is true, false, or the number of events it can tell of")
            return 0
        return value

    def _texts(self, key: str) -> tuple[str, ...]:
        value = self._raw.get(key, [])
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            self._faults.append(f"{key} is a list of texts")
            return ()
        return tuple(each.strip() for each in value)

    def _map(self, key: str) -> dict[str, Any]:
        value = self._raw.get(key, {})
        if not isinstance(value, dict):
            self._faults.append(f"{key} is a map")
            return {}
        return value


def _template_faults(preset: Preset) -> Iterator[str]:
    """What is wrong with the templates in *preset*, and options they use that it has not."""
    for where, made in _compiled(preset):
        if isinstance(made, TemplateFaults):
            yield from (
                f"{where}{''.join(f'[{key!r}]' for key in fault.path)}: {fault.message}"
                for fault in made.faults
            )
        elif made is not None:
            unknown = made.options - preset.options.keys()
            yield from (f"{where}: there is no options.{each}" for each in sorted(unknown))


def _compiled(preset: Preset) -> Iterator[tuple[str, Structure | Text | TemplateFaults | None]]:
    """Every template in *preset*, or what is wrong with it, and where it stands."""
    yield "body", _attempt(lambda: preset.content)
    url, headers = preset.settings.get("url"), preset.settings.get("headers")
    if isinstance(url, str):
        yield "settings.url", _attempt(partial(compile_url, url))
    for name, value in (headers if isinstance(headers, dict) else {}).items():
        yield f"settings.headers.{name}", _attempt(partial(compile_text, str(value)))
    for name, option in preset.options.items():
        made = _attempt(partial(compile_structure, option.default, names=OPTION_NAMES))
        yield f"options.{name}.default", made


def _attempt(
    make: Callable[[], Structure | Text | None],
) -> Structure | Text | TemplateFaults | None:
    try:
        return make()
    except TemplateFaults as faults:
        return faults
