"""`render`: exactly what a destination would be sent, without sending it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from circleci_relay.cli.claims import (
    NO_CHANGE,
    claim_of,
    refuse_several,
    told_together,
    without_change,
)
from circleci_relay.cli.loading import any_source, pick_destination
from circleci_relay.cli.options import (
    config_option,
    json_option,
    label_option,
    past_of,
    past_options,
)
from circleci_relay.cli.output import emit, printable
from circleci_relay.cli.payloads import read_payload
from circleci_relay.cli.verbs import Found, verb
from circleci_relay.errors import RenderError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from circleci_relay.cli.shown import Shown
    from circleci_relay.config import Config, Destination
    from circleci_relay.model import Claim


@verb(
    "render",
    examples="""
    circleci-relay render chat gh_oauth_workflow_failed --previous success
    circleci-relay render chat body.json -c relay.yaml --body-only | jq .
    circleci-relay render digest gh_oauth_workflow_failed gh_oauth_job_failed    # grouped
    circleci-relay render pager - --no-secrets --json < body.json
    """,
)
@click.argument("destination")
@click.argument("payloads", nargs=-1, required=True, metavar="PAYLOAD...")
@past_options
@click.option("--source", metavar="NAME", help="The source it would come in by.")
@label_option
@click.option("--test", is_flag=True, help="As a test message, such as `send --to` sends.")
@click.option("--body-only", is_flag=True, help="Print the body alone, byte for byte.")
@click.option(
    "--no-secrets",
    is_flag=True,
    help="Do without the values of ${env:...} and ${file:...}; `unknown` stands for them.",
)
@config_option
@json_option
def render(  # noqa: PLR0913 - a parameter for each option
    *,
    destination: str,
    payloads: tuple[str, ...],
    change: str | None,
    previous: str | None,
    source: str | None,
    labels: tuple[str, ...],
    test: bool,
    body_only: bool,
    no_secrets: bool,
    config: tuple[Path, ...],
    as_json: bool,
) -> None:
    """
    PAYLOAD is a file, `-` for standard input, or the name of a packaged sample.

    Several of them are told together, as with `group`. Nothing is sent or stored, and no route is
    asked. Where the message cannot be made, what is wrong is said, and the exit code is 1.

    Secrets are shown as ***, also in the body, and so is what makes up a signature. Masking ends
    where a template changes a secret's letters (upper, slices, replace, truncate ...): what it
    makes of it is shown. In a log that others read, render such a message with --no-secrets.
    """
    if body_only and as_json:
        raise click.UsageError("give --body-only or --json, not both")
    past = past_of(change, previous)
    bodies = [read_payload(one) for one in payloads]
    from circleci_relay.cli.labelling import read_labels  # noqa: PLC0415
    from circleci_relay.clock import SystemClock  # noqa: PLC0415
    from circleci_relay.config import load  # noqa: PLC0415 - pydantic, not needed for --help

    given = read_labels(labels)
    found = load(config, secrets=not no_secrets).config
    chosen = pick_destination(found, destination)
    refuse_several(chosen, bodies)
    came_by = any_source(found, source)
    told = told_together(bodies, source=came_by, past=past, now=SystemClock().now())
    signed = not test and not found.sources[came_by].unsigned
    claim = claim_of(told, destination, signature="v1=***" if signed else None)
    if without_change(told, past):
        click.echo(NO_CHANGE, err=True)
    message = _made(claim, chosen, found, labels=given, test=test)
    if body_only:
        if message.masked:
            click.echo("(what is secret in the body is masked)", err=True)
        click.echo(message.body, nl=False)
    elif as_json:
        emit(_record(message, chosen))
    else:
        _show_to_people(message, chosen)


def _made(
    claim: Claim,
    destination: Destination,
    config: Config,
    *,
    labels: Mapping[str, str],
    test: bool,
) -> Shown:
    """The message as the relay would make it, without its secrets."""
    from circleci_relay.cli.labelling import given_labels, secrets_of  # noqa: PLC0415
    from circleci_relay.cli.shown import shown, unsigned  # noqa: PLC0415
    from circleci_relay.clock import SystemClock  # noqa: PLC0415
    from circleci_relay.delivery.compose import Composer, Surroundings  # noqa: PLC0415
    from circleci_relay.redaction import Redaction  # noqa: PLC0415

    redact = Redaction(secrets_of(config, labels))
    composer = Composer(
        unsigned(destination),
        clock=SystemClock(),
        surroundings=Surroundings(
            external_url=config.server.external_url, labels=given_labels(config, labels)
        ),
        test=test,
    )
    try:
        message = composer.compose(claim)
    except RenderError as error:
        raise Found(redact(f"{destination.name}: the message cannot be made: {error}")) from None
    return shown(message, destination, redact)


def _record(message: Shown, destination: Destination) -> dict[str, Any]:
    record: dict[str, Any] = {"destination": destination.name, "url": message.url}
    record |= {"address": message.address} if destination.section else {"method": "POST"}
    try:
        body: Any = json.loads(message.body)
    except ValueError:
        body = message.text
    return {**record, "headers": message.headers, "body": body, "masked": message.masked}


def _show_to_people(message: Shown, destination: Destination) -> None:
    click.echo(printable(message.url if destination.section else f"POST {message.url}"))
    if message.address:
        for name, value in message.address.items():
            click.echo(printable(f"{name}: {value}"))
        click.echo()
    for name, value in message.headers.items():
        click.echo(printable(f"{name}: {value}"))
    click.echo()
    # Line by line: a terminal must obey nothing that an event brought along.
    for line in message.text.splitlines() or [""]:
        click.echo(printable(line))
