"""`dead`: what was given up, grouped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from circleci_relay.cli import filters
from circleci_relay.cli.columns import Column, table_of
from circleci_relay.cli.marks import BAD, Cell, clock, last_try, local, sign, zone
from circleci_relay.cli.options import json_option
from circleci_relay.cli.output import emit
from circleci_relay.cli.remote import remote
from circleci_relay.cli.verbs import verb

if TYPE_CHECKING:
    from collections.abc import Mapping

    from circleci_relay.cli.client import Client


@verb(
    "dead",
    examples="""
    circleci-relay dead
    circleci-relay dead --destination pager --since 1d
    circleci-relay replay --destination pager --state dead     # and send them again
    """,
)
@filters.filters(filters.DEAD)
@remote()
@json_option
def dead(*, client: Client, as_json: bool, **given: Any) -> None:
    """Those that were replayed do not count. Times are this terminal's, and of their deaths."""
    found = client.get("/dead", filters.said(given))
    if as_json:
        emit(found)
        return
    least = "at least " if found["partial"] else ""
    table_of(_columns(least), found["groups"])
    total = found["total"]
    click.echo(f"{least}{total:,} dead" if total else f"{sign('good')} nothing is dead")


def _columns(least: str) -> list[Column]:
    return [
        Column(head="destination", show=lambda group: group["destination"], cut=True),
        Column(
            head="count",
            show=lambda group: Cell(f"{sign('dead')} {least}{group['count']:,}", BAD),
            brief=lambda group: Cell(f"{'>' if least else ''}{group['count']:,}", BAD),
            full=120,
        ),
        Column(head="why", show=lambda group: group["reason"] or "", least=100, cut=True),
        Column(head="last", show=_last, cut=True),
        Column(
            head=f"first ({zone()})",
            show=lambda group: local(group["oldest"]),
            brief=lambda group: clock(group["oldest"]),
            full=120,
        ),
        Column(
            head="newest",
            show=lambda group: local(group["newest"]),
            brief=lambda group: clock(group["newest"]),
            full=120,
        ),
    ]


def _last(group: Mapping[str, Any]) -> str:
    return last_try(group["result"], group["status"], group["error"])
