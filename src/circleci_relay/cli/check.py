"""`check`: everything that is wrong with relay.yaml, at once."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from circleci_relay.cli.options import config_option, json_option
from circleci_relay.cli.output import count_of, emit, printable
from circleci_relay.cli.verbs import Found, verb
from circleci_relay.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from circleci_relay.config import Config
    from circleci_relay.model import Fault


@verb(
    "check",
    examples="""
    circleci-relay check
    circleci-relay check -c relay.yaml --strict
    circleci-relay check -c relay.yaml --no-secrets      # in a pull request's CI
    circleci-relay check -c base.yaml -c teams/ --json | jq '.faults[]'
    """,
)
@config_option
@click.option("--strict", is_flag=True, help="Take warnings for faults.")
@click.option(
    "--no-secrets",
    is_flag=True,
    help="Do not look for the values of ${env:...} and ${file:...}, nor for certificates.",
)
@json_option
def check(*, config: tuple[Path, ...], strict: bool, no_secrets: bool, as_json: bool) -> None:
    """
    Every fault is told at once: file, line, column, key, what is wrong, what would be right.

    Each destination's message is made of every packaged sample, so that a template that fails on
    one is told here, and not by a dead delivery: `serve` does not run the samples. Warnings are for
    what is valid and can never match or work.
    """
    # pydantic is not needed for --help
    from circleci_relay.cli import trial  # noqa: PLC0415
    from circleci_relay.config import load  # noqa: PLC0415

    faults: tuple[Fault, ...] = ()
    warnings: tuple[Fault, ...] = ()
    found: Config | None = None
    try:
        loaded = load(config, secrets=not no_secrets)
    except ConfigError as error:
        faults = error.faults
    else:
        warnings, found = loaded.warnings, loaded.config
        faults = tuple(trial.faults(found, config))
    ok = not faults and not (strict and warnings)
    if as_json:
        emit(
            {
                "ok": ok,
                "faults": [asdict(fault) for fault in faults],
                "warnings": [asdict(warning) for warning in warnings],
            }
        )
    else:
        for fault in faults:
            click.echo(_line(fault, ""))
        for warning in warnings:
            click.echo(_line(warning, "" if strict else "warning: "))
        if found is not None and ok:
            click.echo(_summary(found))
    if not ok:
        count = len(faults) + (len(warnings) if strict else 0)
        raise Found("" if as_json else count_of(count, "fault"))


def _line(fault: Fault, kind: str) -> str:
    """`file:line:column: kind path: message`, as editors read it."""
    place = f"{fault.file}:{fault.line}:{fault.column}" if fault.line else fault.file
    path = f"{fault.path}: " if fault.path else ""
    return printable(f"{place}: {kind}{path}{fault.message}")


def _summary(config: Config) -> str:
    counts = (
        count_of(len(config.sources), "source"),
        count_of(len(config.destinations), "destination"),
        count_of(len(config.routes), "route"),
    )
    return f"no faults: {', '.join(counts)}"
