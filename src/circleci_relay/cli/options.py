"""Options that several verbs share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from circleci_relay.cli.claims import STATUSES, Past
from circleci_relay.model import Change

if TYPE_CHECKING:
    from collections.abc import Callable

F = TypeVar("F", bound="Callable[..., Any]")


def config_option(function: F) -> F:
    """`-c/--config`, repeatable; arrives as `config`, a tuple of paths."""
    return click.option(
        "-c",
        "--config",
        type=click.Path(path_type=Path),
        multiple=True,
        default=["relay.yaml"],
        show_default="relay.yaml",
        envvar="CIRCLECI_RELAY_CONFIG",
        show_envvar=True,
        metavar="PATH",
        help="A configuration file, or a directory of *.yaml. May be repeated.",
    )(function)


def json_option(function: F) -> F:
    """`--json`, for scripts; arrives as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")(
        function
    )


def label_option(function: F) -> F:
    """`--label`, repeatable; arrives as `labels`, read by `labelling.read_labels`."""
    return click.option(
        "--label",
        "labels",
        multiple=True,
        metavar="NAME=VALUE",
        help="A label of the project, in place of what `projects` says; an empty VALUE is absent.",
    )(function)


def past_options(function: F) -> F:
    """`--change` and `--previous`; see `past_of`."""
    function = click.option(
        "--previous",
        type=click.Choice(STATUSES),
        help="How the same workflow on the same branch ended before, instead of --change.",
    )(function)
    return click.option(
        "--change",
        type=click.Choice([each.value for each in Change]),
        help="How it compares with the last event of its line, with a likely history.",
    )(function)


def past_of(change: str | None, previous: str | None) -> Past:
    """What the options say of an event's line."""
    if change is not None and previous is not None:
        raise click.UsageError("give --change or --previous, not both")
    return Past(change=Change(change) if change is not None else None, previous=previous)


def secret_options(function: F) -> F:
    """
    `--secret-env` and `--secret-file`; see `read_secret`.

    No option takes the secret itself: every user of a machine can read its command lines.
    """
    function = click.option(
        "--secret-file",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        metavar="FILE",
        help="The file that holds the signing secret (a trailing newline is dropped).",
    )(function)
    return click.option(
        "--secret-env",
        metavar="NAME",
        help="The environment variable that holds the signing secret.",
    )(function)


def read_secret(secret_env: str | None, secret_file: Path | None) -> bytes | None:
    """The secret that the options name, or None where they name none."""
    if secret_env is not None and secret_file is not None:
        raise click.UsageError("give --secret-env or --secret-file, not both")
    if secret_env is not None:
        value = os.environ.get(secret_env, "").encode(errors="surrogateescape")
        if not value:
            raise click.UsageError(f"--secret-env: the variable {secret_env} is not set")
        return value
    if secret_file is not None:
        value = secret_file.read_bytes().removesuffix(b"\n").removesuffix(b"\r")
        if not value:
            raise click.UsageError(f"--secret-file: {secret_file} is empty")
        return value
    return None
