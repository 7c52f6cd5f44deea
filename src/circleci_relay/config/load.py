"""From files to a `Config`: everything read, checked and put together, all faults at once."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, replace
from functools import reduce
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel, ValidationError

from circleci_relay.circleci.signature import Keyring
from circleci_relay.config import (
    bodies,
    check,
    hints,
    merge,
    presets,
    projects,
    secret_sets,
    secret_values,
)
from circleci_relay.config.faults import from_pydantic, unknown_key
from circleci_relay.config.files import FileError
from circleci_relay.config.model import (
    Config,
    Defaults,
    Destination,
    Notify,
    RouteSettings,
    Server,
    Source,
    SourceSettings,
    StoreSettings,
)
from circleci_relay.config.reading import Reader
from circleci_relay.config.templates import is_template
from circleci_relay.config.tree import Map, Scalar, Spot, kind, plain
from circleci_relay.config.urls import read_url
from circleci_relay.config.values import name as read_name
from circleci_relay.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from circleci_relay.circleci.signature import Secret
    from circleci_relay.model import Fault

M = TypeVar("M", bound=BaseModel)

DEFAULT_STORE = "sqlite:///{base}/relay.db"
SECTIONS = (
    "server",
    "store",
    "sources",
    "projects",
    "defaults",
    "destinations",
    "routes",
    "notify",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A configuration without faults, and what it was read from."""

    config: Config
    warnings: tuple[Fault, ...]  #: what is valid, and can never match or work
    files: tuple[Path, ...]  #: everything read, for `fingerprint`
    digest: str  #: changes with whatever has an effect, secrets and certificates included


class FaultyConfig(ConfigError):  # noqa: N818 - it is a ConfigError
    """Faults were found; *files* is everything read on the way, for `fingerprint`."""

    def __init__(self, faults: Sequence[Fault], files: Sequence[Path]) -> None:
        super().__init__(faults)
        self.files = tuple(files)


def load(
    paths: Sequence[Path], *, env: Mapping[str, str] | None = None, secrets: bool = True
) -> Loaded:
    """
    Read *paths*: files, and directories of `*.yaml`.

    Without *secrets*, variables and files that are absent are no fault: something made up
    takes their place. Raises `ConfigError` with every fault found.
    """
    reader = Reader(os.environ if env is None else env, needed=secrets)
    trees = reader.trees(paths)
    first = str(paths[0]) if paths else "relay.yaml"
    return put_together(reader, trees, first=first, base=_base_of(paths))


def put_together(
    reader: Reader,
    trees: Sequence[Map],
    *,
    first: str,
    base: Path,
    too_much: Callable[[Map], Iterable[Fault]] | None = None,
) -> Loaded:
    """
    All that *reader* read as one configuration; *first* is its first file, *base* where it is.

    What *too_much* finds is told alone, and nothing else is looked at.
    """
    root = Map(Spot(first, 1, 1, ()))
    if trees:
        root, faults = merge.files(trees)
        reader.faults += faults
    if too_much is not None and (refused := _in_order(too_much(root))):
        raise FaultyConfig(refused, reader.files.seen)
    draft = _Drafting(reader, root, base).draft()
    found = _in_order([*reader.faults, *islice(check.faults(draft, reader), reader.most)])
    if found or draft.server is None or draft.store is None:
        raise FaultyConfig(_discreet(found[: reader.most], reader), reader.files.seen)
    config = Config(
        server=draft.server,
        store=draft.store,
        sources=draft.sources,
        destinations=draft.destinations,
        routes=draft.routes,
        notify=draft.notify,
        projects=draft.projects,
    )
    config = secret_values.known(config, reader.revealed)
    warnings = _in_order(islice(hints.warnings(config, root), reader.most))
    return Loaded(
        config=config,
        warnings=_discreet(warnings, reader),
        files=reader.files.seen,
        digest=_digest(config, root, reader),
    )


