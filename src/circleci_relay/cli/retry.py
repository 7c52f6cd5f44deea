"""`retry`: all that waits at a destination is tried now."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from circleci_relay.cli.client import segment
from circleci_relay.cli.options import json_option
from circleci_relay.cli.output import emit, printable
from circleci_relay.cli.remote import remote
from circleci_relay.cli.verbs import verb

if TYPE_CHECKING:
    from circleci_relay.cli.client import Client


@verb(
    "retry",
    examples="""
    circleci-relay retry pager
    circleci-relay retry pager --held
    """,
)
@click.argument("destination")
@click.option(
    "--held", is_flag=True, help="Also what waits for its line to turn good, or for others."
)
@remote()
@json_option
def retry(*, destination: str, held: bool, client: Client, as_json: bool) -> None:
    """For a destination that is back: its breaker closes, and a wait it asked for ends."""
    told = client.post(f"/destinations/{segment(destination)}/retry", {"held": held})
    if as_json:
        emit(told)
    else:
        click.echo(printable(f"{destination}: {told['due']:,} are tried now"))
