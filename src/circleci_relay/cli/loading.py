"""Reading relay.yaml for verbs that only look at it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from circleci_relay.cli.payloads import did_you_mean
from circleci_relay.config import Config, Loaded, load
from circleci_relay.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from circleci_relay.config import Destination, Source
    from circleci_relay.config.model import RouteSettings


def load_for_routes(paths: Sequence[Path]) -> Loaded:
    """
    Load what routing needs, also where the secrets are absent, as in a pull request's CI.

    With the secrets first: a match may hold a variable too.
    """
    try:
        return load(paths)
    except ConfigError:
        return load(paths, secrets=False)


def pick_source(config: Config, name: str | None) -> Source:
    """The source called *name*, or the only one there is."""
    known = list(config.sources)
    if name is None:
        if len(known) == 1:
            return config.sources[known[0]]
        raise click.UsageError(f"there are several sources; say --source {'|'.join(known)}")
    if name not in config.sources:
        raise click.UsageError(f"there is no source called {name!r}{did_you_mean(name, known)}")
    return config.sources[name]


def any_source(config: Config, name: str | None) -> str:
    """The source called *name*; without a name, any will do where no route looks at it."""
    if name is None and config.sources and not any(map(_looks_at_source, config.routes.values())):
        return next(iter(config.sources))
    return pick_source(config, name).name


def _looks_at_source(route: RouteSettings) -> bool:
    match = route.match or {}
    refused = match.get("not") or {}
    return "source" in match or "source" in refused


def pick_destination(config: Config, name: str) -> Destination:
    """The destination called *name*."""
    found = config.destinations.get(name)
    if found is not None:
        return found
    known = list(config.destinations)
    hint = did_you_mean(name, known) or (f"; there are {', '.join(known)}" if known else "")
    raise click.UsageError(f"there is no destination called {name!r}{hint}")