def _base_of(paths: Sequence[Path]) -> Path:
    first = Path(paths[0]).absolute() if paths else Path.cwd()
    return first if first.is_dir() else first.parent


def _in_order(faults: Iterable[Fault]) -> tuple[Fault, ...]:
    """Each place and message once, by file (in the order read) and place."""
    once: dict[tuple[str, int, int, str], Fault] = {}
    for fault in faults:
        # What stands under an anchor is at fault once, wherever it is used.
        once.setdefault((fault.file, fault.line, fault.column, fault.message), fault)
    order = {file: index for index, file in enumerate(dict.fromkeys(f.file for f in once.values()))}
    return tuple(sorted(once.values(), key=lambda f: (order[f.file], f.line, f.column)))


def _discreet(faults: Iterable[Fault], reader: Reader) -> tuple[Fault, ...]:
    """Without what variables and files held, wherever it got to."""
    held = sorted(
        {value for _, value in reader.revealed if len(value) >= secret_values.SHORTEST},
        key=len,
        reverse=True,
    )
    return tuple(
        replace(
            fault,
            message=reduce(lambda text, value: text.replace(value, "***"), held, fault.message),
        )
        for fault in faults
    )


def _digest(config: Config, root: Map, reader: Reader) -> str:
    """Of everything that has an effect; nothing can be read back out of it."""
    digest = hashlib.sha256()
    # As maps are written, for routes are looked at in order.
    digest.update(json.dumps([[key, plain(root.get(key))] for key in SECTIONS]).encode())
    for source in config.sources.values():
        for secret in source.secrets:
            digest.update(f"\0{source.name}\0{secret.name}\0".encode() + secret.value)
    for path in check.certificates(config):
        try:
            digest.update(b"\0" + reader.files.read(path))
        except FileError:
            digest.update(b"\0absent")
    return digest.hexdigest()[:16]


