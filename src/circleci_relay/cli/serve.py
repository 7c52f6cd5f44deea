"""`serve`: run the relay."""

from __future__ import annotations

import sys
from pathlib import Path  # noqa: TC003 - click's decorators are read at run time

import click

from circleci_relay.cli.options import config_option
from circleci_relay.cli.verbs import verb


@verb(
    "serve",
    examples="""
    circleci-relay serve
    circleci-relay serve -c /etc/circleci-relay/ --log-format json
    CIRCLECI_RELAY_LOG_LEVEL=debug circleci-relay serve -c relay.yaml
    """,
)
@config_option
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    envvar="CIRCLECI_RELAY_LOG_LEVEL",
    show_envvar=True,
    help="debug also tells of every event accepted and every delivery made.",
)
@click.option(
    "--log-format",
    type=click.Choice(["auto", "text", "json"]),
    default="auto",
    show_default=True,
    envvar="CIRCLECI_RELAY_LOG_FORMAT",
    show_envvar=True,
    help="auto is text on a terminal and JSON elsewhere.",
)
def serve(*, config: tuple[Path, ...], log_level: str, log_format: str) -> None:
    """
    SIGTERM or Ctrl-C stops it in good order, a second one at once.

    SIGHUP makes it read the configuration again, and so does any change to a file that the
    configuration names; a faulty file changes nothing.
    """
    from circleci_relay.app import run  # noqa: PLC0415 - it brings the whole program with it

    sys.exit(run(config, log_level=log_level, log_format=log_format))
