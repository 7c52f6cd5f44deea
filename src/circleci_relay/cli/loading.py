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

    from circleci_relay.config import Source


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
