"""`backtest`: a proposed relay.yaml against what came in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from circleci_relay.cli.columns import Column, table_of
from circleci_relay.cli.filters import Instant
from circleci_relay.cli.marks import Cell, clock, local, zone
from circleci_relay.cli.options import json_option
from circleci_relay.cli.output import count_of, emit, printable
from circleci_relay.cli.remote import remote
from circleci_relay.cli.verbs import Found, verb

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from circleci_relay.cli.client import Client

EXAMPLES = 3
"""Examples that are kept of each difference."""

SIGNS = {"added": ("+", "green"), "dropped": ("-", "red")}

LONGEST_NAME = 200
"""Characters of a file's name that the API takes."""

COUNTS = ("looked", "added", "dropped", "unmatched_before", "unmatched_after")


@verb(
    "backtest",
    examples="""
    circleci-relay backtest -c new.yaml
    circleci-relay backtest -c new.yaml --since 30d --json | jq '.differences[]'
    circleci-relay backtest -c new.yaml --relay /etc/circleci-relay/relay.yaml
    circleci-relay backtest -c conf.d/ --fail-on-drop --server https://relay.example.com
    """,
)
@click.option(
    "-c",
    "--config",
    type=click.Path(path_type=Path),
    multiple=True,
    required=True,
    metavar="PATH",
    help="The proposed file, or a directory of *.yaml. May be repeated.",
)
@click.option(
    "--since",
    type=Instant(),
    default="7d",
    show_default=True,
    help="Since when: 90m, 2h, 3d ago, or a time.",
)
@click.option("--until", type=Instant(), help="Until when, likewise.")
@click.option("--fail-on-drop", is_flag=True, help="Exit with 1 if it drops any delivery.")
@remote(proposes=True)
@json_option
def backtest(
    *,
    config: tuple[Path, ...],
    since: str,
    until: str | None,
    fail_on_drop: bool,
    client: Client,
    as_json: bool,
) -> None:
    """
    Which deliveries it would add and drop, by route and destination, with examples.

    It is compared with the configuration in force. Its texts are sent to the relay as they are:
    no ${env:} and no ${file:} in them is read, here or there, and nothing in them says which
    relay is asked. That is --server; else the file in force says it, --relay, in server.admin
    and server.admin_tokens. In CI, give --server and a token: then no file but the proposed
    ones is read, and a proposal may come from anybody.
    """
    body: dict[str, Any] = {**_proposed(config), "since": since}
    if until is not None:
        body["until"] = until
    total = _run(client, body)
    if as_json:
        emit(total)
    else:
        _show(total)
    if fail_on_drop and total["dropped"]:
        raise Found("" if as_json else f"{total['dropped']:,} deliveries would be dropped")


def _proposed(paths: Sequence[Path]) -> dict[str, Any]:
    files: dict[str, str] = {}
    for path in paths:
        _refuse_leading_out(path)
        found = sorted(path.glob("*.yaml")) if path.is_dir() else [path]
        for each in found:
            _refuse_leading_out(each)
            try:
                name = str(each) if len(str(each)) <= LONGEST_NAME else each.name
                files[name] = each.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                raise Found(f"{each} is not UTF-8") from None
    if not files:
        raise Found("there is no *.yaml to propose")
    return {"files": files}


def _refuse_leading_out(path: Path) -> None:
    """
    Refuse a link to elsewhere: with a proposal, it is the proposer who says where.

    What it leads to would be sent, and some of it told again as faults.
    """
    for each in [path] if path.is_absolute() else [path, *path.parents]:
        if each.is_symlink() and not each.resolve().is_relative_to(each.parent.resolve()):
            raise Found(f"{each} is a link that leads out of its folder: name the file itself")


def _run(client: Client, body: dict[str, Any]) -> dict[str, Any]:
    """Ask again and again, until all of the period was looked at; all of it added up."""
    total: dict[str, Any] = {**dict.fromkeys(COUNTS, 0), "warnings": [], "next": None}
    ways: dict[tuple[str, str], dict[str, Any]] = {}
    while True:
        answer = client.post("/backtest", body)
        for name in COUNTS:
            total[name] += answer[name]
        for each in answer["differences"]:
            _add(ways, each)
        total["warnings"] = answer["warnings"]
        total["searched_to"] = answer["searched_to"]
        if answer["next"] is None:
            return {**total, "differences": list(ways.values())}
        body["before"] = answer["next"]
        click.echo(f"looked back to {local(answer['searched_to'])}", err=True)


def _add(ways: dict[tuple[str, str], dict[str, Any]], found: Mapping[str, Any]) -> None:
    known = ways.setdefault(
        (found["route"], found["destination"]),
        {
            **{name: found[name] for name in ("route", "destination")},
            "added": 0,
            "dropped": 0,
            "added_examples": [],
            "dropped_examples": [],
        },
    )
    for kind in ("added", "dropped"):
        known[kind] += found[kind]
        examples = [*known[f"{kind}_examples"], *found[f"{kind}_examples"]]
        known[f"{kind}_examples"] = examples[:EXAMPLES]


def _differences() -> list[Column]:
    return [
        Column(head="route", show=lambda each: each["route"], cut=True),
        Column(head="to", show=lambda each: each["destination"], cut=True),
        Column(head="added", show=lambda each: _count("added", each["added"])),
        Column(head="dropped", show=lambda each: _count("dropped", each["dropped"])),
    ]


def _examples() -> list[Column]:
    return [
        Column(head="", show=lambda one: Cell(*SIGNS[one["kind"]])),
        Column(head="to", show=lambda one: one["to"], cut=True),
        Column(
            head=f"such as ({zone()})",
            show=lambda one: local(one["received_at"]),
            brief=lambda one: clock(one["received_at"]),
        ),
        Column(head="event", show=lambda one: one["title"], cut=True),
        Column(head="id", show=lambda one: one["event"]),
    ]


def _count(kind: str, number: int) -> Cell:
    sign, style = SIGNS[kind]
    return Cell(f"{sign}{number:,}" if number else "", style)


def _show(total: Mapping[str, Any]) -> None:
    for each in total["warnings"]:
        place = f"{each['file']}:{each['line']}:{each['column']}"
        click.echo(printable(f"{place}: warning: {each['path']}: {each['message']}"), err=True)
    table_of(_differences(), total["differences"])
    examples = [
        {**one, "kind": kind, "to": each["destination"]}
        for each in total["differences"]
        for kind in ("added", "dropped")
        for one in each[f"{kind}_examples"]
    ]
    if examples:
        click.echo()
        table_of(_examples(), examples)
    before, after = total["unmatched_before"], total["unmatched_after"]
    went = f"; no route would take {after:,} of them (now {before:,})" if before or after else ""
    nothing = "" if total["differences"] else ": nothing changes"
    click.echo(f"{count_of(total['looked'], 'event')} looked at{nothing}{went}")
