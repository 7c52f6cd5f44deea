"""Labels that are said by hand, and what of labels is not to be seen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from circleci_relay.config import projects, secret_values
from circleci_relay.config.tree import Map, Scalar, Spot
from circleci_relay.labels import Labels

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from circleci_relay.config import Config
    from circleci_relay.model import Facts

_EVERY = "*"


class _Given(Labels):
    """Labels of which some are said by hand."""

    def __init__(self, known: Labels, given: Mapping[str, str]) -> None:
        super().__init__({}, known.secret)
        self._known, self._by_hand = known, given

    def of(self, facts: Facts) -> Mapping[str, str]:
        return {**self._known.of(facts), **self._by_hand}


def read_labels(settings: Sequence[str]) -> dict[str, str]:
    """`NAME=VALUE` pairs by name, refused where `projects` would refuse them."""
    spot = Spot("--label", 0, 0, ())
    written = Map(spot)
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not name or not equals:
            raise click.UsageError("--label is not NAME=VALUE, such as team=payments")
        written.put(name.strip(), Scalar.at(value, spot, Path(), plain=False), spot)
    section = Map(spot)
    section.put(_EVERY, written, spot)
    labels, faults = projects.read(section)
    if faults:
        raise click.UsageError(f"--label: {faults[0].message}")
    return labels[_EVERY]


def given_labels(config: Config, given: Mapping[str, str]) -> Labels:
    """The labels that *config* says, and *given* in place of them."""
    known = config.table.labels
    return _Given(known, given) if given else known


def secrets_of(config: Config, given: Mapping[str, str]) -> frozenset[str]:
    """What must not be shown of *config*, with the labels that are *given* by hand."""
    if not given:
        return config.secret_values
    # What is a secret as a label in the file, is one here; a URL is one as a whole.
    standing = secret_values.known(replace(config, projects={_EVERY: given}), ())
    urls = {value for value in given.values() if "://" in value}
    return config.secret_values | standing.secret_values | urls
