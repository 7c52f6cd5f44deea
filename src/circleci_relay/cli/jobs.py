"""`jobs`: what is replayed or cancelled in bulk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from circleci_relay.cli import filters
from circleci_relay.cli.bulk import share_of, show_job, so_far
from circleci_relay.cli.client import segment
from circleci_relay.cli.columns import ROOM, Column
from circleci_relay.cli.listing import as_one, block, list_out, pages, paging
from circleci_relay.cli.marks import Cell, clock, local, sign, state, style_of, zone
from circleci_relay.cli.options import json_option
from circleci_relay.cli.output import emit
from circleci_relay.cli.remote import remote
from circleci_relay.cli.verbs import Verb, listing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from circleci_relay.cli.client import Client


@listing(
    "jobs",
    examples="""
    circleci-relay jobs
    circleci-relay jobs --state running --json
    circleci-relay jobs show 01K3ZT6M5X8QJ2W9V4B7C1D0EF
    """,
)
@filters.filters(filters.JOBS)
@paging
@remote()
@json_option
def jobs(*, client: Client, limit: int, every: bool, as_json: bool, **given: Any) -> None:
    """
    The newest first: who began each, and how far it is. Times are this terminal's.

    `circleci-relay cancel --job ID` ends one; `circleci-relay deliveries --job ID` lists what it
    made.
    """
    found = pages(client, "/jobs", filters.said(given), limit=limit, every=every)
    if as_json:
        emit(as_one(found))
        return
    list_out(found, _columns())


def _columns() -> list[Column]:
    return [
        Column(
            head=f"begun ({zone()})",
            show=lambda job: local(job["created_at"]),
            brief=lambda job: clock(job["created_at"]),
            brief_head=zone(),
        ),
        Column(
            head="state",
            show=lambda job: state(job["state"]),
            brief=lambda job: Cell(sign(job["state"]), style_of(job["state"])),
            brief_head="",
            full=100,
        ),
        Column(head="kind", show=lambda job: job["kind"]),
        Column(head="made", show=so_far),
        Column(head="done", show=_share, least=100),
        Column(head="selected by", show=_selected, cut=True),
        Column(head="by", show=lambda job: job["created_by"], least=ROOM, cut=True),
        Column(head="id", show=lambda job: job["id"]),
    ]


def _share(job: Mapping[str, Any]) -> str:
    share = share_of(job)
    return "" if share is None else f"{share:.0%}"


def _selected(job: Mapping[str, Any]) -> str:
    """What was asked for, as options would say it."""
    request = job["request"]
    asked = {**(request.get("select") or {})}
    asked |= {name: request[name] for name in ("routes", "to", "rate") if request.get(name)}
    if asked.get("routes") == "then":
        del asked["routes"]
    words = []
    for name, value in asked.items():
        if value is None:
            continue
        text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
        words.append(f"{name.replace('_', '-')}={text}")
    return " ".join(words)


@jobs.command(
    "show",
    cls=Verb,
    short_help="Show one job: what it selects, how far it is, what became of it.",
    examples="""
    circleci-relay jobs show 01K3ZT6M5X8QJ2W9V4B7C1D0EF
    circleci-relay jobs show 01K3ZT6M5X8QJ2W9V4B7C1D0EF --json | jq .states
    """,
)
@click.argument("job")
@remote()
@json_option
def show(*, job: str, client: Client, as_json: bool) -> None:
    """Show one job; JOB is its id."""
    found = client.get(f"/jobs/{segment(job)}")
    if as_json:
        emit(found)
        return
    ended = found["ended_by"]
    block(
        [
            ("job", found["id"]),
            ("kind", found["kind"]),
            ("state", state(found["state"])),
            ("selected by", _selected(found)),
            ("begun", f"{local(found['created_at'])} ({zone()}), by {found['created_by']}"),
            ("made", so_far(found)),
            ("done", _share(found)),
            ("ended", local(found["finished_at"]) + (f", by {ended}" if ended else "")),
            ("error", Cell(found["error"], "red") if found["error"] else ""),
        ]
    )
    click.echo()
    show_job(found)
