"""`deliveries`: what went out, or is to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from circleci_relay.cli import filters
from circleci_relay.cli.client import segment
from circleci_relay.cli.columns import Column
from circleci_relay.cli.listing import as_one, block, list_out, pages, paging, table
from circleci_relay.cli.marks import (
    Cell,
    clock,
    last_try,
    local,
    sign,
    span,
    state,
    style_of,
    zone,
)
from circleci_relay.cli.options import json_option
from circleci_relay.cli.output import emit
from circleci_relay.cli.remote import remote
from circleci_relay.cli.verbs import Verb, listing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from circleci_relay.cli.client import Client

EXCERPT = 200
"""Characters of a destination's answer that are shown to people."""


@listing(
    "deliveries",
    examples="""
    circleci-relay deliveries --destination pager --state dead --since 3h
    circleci-relay deliveries --state pending --result timeout --json
    circleci-relay deliveries --job 01K3ZT6M5X8QJ2W9V4B7C1D0EF
    circleci-relay deliveries show 48213
    """,
)
@filters.filters(filters.DELIVERIES)
@paging
@remote()
@json_option
def deliveries(*, client: Client, limit: int, every: bool, as_json: bool, **given: Any) -> None:
    """The newest first. Times are this terminal's."""
    found = pages(client, "/deliveries", filters.said(given), limit=limit, every=every)
    if as_json:
        emit(as_one(found))
        return
    list_out(found, _columns())


def _columns() -> list[Column]:
    return [
        Column(
            head=f"made ({zone()})",
            show=lambda each: local(each["created_at"]),
            brief=lambda each: clock(each["created_at"]),
            brief_head=zone(),
        ),
        Column(
            head="state",
            show=standing,
            brief=lambda each: Cell(sign(each["state"]), style_of(each["state"])),
            brief_head="",
            full=120,
        ),
        Column(head="to", show=lambda each: each["destination"], cut=True),
        Column(head="tries", show=lambda each: str(each["attempts"]), brief_head="n"),
        Column(head="last", show=_last, cut=True),
        Column(head="event", show=lambda each: each["title"], cut=True),
        Column(head="id", show=lambda each: each["id"]),
    ]


def _last(delivery: Mapping[str, Any]) -> str:
    return last_try(delivery["last_result"], delivery["last_status"], delivery["last_error"])


def standing(delivery: Mapping[str, Any]) -> Cell:
    """Where a delivery stands, and why."""
    why = delivery["waiting"] or delivery["reason"]
    if delivery["replayed_by"]:
        why = f"replayed by {delivery['replayed_by']}"
    name = delivery["state"]
    return state(name, f"{name}: {why}" if why and why != name else name)


@deliveries.command(
    "show",
    cls=Verb,
    short_help="Show one delivery with all its attempts.",
    examples="""
    circleci-relay deliveries show 48213
    circleci-relay deliveries show 48213 --json | jq '.log[-1].excerpt'
    """,
)
@click.argument("delivery", type=filters.DeliveryId())
@remote()
@json_option
def show(*, delivery: str, client: Client, as_json: bool) -> None:
    """Show one delivery; DELIVERY is its id, a number."""
    found = client.get(f"/deliveries/{segment(delivery)}")
    if as_json:
        emit(found)
        return
    block(outline(found))
    attempts(found["log"])


def outline(delivery: Mapping[str, Any]) -> list[tuple[str, str | Cell | None]]:
    """What is said of a delivery, line by line."""
    due = delivery["due_at"]
    lines: list[tuple[str, str | Cell | None]] = [
        ("delivery", delivery["id"]),
        ("to", delivery["destination"]),
        ("state", standing(delivery)),
    ]
    if "title" in delivery:
        lines.append(("title", Cell(delivery["title"], style_of(delivery["outcome"]))))
    return [
        *lines,
        ("event", delivery["event"]),
        ("made", f"{local(delivery['created_at'])} ({zone()})"),
        ("next due", local(due) if delivery["state"] == "pending" else ""),
        ("ended", local(delivery["settled_at"])),
        ("webhook-id", delivery["webhook_id"]),
        ("replay of", delivery["replay_of"]),
        ("by job", delivery["job"]),
        ("together with", delivery["together_with"]),
    ]


def attempts(log: Sequence[Mapping[str, Any]]) -> None:
    """Print a delivery's attempts, and under each the answer that was no success."""
    rows: list[list[str | Cell]] = []
    before = None
    for each in log:
        good = each["result"] == "ok"
        result = last_try(each["result"], each["status"], each["error"])
        rows.append(
            [
                str(each["number"]),
                local(each["started_at"]),
                span(each["duration"]),
                Cell(result, "green" if good else "red"),
            ]
        )
        answer = each["excerpt"][:EXCERPT]
        if answer and not good:
            text = "the same" if answer == before else answer
            rows.append(["", "", "", f"attempt {each['number']} was answered: {text}"])
        before = answer
    table(["try", f"began ({zone()})", "took", "result"], rows)
