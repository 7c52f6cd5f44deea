"""`resume`: let a destination go on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from circleci_relay.cli.client import segment
from circleci_relay.cli.options import json_option
from circleci_relay.cli.output import emit
from circleci_relay.cli.pause import show_state
from circleci_relay.cli.remote import remote
from circleci_relay.cli.verbs import verb

if TYPE_CHECKING:
    from circleci_relay.cli.client import Client


@verb(
    "resume",
    examples="""
    circleci-relay resume warehouse
    """,
)
@click.argument("destination")
@remote()
@json_option
def resume(*, destination: str, client: Client, as_json: bool) -> None:
    """What waited is delivered now; what `paused: true` in relay.yaml pauses stays so."""
    told = client.post(f"/destinations/{segment(destination)}/resume", {})
    if as_json:
        emit(told)
    else:
        show_state(told)
