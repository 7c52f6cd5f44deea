"""`replay`: deliver again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from circleci_relay.cli import filters
from circleci_relay.cli.client import segment
from circleci_relay.cli.marks import state
from circleci_relay.cli.options import json_option
from circleci_relay.cli.output import emit, printable
from circleci_relay.cli.remote import remote
from circleci_relay.cli.verbs import verb

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from circleci_relay.cli.client import Client


def bulk_options(function: Any) -> Any:
    """What bulk jobs have in common: --dry-run, --yes, --no-wait, --idempotency-key."""
    for option in (
        click.option(
            "--idempotency-key",
            "key",
            type=filters.IdempotencyKey(),
            metavar="TEXT",
            help=f"Asked for again under the same key, it is not done again. {filters.KEYS}.",
        ),
        click.option("--no-wait", is_flag=True, help="Begin, and do not wait until all are made."),
        click.option("--yes", is_flag=True, help="Do not ask."),
        click.option("--dry-run", is_flag=True, help="Count, and change nothing."),
        filters.filters(filters.SELECTION),
    ):
        function = option(function)
    return function


@verb(
    "replay",
    examples="""
    circleci-relay replay 48213                                  # a delivery
    circleci-relay replay 01K3ZT6M5X8QJ2W9V4B7C1D0EF --to pager  # an event
    circleci-relay replay --destination pager --state dead --since 3h
    circleci-relay replay --destination pager --state dead --rate 5 --yes --no-wait
    circleci-relay replay --routes now --since 2h --dry-run      # what new routes would have sent
    """,
)
@click.argument("ids", nargs=-1, metavar="[EVENT|DELIVERY]...")
@bulk_options
@click.option(
    "--to",
    multiple=True,
    metavar="DESTINATION",
    help="Of an event, and with --routes now: only there, for an event whatever its routes say."
    " May be repeated.",
)
@click.option(
    "--routes",
    type=click.Choice(["then", "now"]),
    help="`then`: where each delivery went. `now`: each event selected to where the routes in force"
    " send it, and it has not been.",
)
@click.option(
    "--rate",
    type=click.FloatRange(0, 10_000, min_open=True),
    metavar="N",
    help="At most so many a second.",
)
@click.option(
    "--new-id",
    is_flag=True,
    help="Under a webhook-id of its own: a receiver that deduplicates takes it as new.",
)
@click.option("--again", is_flag=True, help="Of one: even if it waits there already.")
@remote()
@json_option
def replay(  # noqa: PLR0913 - a parameter for each option
    *,
    ids: tuple[str, ...],
    to: tuple[str, ...],
    routes: str | None,
    rate: float | None,
    new_id: bool,
    again: bool,
    dry_run: bool,
    yes: bool,
    no_wait: bool,
    key: str | None,
    client: Client,
    as_json: bool,
    **given: Any,
) -> None:
    """
    A delivery's id is a number, all else names an event: the relay's id, or CircleCI's.

    With filters, all deliveries that they select are replayed, in one job: first it is counted,
    then you are asked, then it is done at the destinations' pace. A dead delivery that was
    replayed no longer counts as dead.

    Filters select dead deliveries, unless --state or --reason says otherwise: what was delivered
    is replayed only with --state delivered.
    """
    select = filters.said(given)
    if ids:
        refuse(select, routes=routes, rate=rate, dry_run=dry_run, idempotency_key=key)
        how = {"new_id": new_id, "again": again}
        singly(ids, lambda name: _one(client, name, how, to), "replayed", as_json=as_json)
        return
    from circleci_relay.cli.bulk import in_bulk  # noqa: PLC0415 - where one is begun

    if not select:
        raise click.UsageError("say what: an event, a delivery, or a filter such as --state dead")
    if to and routes != "now":
        raise click.UsageError("--to is for an event, or for --routes now")
    if again:
        raise click.UsageError("--again is for one event or delivery")
    request: dict[str, Any] = {"select": select, "new_id": new_id, "routes": routes or "then"}
    request |= {"to": list(to)} if to else {}
    request |= {"rate": rate} if rate is not None else {}
    in_bulk(
        client,
        "/replays",
        request,
        verb="replay",
        key=key,
        only_count=dry_run,
        agreed=yes,
        wait=not no_wait,
        as_json=as_json,
    )


def _one(client: Client, name: str, how: Mapping[str, Any], to: tuple[str, ...]) -> Any:
    if name.isascii() and name.isdigit():
        if to:
            raise click.UsageError("--to is for an event: a delivery goes where it went")
        return client.post(f"/deliveries/{name}/replay", how)
    body = {**how, "destinations": list(to)} if to else how
    return client.post(f"/events/{segment(name)}/replay", body)


def refuse(select: Mapping[str, Any], **given: Any) -> None:
    """Refuse filters, and what goes with them, beside ids."""
    named = [*select, *(name for name, value in given.items() if value)]
    if named:
        option = f"--{named[0].replace('_', '-')}"
        raise click.UsageError(f"name what, or give filters: {option} is for filters")


def singly(
    ids: tuple[str, ...], do: Callable[[str], Mapping[str, Any]], did: str, *, as_json: bool
) -> None:
    """Do it to one after the other, and tell of the deliveries concerned."""
    made: list[Mapping[str, Any]] = []
    for name in ids:
        now = do(name)["deliveries"]
        made += now
        if not as_json:
            for each in now:
                about = f"{did}: {each['event']} to {each['destination']}, delivery {each['id']}"
                click.echo(printable(f"{state(each['state']).text}  {about}"))
    if as_json:
        emit({"deliveries": made})
