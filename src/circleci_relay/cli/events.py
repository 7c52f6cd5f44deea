"""`events`: what came in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from circleci_relay.cli import filters
from circleci_relay.cli.client import segment
from circleci_relay.cli.columns import Column
from circleci_relay.cli.listing import as_one, block, list_out, pages, paging, table
from circleci_relay.cli.marks import Cell, clock, local, sign, state, style_of, zone
from circleci_relay.cli.options import json_option
from circleci_relay.cli.output import emit, printable
from circleci_relay.cli.remote import remote
from circleci_relay.cli.verbs import Verb, listing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from circleci_relay.cli.client import Client

FIRST = (
    *("project", "organization", "workflow", "job", "branch", "tag", "revision", "subject"),
    *("author", "pipeline_number", "provider", "trigger", "url"),
)
"""Facts in the order in which they are shown; those that are not here follow."""

ELSEWHERE = frozenset({"source", "type", "status", "change"})


@listing(
    "events",
    examples="""
    circleci-relay events --status failed --branch main --since 2h
    circleci-relay events --outcome dead --all --json | jq '.items[].id'
    circleci-relay events --text 'fix login' --server https://relay.example.com
    circleci-relay events show 01K3ZT6M5X8QJ2W9V4B7C1D0EF
    """,
)
@filters.filters(filters.EVENTS)
@paging
@remote()
@json_option
def events(*, client: Client, limit: int, every: bool, as_json: bool, **given: Any) -> None:
    """
    The newest first; facts must be exactly so, but for --text.

    Deliveries are counted by where they stand. Times are this terminal's.
    """
    found = pages(client, "/events", filters.said(given), limit=limit, every=every)
    if as_json:
        emit(as_one(found))
        return
    list_out(found, _columns())


def _columns() -> list[Column]:
    return [
        Column(
            head=f"received ({zone()})",
            show=lambda event: local(event["received_at"]),
            brief=lambda event: clock(event["received_at"]),
            brief_head=zone(),
        ),
        Column(
            head="status",
            show=lambda event: state(
                event["outcome"], event["facts"].get("status") or event["type"]
            ),
            brief=lambda event: Cell(sign(event["outcome"]), style_of(event["outcome"])),
            brief_head="",
            full=120,
        ),
        Column(head="event", show=_title, brief=_brief_title, cut=True),
        Column(head="pipeline", show=_pipeline, brief_head="#", least=100),
        Column(
            head="deliveries",
            show=lambda event: _counted(event["deliveries"]),
            brief=lambda event: _counted(event["deliveries"], brief=True),
            brief_head="to",
        ),
        Column(head="id", show=lambda event: event["id"]),
    ]


def _title(event: Mapping[str, Any]) -> str:
    again = f"  (came {event['duplicates']} times more)" if event["duplicates"] else ""
    return f"{event['title']}{again}"


def _brief_title(event: Mapping[str, Any]) -> str:
    """What ended and where; how it did says the sign beside it."""
    facts = event["facts"]
    what = facts.get("job") or facts.get("workflow")
    if not what or not facts.get("project"):
        return _title(event)
    where = facts.get("branch") or facts.get("tag")
    again = f"(+{event['duplicates']}) " if event["duplicates"] else ""
    project = str(facts["project"]).rpartition("/")[2]
    return f"{again}{project}: {what}" + (f" on {where}" if where else "")


def _pipeline(event: Mapping[str, Any]) -> str:
    number = event["facts"].get("pipeline_number")
    return "" if number is None else f"#{number}"


def _counted(deliveries: Sequence[Mapping[str, Any]], *, brief: bool = False) -> Cell:
    """How many stand how; the worst gives the colour."""
    if not deliveries:
        return Cell("-" if brief else "none", "dim")
    # What was replayed stands for nothing any more: its replay does.
    states = [each["state"] for each in deliveries if not each.get("replayed")]
    order = ["dead", "pending", "delivered", "cancelled"]
    counts = [(name, states.count(name)) for name in order if name in states]
    text = ", ".join(f"{sign(name)} {count} {name}" for name, count in counts)
    if brief:
        text = " ".join(f"{sign(name)}{count}" for name, count in counts)
    return Cell(text, style_of(counts[0][0]) if counts else "")


@events.command(
    "show",
    cls=Verb,
    short_help="Show one event: facts, verdicts, deliveries, attempts.",
    examples="""
    circleci-relay events show 01K3ZT6M5X8QJ2W9V4B7C1D0EF
    circleci-relay events show 3888f21b-eaa7-38e3-8f3d-75a63bba8895 --body | jq .workflow
    """,
)
@click.argument("event")
@click.option("--body", is_flag=True, help="Print the body alone, byte for byte as it came.")
@remote()
@json_option
def show(*, event: str, body: bool, client: Client, as_json: bool) -> None:
    """
    Show one event whole; EVENT is the relay's id, or CircleCI's.

    What came from outside is escaped where a terminal would obey it, but with --body.
    """
    path = f"/events/{segment(event)}"
    if body:
        click.echo(client.raw(f"{path}/body"), nl=False)
        return
    found = client.get(path)
    if as_json:
        emit(found)
        return
    _show(found)


def _show(event: Mapping[str, Any]) -> None:
    facts, repeats = event["facts"], event["repeats"]
    times = repeats["count"]
    again = f"{times}, {repeats['conflicts']} with other bytes, last {local(repeats['last_at'])}"
    block(
        [
            ("event", event["id"]),
            ("CircleCI's id", event["circleci_id"]),
            ("title", Cell(event["title"], style_of(event["outcome"]))),
            ("received", f"{local(event['received_at'])} ({zone()})"),
            ("source", event["source"]),
            ("type", event["type"]),
            ("status", state(event["outcome"], facts.get("status")) if facts.get("status") else ""),
            ("change", facts.get("change")),
            *((name, str(facts[name])) for name in _order(facts)),
            ("came again", again if times else ""),
            ("body", f"{event['size']} bytes (--body prints them)"),
        ]
    )
    click.echo()
    rows = [
        [
            Cell(f"{sign('good' if each['matched'] else 'other')} {each['route']}"),
            "taken" if each["matched"] else "not taken",
            ", ".join(each["to"]) if each["matched"] else "",
            each["reason"],
        ]
        for each in event["verdicts"]
    ]
    table(["route, as it was then", "", "to", "why"], rows)
    if event.get("verdicts_note"):
        click.echo(printable(event["verdicts_note"]))
    for delivery in event["log"]:
        show_delivery(delivery)
    if not event["log"]:
        click.echo("no delivery: no route took it")


def _order(facts: Mapping[str, Any]) -> list[str]:
    """Facts that are there, and have no line of their own."""
    others = sorted(set(facts) - set(FIRST) - ELSEWHERE)
    return [name for name in (*FIRST, *others) if facts.get(name) not in {None, ""}]


def show_delivery(delivery: Mapping[str, Any]) -> None:
    """Print one delivery and its attempts."""
    from circleci_relay.cli.deliveries import attempts, outline  # noqa: PLC0415 - it is the other's

    click.echo()
    block(outline(delivery))
    attempts(delivery["log"])
