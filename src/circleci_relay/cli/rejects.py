"""`rejects`: what was turned away at the door."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from circleci_relay.cli import filters
from circleci_relay.cli.client import segment
from circleci_relay.cli.columns import ROOM, Column
from circleci_relay.cli.listing import as_one, block, list_out, pages, paging
from circleci_relay.cli.marks import BAD, GOOD, Cell, clock, local, sign, zone
from circleci_relay.cli.options import json_option
from circleci_relay.cli.output import count_of, emit, printable
from circleci_relay.cli.remote import remote
from circleci_relay.cli.verbs import Found, Verb, listing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from circleci_relay.cli.client import Client

UNTRUSTED = "What they claim to be is untrusted: anybody may have sent them."

AT_ONCE = 200
"""Rejects that one call checks."""


@listing(
    "rejects",
    examples="""
    circleci-relay rejects
    circleci-relay rejects --source circleci --reason unauthorized --json
    circleci-relay rejects show 01K3ZT6M5X8QJ2W9V4B7C1D0EF
    circleci-relay rejects recheck --source circleci     # after the secret was mended
    """,
)
@filters.filters(filters.REJECTS)
@paging
@remote()
@json_option
def rejects(*, client: Client, limit: int, every: bool, as_json: bool, **given: Any) -> None:
    """
    What came last first; what came several times is counted.

    Nothing in them is to be trusted: anybody may have sent them.
    """
    found = pages(client, "/rejects", filters.said(given), limit=limit, every=every)
    if as_json:
        emit(as_one(found))
        return
    if list_out(found, _columns()):
        click.echo(UNTRUSTED, err=True)


def _columns() -> list[Column]:
    return [
        Column(
            head=f"last ({zone()})",
            show=lambda each: local(each["last_at"]),
            brief=lambda each: clock(each["last_at"]),
            brief_head=zone(),
        ),
        Column(
            head="times",
            show=lambda each: str(each["count"]),
            brief_head="n",
        ),
        Column(head="source", show=_source, cut=True),
        Column(head="why", show=_standing, brief=_why, cut=True),
        Column(head="claims", show=_claims, least=120, cut=True),
        Column(head="bytes", show=_size, least=ROOM),
        Column(head="id", show=lambda each: each["id"]),
    ]


def _source(reject: Mapping[str, Any]) -> str:
    return f"{reject['source']}/{reject['secret']}" if reject["secret"] else str(reject["source"])


def _claims(reject: Mapping[str, Any]) -> str:
    return ", ".join(str(reject[name]) for name in ("project", "webhook", "type") if reject[name])


def _size(reject: Mapping[str, Any]) -> str:
    return f"{reject['size']:,}" + ("" if reject["whole"] else " (cut)")


def _why(reject: Mapping[str, Any]) -> Cell:
    """What is wrong with it; its kind where no more is known."""
    if reject["event"]:
        return Cell(f"{sign('good')} taken in since", GOOD)
    why = (reject["detail"] or reject["reason"]).removeprefix("circleci-")
    return Cell(f"{sign('bad')} {why}", BAD)


def _standing(reject: Mapping[str, Any]) -> Cell:
    if reject["event"]:
        return Cell(f"{sign('good')} taken in since", GOOD)
    detail = f": {reject['detail']}" if reject["detail"] else ""
    return Cell(f"{sign('bad')} {reject['reason']}{detail}", BAD)


@rejects.command(
    "show",
    cls=Verb,
    short_help="Show one with its headers and what was kept of its body.",
    examples="""
    circleci-relay rejects show 01K3ZT6M5X8QJ2W9V4B7C1D0EF
    """,
)
@click.argument("reject")
@remote()
@json_option
def show(*, reject: str, client: Client, as_json: bool) -> None:
    """Show one reject, with what was kept of it; all of it is untrusted."""
    found = client.get(f"/rejects/{segment(reject)}")
    if as_json:
        emit(found)
        return
    named = ("id", "source", "secret", "project", "webhook", "type")
    block(
        [
            *((name, found[name]) for name in named),
            ("CircleCI's id", found["circleci_id"]),
            ("first", f"{local(found['received_at'])} ({zone()})"),
            ("last", local(found["last_at"])),
            ("times", str(found["count"])),
            ("why", _standing(found)),
            ("event", found["event"]),
            (
                "bytes",
                f"{found['size']:,}" + ("" if found["whole"] else ", of which some are kept"),
            ),
            *((f"header {name}", value) for name, value in found["headers"]),
        ]
    )
    click.echo()
    for line in found["body"].splitlines():
        click.echo(printable(line))
    click.echo(UNTRUSTED, err=True)


@rejects.command(
    "recheck",
    cls=Verb,
    short_help="Check them with the secrets in force; take in what now holds.",
    examples="""
    circleci-relay rejects recheck
    circleci-relay rejects recheck --source circleci --json
    circleci-relay rejects recheck 01K3ZT6M5X8QJ2W9V4B7C1D0EF
    """,
)
@click.argument("ids", nargs=-1, metavar="[REJECT]...")
@click.option("--source", metavar="NAME", help="All of this source.")
@remote()
@json_option
def recheck(*, ids: tuple[str, ...], source: str | None, client: Client, as_json: bool) -> None:
    """
    Check those named, those of a source, or all; what now holds is taken in as if it came now.

    So a secret that was mistyped loses nothing: mend it, reload, recheck. Where some were
    checked and none of them is taken in, the exit code is 1.
    """
    if ids and source is not None:
        raise click.UsageError("name rejects, or a --source, not both")
    total: dict[str, Any] = {"checked": 0, "taken": 0, "still": {}, "events": [], "next": None}
    if ids:
        for start in range(0, len(ids), AT_ONCE):
            _add(total, client.post("/rechecks", {"ids": ids[start : start + AT_ONCE]}))
    else:
        body: dict[str, Any] = {} if source is None else {"source": source}
        while True:
            _add(total, client.post("/rechecks", body))
            if total["next"] is None:
                break
            body["before"] = total["next"]
    if as_json:
        emit(total)
    else:
        _show_total(total)
    if total["checked"] and not total["taken"]:
        raise Found("")


def _show_total(total: Mapping[str, Any]) -> None:
    still = ", ".join(f"{count:,} {reason}" for reason, count in sorted(total["still"].items()))
    click.echo(
        f"{count_of(total['checked'], 'reject')} checked, {total['taken']:,} taken in"
        + (f"; still turned away: {printable(still)}" if still else "")
    )


def _add(total: dict[str, Any], answer: Mapping[str, Any]) -> None:
    total["checked"] += answer["checked"]
    total["taken"] += answer["taken"]
    total["still"] = dict(Counter(total["still"]) + Counter(answer["still"]))
    total["events"] += answer["events"]
    total["next"] = answer["next"]
