"""Options that several verbs share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

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
