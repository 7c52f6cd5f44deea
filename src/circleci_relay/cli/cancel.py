"""`cancel`: deliver no more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from circleci_relay.cli import filters
from circleci_relay.cli.client import segment
from circleci_relay.cli.options import json_option
from circleci_relay.cli.output import emit
from circleci_relay.cli.remote import remote
from circleci_relay.cli.replay import bulk_options, refuse, singly
from circleci_relay.cli.verbs import verb

if TYPE_CHECKING:
    from collections.abc import Mapping

    from circleci_relay.cli.client import Client


@verb(
    "cancel",
    examples="""
    circleci-relay cancel 48213
    circleci-relay cancel --destination chat --error 'channel_not_found'
    circleci-relay cancel --destination chat --since 2h --yes
    circleci-relay cancel --job 01K3ZT6M5X8QJ2W9V4B7C1D0EF
    """,
)
@click.argument("ids", nargs=-1, type=filters.DeliveryId(), metavar="[DELIVERY]...")
@bulk_options
@click.option("--job", metavar="JOB", help="End this bulk job, and cancel what of it still waits.")
@remote()
@json_option
def cancel(
    *,
    ids: tuple[str, ...],
    job: str | None,
    dry_run: bool,
    yes: bool,
    no_wait: bool,
    key: str | None,
    client: Client,
    as_json: bool,
    **given: Any,
) -> None:
    """
    Only what is pending; an attempt under way is recorded, and changes nothing any more.

    Ending a bulk job takes back what it made and nobody has attempted; what was attempted stays.
    With filters, all pending deliveries that they select are cancelled, in one job: first it is
    counted, then you are asked. Cancelling a replay gives a dead delivery back.
    """
    select = filters.said(given)
    if job is not None:
        if ids:
            raise click.UsageError("name deliveries, or a --job, not both")
        refuse(select, dry_run=dry_run, idempotency_key=key)
        ended = _end(client, job, wait=not no_wait)
        if as_json:
            emit(ended)
        else:
            _show_ended(ended)
        return
    if ids:
        refuse(select, dry_run=dry_run, idempotency_key=key)
        singly(
            ids,
            lambda name: client.post(f"/deliveries/{segment(name)}/cancel", {}),
            "cancelled",
            as_json=as_json,
        )
        return
    from circleci_relay.cli.bulk import in_bulk  # noqa: PLC0415 - where one is begun

    if not select:
        raise click.UsageError("say what: a delivery, a --job, or a filter such as --destination")
    in_bulk(
        client,
        "/cancellations",
        {"select": select},
        verb="cancel",
        key=key,
        only_count=dry_run,
        agreed=yes,
        wait=not no_wait,
        as_json=as_json,
    )


def _end(client: Client, job: str, *, wait: bool) -> Mapping[str, Any]:
    """End *job*; what it made is taken back step by step, which is waited for."""
    from circleci_relay.cli.bulk import watch  # noqa: PLC0415 - where one is ended

    ended: Mapping[str, Any] = client.post(f"/jobs/{segment(job)}/cancel", {})
    return watch(client, ended, until=_is_over) if wait else ended


def _is_over(job: Mapping[str, Any]) -> bool:
    return bool(job["finished_at"])


def _show_ended(job: Mapping[str, Any]) -> None:
    """Say how many were taken back, and what the others came to."""
    if job["kind"] == "cancel":
        click.echo(
            f"job {job['id']} is {job['state']}: {job['made']:,} were cancelled, and stay so"
        )
        return
    states = job["states"]
    so_far = "" if _is_over(job) else " so far"
    others = ", ".join(
        f"{count:,} {name}"
        for name, count in sorted(states.items())
        if count and name != "cancelled"
    )
    click.echo(
        f"job {job['id']} is {job['state']}: {states.get('cancelled', 0):,} of the"
        f" {job['made']:,} it made were taken back{so_far}"
        + (f"; the others: {others}" if others else "")
    )
