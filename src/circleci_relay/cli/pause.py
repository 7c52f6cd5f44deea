"""`pause`: let a destination wait."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from circleci_relay.cli.client import segment
from circleci_relay.cli.marks import local, standing_of
from circleci_relay.cli.options import json_option
from circleci_relay.cli.output import emit, printable
from circleci_relay.cli.remote import remote
from circleci_relay.cli.verbs import verb

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from circleci_relay.cli.client import Client


@verb(
    "pause",
    examples="""
    circleci-relay pause warehouse
    circleci-relay pause warehouse --why 'migration until 4:00'
    """,
)
@click.argument("destination")
@click.option("--why", metavar="TEXT", help="For whoever wonders; shown with its state.")
@remote()
@json_option
def pause(*, destination: str, why: str | None, client: Client, as_json: bool) -> None:
    """What comes for it is kept until it is resumed, also over restarts and on all replicas."""
    body = {} if why is None else {"why": why}
    told = client.post(f"/destinations/{segment(destination)}/pause", body)
    if as_json:
        emit(told)
    else:
        show_state(told)


def show_state(found: Mapping[str, Any]) -> None:
    """Say in a line how a destination stands."""
    oldest = f", the oldest of {local(found['oldest'])}" if found["oldest"] else ""
    waiting = f"{found['backlog']:,} waiting{oldest}"
    why = f" ({found['paused_why']})" if found["paused_why"] else ""
    stands = standing_of(found["state"]).text
    text = f"{stands}  {found['name']}{why}: {waiting}, {found['dead']:,} dead"
    click.echo(printable(text))
