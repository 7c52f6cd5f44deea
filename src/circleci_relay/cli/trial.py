"""Every destination's messages made of every packaged sample, and what fails of it."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import cycle, islice
from typing import TYPE_CHECKING, Any, Final

from circleci_relay.circleci import samples
from circleci_relay.cli.claims import Past, told_of
from circleci_relay.cli.standins import StandIns
from circleci_relay.config import merge
from circleci_relay.config.reading import Reader
from circleci_relay.config.tree import Map, locate, value_at
from circleci_relay.errors import RenderError
from circleci_relay.labels import Labels
from circleci_relay.model import SECOND, Change
from circleci_relay.redaction import Redaction
from circleci_relay.rendering.scene import About, scene_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path as FilePath

    from circleci_relay.config import Config, Destination
    from circleci_relay.model import Facts, Fault, Told
    from circleci_relay.rendering.recipe import Recipe

_NOW: Final = 1_772_443_000 * SECOND
_LINE: Final = "0f1e2d3c4b5a69780f1e2d3c4b5a6978"
_CHANGED: Final = ("gh_oauth_workflow_failed", "gh_oauth_workflow_success", "gh_oauth_job_failed")
_GROUP: Final = ("gh_oauth_workflow_failed", "gh_oauth_job_failed", "ping")

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """Events to make a message of."""

    name: str  #: as it is said in a fault: "on the sample ping"
    scene: Mapping[str, Any]
    sample: str | None = None  #: the one sample that is told of
    project: str | None = None  #: whose labels they have, where that is what is tried


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bench:
    """One look over a configuration without faults."""

    config: Config
    tree: Callable[[], Map]  #: of all files
    redact: Redaction
    alone: Sequence[Trial]
    together: Callable[[int], Sequence[Trial]]  #: so many at most
    standins: Callable[[], StandIns]

    def faults(self) -> Iterator[Fault]:
        """What fails, destination by destination."""
        for name, destination in self.config.destinations.items():
            recipe = destination.recipe
            if recipe is None:
                continue
            for (path, what), failed in self._failures(name, recipe, destination).items():
                place, inside = _place(destination, path)
                said = f"{inside}fails {_where(failed)}: {what}"
                spot, rest = locate(self.tree(), self._said(name, place))
                yield spot.fault(self.redact(said), rest)

    def _failures(
        self, name: str, recipe: Recipe, destination: Destination
    ) -> dict[tuple[Path, str], list[Trial]]:
        found: dict[tuple[Path, str], list[Trial]] = {}
        for one, trial in self._tried(recipe, destination):
            try:
                one.make({**trial.scene, "destination": name})
            except RenderError as error:
                place, _ = _place(destination, error.path)
                # Nobody knows what would come of what a variable holds.
                if not self.standins().behind(name, place, trial.scene["labels"]):
                    found.setdefault((error.path, error.what), []).append(trial)
        return found

    def _tried(self, recipe: Recipe, destination: Destination) -> Iterator[tuple[Recipe, Trial]]:
        if "labels" in recipe.names:
            yield from self._labelled(recipe)
        tried = list(self.alone)
        if destination.group is not None:
            tried += self.together(destination.group.max)
        for trial in tried:
            yield recipe, trial

    def _labelled(self, recipe: Recipe) -> Iterator[tuple[Recipe, Trial]]:
        """A label that makes no URL is found here, and not by the first event of its project."""
        address = replace(recipe, kind="raw", content=None)
        first = self.alone[0].scene
        for project, labels in self.config.projects.items():
            scene = {**first, "labels": {**first["labels"], **labels}}
            name = f"with the labels of {project}"
            yield address, Trial(name=name, scene=scene, project=project)

    def _said(self, name: str, path: Path) -> Path:
        """Where a setting stands: with the destination, or among the defaults."""
        own = value_at(self.tree(), ("destinations", name))
        if not isinstance(own, Map) or path[0] not in own:
            under = value_at(self.tree(), ("defaults",))
            if isinstance(under, Map) and path[0] in under:
                return ("defaults", *path)
        return ("destinations", name, *path)


def faults(config: Config, paths: Sequence[FilePath]) -> list[Fault]:
    """
    All that fails, each once, with its place in the files at *paths* that *config* is of.

    Nothing is said of what is made of something that stands in for an absent variable or file.
    """
    if not any(each.recipe for each in config.destinations.values()):
        return []
    trials = Trials(config)
    tree = cache(partial(_tree, paths))
    bench = _Bench(
        config=config,
        tree=tree,
        redact=Redaction(config.secret_values),
        alone=list(trials.alone()),
        together=cache(trials.together),
        standins=cache(lambda: StandIns(tree())),
    )
    return list(bench.faults())


def _where(failed: Sequence[Trial]) -> str:
    """On what something fails: each sample and project counts once, however often it is tried."""
    first = failed[0]
    if first.project is not None:
        others = len({each.project for each in failed} - {None}) - 1
        return first.name + (f" and of {others} more" if others else "")
    if first.sample is None:
        return first.name
    found = {each.sample for each in failed} - {None}
    if found == set(samples.names()):
        return "on every sample"
    others = len(found) - 1
    more = "1 more sample" if others == 1 else f"{others} more samples"
    return first.name + (f" and on {more}" if others else "")


def _tree(paths: Sequence[FilePath]) -> Map:
    """What stands in the files, read again: it is needed only where something fails."""
    return merge.files(Reader(os.environ, needed=False).trees(paths))[0]


class Trials:
    """The packaged samples, as they would be told of under *config*."""

    def __init__(self, config: Config) -> None:
        self._source = next(iter(config.sources), "circleci")
        self._about = About(
            destination="",
            external_url=config.server.external_url,
            labels=_AnyLabels(config.projects).of,
            now=_NOW / SECOND,
            webhook_id="01KJPZK3YG6WQ4S0V5J4X7T2AB-check",
        )

    def alone(self) -> Iterator[Trial]:
        """Every sample; some of them after each change that they may make."""
        for name in samples.names():
            yield self._trial(f"on the sample {name}", self._told(name), sample=name)
        for name in _CHANGED:
            for change in Change:
                told = self._told(name, change)
                if f'"change": "{change}"' in told.facts:
                    yield self._trial(f"on the sample {name}, {change}", told, sample=name)

    def together(self, most: int) -> list[Trial]:
        """Three samples at once, and as many as there may be: some limits only then count."""
        three = [self._told(name) for name in _GROUP]
        many = list(islice(cycle(map(self._told, samples.names())), most))
        return [
            self._trial("on three samples at once", *three),
            self._trial(f"on {most} samples at once", *many),
        ]

    def _trial(self, name: str, *told: Told, sample: str | None = None) -> Trial:
        return Trial(name=name, scene=scene_of(told, self._about), sample=sample)

    def _told(self, name: str, change: Change | None = None) -> Told:
        past = Past(change=change)
        body = samples.load(name)
        return told_of(body, source=self._source, past=past, now=_NOW, line_id=_LINE)


class _AnyLabels(Labels):
    """Every label that any project has: the samples' own projects have none of them."""

    def of(self, facts: Facts) -> Mapping[str, str]:
        """The project's labels, and some project's for what it has not."""
        return {**self._any, **super().of(facts)}

    def __init__(self, by_project: Mapping[str, Mapping[str, str]]) -> None:
        super().__init__(by_project)
        self._any = {name: value for each in by_project.values() for name, value in each.items()}


def _place(destination: Destination, path: Path) -> tuple[Path, str]:
    """Where in the file *path* of a recipe is written; and where, where that is in a preset."""
    part, *rest = path or ("body",)
    body = destination.body
    if part == "body" and body is not None:
        if body.preset is None:
            return ("body", body.kind, *rest), ""
        inside = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in rest)
        return ("body", "preset"), f"the preset's {inside.lstrip('.')} " if inside else ""
    if part in {"url", "headers"}:
        return (str(part), *rest), ""
    if part in destination.addresses and destination.section is not None:
        return (destination.section, str(part)), ""
    return ("body", *(rest if part == "options" else (part, *rest))), ""