class _Drafting:
    """A tree into models, item by item, so that one fault hides no other."""

    def __init__(self, reader: Reader, root: Map, base: Path) -> None:
        self._reader, self._root, self._base = reader, root, base

    def draft(self) -> check.Draft:
        """What could be made; the faults are with the reader."""
        for key, spot in self._root.keys_at.items():
            if key not in SECTIONS and not key.startswith("x-") and not self._reader.full:
                self._reader.faults.append(unknown_key(spot, key, SECTIONS))
        return check.Draft(
            root=self._root,
            server=self._model(Server, self._section("server"), ("server",)),
            store=self._store(),
            sources=dict(self._sources()),
            projects=self._projects(),
            destinations=dict(self._destinations()),
            routes=dict(self._routes()),
            notify=self._notify(),
        )

    def _section(self, key: str) -> Map:
        value = self._root.get(key)
        if isinstance(value, Map):
            return value
        if value is not None:
            spot = self._root.keys_at[key]
            self._reader.faults.append(spot.fault(f"is {kind(value)}; wanted a map"))
        return Map(self._root.keys_at.get(key, self._root.spot))

    def _model(self, model: type[M], value: object, at: tuple[str | int, ...]) -> M | None:
        root = self._root
        if at[0] in {"sources", "destinations", "routes", "defaults"}:
            # What stands there may be merged from the defaults, each part with its own place.
            root = _wrapped(root, at, value)
        if value is None:
            value = {}
        try:
            return model.model_validate(value)
        except ValidationError as error:
            self._reader.faults += from_pydantic(error, root, at, model)
            return None

    def _store(self) -> StoreSettings | None:
        section = self._section("store")
        if "url" not in section:
            # The default is a relative path too, and begins where the first file stands.
            filled = Map(section.spot)
            for key, value in section.items():
                filled.put(key, value, section.keys_at[key])
            filled.put("url", DEFAULT_STORE.format(base=self._base), section.spot)
            section = filled
        return self._model(StoreSettings, section, ("store",))

    def _named(self, section: str) -> Iterator[tuple[str, object]]:
        items = self._section(section)
        for name, value in items.items():
            if self._reader.full:
                return
            try:
                read_name(name)
            except ValueError as error:
                self._reader.faults.append(items.keys_at[name].fault(str(error)))
            yield name, value

    def _sources(self) -> Iterator[tuple[str, Source]]:
        for name, value in self._named("sources"):
            settings = self._model(SourceSettings, value, ("sources", name))
            if settings is None:
                continue
            chosen = settings.secrets or secret_sets.SecretSet()
            secrets = chosen.secrets
            if chosen.directory is not None:
                secrets = self._from_directory(name, chosen.directory)
            yield (
                name,
                Source(
                    name=name,
                    path=settings.path,
                    keyring=Keyring(secrets),
                    secrets=tuple(secrets),
                    unsigned=settings.unsigned,
                    rejects=settings.rejects,
                ),
            )

    def _from_directory(self, name: str, directory: Path) -> tuple[Secret, ...]:
        secrets, wrong = secret_sets.read_directory(directory, self._reader.files)
        if wrong and self._reader.needed:
            spot = self._root["sources"][name]["secrets"]["dir"].spot
            self._reader.faults += [spot.fault(message) for message in wrong]
        if not secrets and not self._reader.needed:
            secrets = [secret_sets.unknown()]
        return tuple(secrets)

    def _projects(self) -> dict[str, dict[str, str]]:
        labels, faults = projects.read(self._section("projects"))
        self._reader.faults += faults
        return labels

    def _destinations(self) -> Iterator[tuple[str, Destination]]:
        under = self._section("defaults")
        sound = self._model(Defaults, under, ("defaults",)) is not None
        for name, value in self._named("destinations"):
            settings = merge.destination(value, under) if isinstance(value, Map) else value
            if isinstance(settings, Map):
                self._fill_in_url(settings)
            made = self._model(Destination, settings, ("destinations", name))
            if made is not None and sound:
                yield name, made.named(name)

    def _fill_in_url(self, settings: Map) -> None:
        """Put constant options into a URL that names only them, and look at what comes of it."""
        url, body = settings.get("url"), settings.get("body")
        preset, _ = presets.chosen(body)
        if preset is None or not isinstance(url, Scalar) or url.unknown or not is_template(url):
            return
        try:
            read = bodies.parse(body)
        except ValueError:
            return  # told with the rest of the destination
        made = None if read is None or read.options is None else presets.made_url(url, read.options)
        if made is None:
            return
        try:
            read_url(made)
        except ValueError as error:
            self._reader.faults.append(
                url.spot.fault(f"the URL, once its options are filled in, {error}")
            )
            return
        filled = Scalar.at(made, url.spot, url.base, plain=False)
        filled.expanded, filled.template = True, False
        settings.put("url", filled, settings.keys_at["url"])

    def _routes(self) -> Iterator[tuple[str, RouteSettings]]:
        for name, value in self._named("routes"):
            made = self._model(RouteSettings, value, ("routes", name))
            if made is not None:
                yield name, made.named(name)

    def _notify(self) -> Notify | None:
        # A section whose keys are all commented out asks for nothing.
        if self._root.get("notify") is None:
            return None
        return self._model(Notify, self._root["notify"], ("notify",))


def _wrapped(root: Map, at: tuple[str | int, ...], value: object) -> Map:
    """A tree in which *value* stands at *at*, with the places that *root* has."""
    wrapped = Map(root.spot)
    section = str(at[0])
    if section not in root:
        return root
    if len(at) == 1:
        wrapped.put(section, value, root.keys_at[section])
        return wrapped
    inner = Map(root[section].spot)
    inner.put(str(at[1]), value, root[section].keys_at[str(at[1])])
    wrapped.put(section, inner, root.keys_at[section])
    return wrapped
