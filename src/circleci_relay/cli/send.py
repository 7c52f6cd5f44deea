"""`send`: sign a payload as CircleCI would, and post it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING
from uuid import uuid4

import aiohttp
import click

from circleci_relay.circleci import payload, samples
from circleci_relay.cli.claims import NO_CHANGE, refuse_several, told_together, without_change
from circleci_relay.cli.options import (
    config_option,
    json_option,
    past_of,
    past_options,
    read_secret,
    secret_options,
)
from circleci_relay.cli.output import emit, printable
from circleci_relay.cli.payloads import read_payload
from circleci_relay.cli.posting import Answer, post
from circleci_relay.cli.verbs import Found, verb
from circleci_relay.errors import Malformed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from circleci_relay.cli.claims import Past
    from circleci_relay.config import Config, Source

LONGEST_ANSWER = 400
"""Characters of a destination's answer that are shown to people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where to post, and what to sign with."""

    url: str
    secret: bytes | None = field(repr=False)


@verb(
    "send",
    examples="""
    circleci-relay send --list
    circleci-relay send gh_oauth_workflow_failed
    circleci-relay send --all --source circleci -c relay.yaml
    circleci-relay send body.json --to http://127.0.0.1:8080/webhooks/circleci \\
        --secret-env CIRCLECI_WEBHOOK_SECRET
    circleci-relay send --to chat -c relay.yaml
    circleci-relay send gh_oauth_workflow_success --to pager --previous failed
    circleci-relay send gh_oauth_workflow_failed gh_oauth_job_failed --to digest    # grouped
    """,
)
@click.argument("payloads", nargs=-1, metavar="[PAYLOAD]...")
@click.option("--all", "every", is_flag=True, help="Send every packaged sample.")
@click.option("--list", "listing", is_flag=True, help="List the packaged samples and end.")
@click.option(
    "--to",
    metavar="URL|DESTINATION",
    help="Where to post, else where relay.yaml listens; or the destination to send a test message.",
)
@config_option
@click.option("--source", metavar="NAME", help="The source in relay.yaml to post to.")
@click.option(
    "--name", metavar="SECRET", help="Which of the source's secrets to sign with, by its name."
)
@secret_options
@click.option("--unsigned", is_flag=True, help="Send no signature.")
@click.option(
    "--same-id", is_flag=True, help="Keep the event's own id: a duplicate, if it was sent."
)
@click.option(
    "--count", type=click.IntRange(min=1), default=1, metavar="N", help="Send each N times."
)
@click.option("--insecure", is_flag=True, help="Accept any certificate.")
@past_options
@json_option
def send(  # noqa: PLR0913 - a parameter for each option
    *,
    payloads: tuple[str, ...],
    every: bool,
    listing: bool,
    to: str | None,
    config: tuple[Path, ...],
    source: str | None,
    name: str | None,
    secret_env: str | None,
    secret_file: Path | None,
    unsigned: bool,
    same_id: bool,
    count: int,
    insecure: bool,
    change: str | None,
    previous: str | None,
    as_json: bool,
) -> None:
    """
    PAYLOAD is a file, `-` for standard input, or the name of a packaged sample.

    Where to post, and the secret, come from the options or else from relay.yaml. Each post
    carries an id of its own, so that the relay takes it for a new event (see --same-id).

    With the name of a destination in --to, it gets one test message, of PAYLOAD or a packaged
    sample, made and sent as the relay would: the same body, headers, certificates, proxy or queue.
    Several PAYLOADs are told together, where its body can. --change and --previous are for this.
    A header and the commit's subject mark it as a test, and CircleCI's signature is left out.
    Nothing is stored, no route is asked, nothing is tried again: exit code 1 unless it is taken.
    """
    if listing:
        for sample in samples.names():
            click.echo(sample)
        return
    if to is not None and "://" not in to:
        _refuse_with_destination(
            every=every,
            unsigned=unsigned,
            same_id=same_id,
            insecure=insecure,
            count=count > 1,
            name=name,
            secret_env=secret_env,
            secret_file=secret_file,
        )
        _tell(to, payloads, config, source, past=past_of(change, previous), as_json=as_json)
        return
    if change is not None or previous is not None:
        raise click.UsageError("--change and --previous are for the test message of a destination")
    named = [*payloads, *(samples.names() if every else ())]
    if not named:
        raise click.UsageError("say which PAYLOAD to send, or --all, or --list")
    bodies = [(one, read_payload(one)) for one in named for _ in range(count)]
    secret = read_secret(secret_env, secret_file)
    if to is None or (secret is None and not unsigned):
        target = _target(config, source=source, name=name, need_secret=secret is None, to=to)
        target = replace(target, secret=secret or target.secret)
    else:
        target = Target(url=to, secret=secret)
    if unsigned:
        target = replace(target, secret=None)
    if not same_id:
        bodies = [(one, _fresh(body)) for one, body in bodies]
    failed = asyncio.run(_send(bodies, target, verify_tls=not insecure, as_json=as_json))
    if failed:
        raise Found(f"{failed} of {len(bodies)} not accepted")


def _refuse_with_destination(**given: object) -> None:
    """Options that are about posting to the relay have no meaning for a destination."""
    known = {"every": "--all"}
    for name, value in given.items():
        if value:
            option = known.get(name) or f"--{name.replace('_', '-')}"
            raise click.UsageError(
                f"{option} is for posting to a URL; a destination has settings of its own"
            )


def _tell(
    name: str,
    payloads: Sequence[str],
    paths: Sequence[Path],
    source: str | None,
    *,
    past: Past,
    as_json: bool,
) -> None:
    """Send the destination called *name* a test message, and tell what came of it."""
    from circleci_relay.cli.loading import any_source, pick_destination  # noqa: PLC0415
    from circleci_relay.cli.telling import SAMPLE, as_test, tell  # noqa: PLC0415
    from circleci_relay.clock import SystemClock  # noqa: PLC0415
    from circleci_relay.config import load  # noqa: PLC0415

    chosen = payloads or (SAMPLE,)
    bodies = [as_test(read_payload(one), str(uuid4())) for one in chosen]
    config = load(paths).config
    destination = pick_destination(config, name)
    refuse_several(destination, bodies)
    came_by = any_source(config, source)
    told = told_together(bodies, source=came_by, past=past, now=SystemClock().now())
    if without_change(told, past):
        click.echo(NO_CHANGE, err=True)
    tried = asyncio.run(tell(destination, told, config))
    outcome = tried.outcome
    if as_json:
        record = {
            "destination": name,
            "payloads": list(chosen),
            "webhook_id": tried.webhook_id,
            "delivered": tried.ok,
            "result": outcome.result,
            "status": outcome.status,
            "seconds": round(tried.seconds, 6),
            "error": outcome.error,
            "answer": tried.answer,
        }
        emit(record, indent=None)
    else:
        result = "delivered" if tried.ok else outcome.result.value
        status = "" if outcome.status is None else f"  {outcome.status}"
        said = printable(tried.answer.strip())
        answered = f"  {said[:LONGEST_ANSWER]}" if said else ""
        coloured = click.style(result, fg="green" if tried.ok else "red")
        click.echo(f"{coloured}{status}  {tried.seconds:.3f} s{answered}")
    if not tried.ok:
        raise Found(f"not delivered to {name}: {outcome.error or f'it answered {outcome.status}'}")


async def _send(
    bodies: Sequence[tuple[str, bytes]], target: Target, *, verify_tls: bool, as_json: bool
) -> int:
    """Post one after the other, as CircleCI does for one project; the number not accepted."""
    failed = 0
    async with aiohttp.ClientSession() as session:
        for name, body in bodies:
            answer = await post(
                session, target.url, body, secret=target.secret, verify_tls=verify_tls
            )
            failed += not answer.ok
            _report(name, body, answer, as_json=as_json)
    return failed


def _report(name: str, body: bytes, answer: Answer, *, as_json: bool) -> None:
    try:
        event_id: str | None = payload.event_id(payload.parse(body))
    except Malformed:
        event_id = None
    if as_json:
        record = {
            "payload": name,
            "id": event_id,
            "status": answer.status,
            "answer": answer.text,
            "seconds": round(answer.seconds, 6),
        }
        emit(record, indent=None)
        return
    status = "---" if answer.status is None else str(answer.status)
    colour = "green" if answer.ok else "red"
    said = printable(answer.text.strip())
    click.echo(
        f"{click.style(status, fg=colour)}  {printable(name)}  {printable(event_id or '')}  {said}"
    )


def _fresh(body: bytes) -> bytes:
    """*body* under an id of its own; as it is where it has no id to change."""
    try:
        return samples.with_id(body, str(uuid4()))
    except ValueError:
        return body


def _target(
    paths: Sequence[Path],
    *,
    source: str | None,
    name: str | None,
    need_secret: bool,
    to: str | None,
) -> Target:
    """What relay.yaml says of what to sign with, and of where to post unless *to* does."""
    # The configuration brings pydantic with it; a send that does not need it does not wait for it.
    from circleci_relay.cli.loading import load_for_routes, pick_source  # noqa: PLC0415
    from circleci_relay.config import load  # noqa: PLC0415

    config = (load(paths) if need_secret else load_for_routes(paths)).config
    chosen = pick_source(config, source)
    known = [secret.name for secret in chosen.secrets]
    if name is not None and name not in known:
        raise click.UsageError(f"source {chosen.name} has no secret {name!r}: {', '.join(known)}")
    if name is None and chosen.named and len(known) > 1:
        raise click.UsageError(f"source {chosen.name} has many secrets; say --name NAME")
    secret = next((one for one in chosen.secrets if name in {None, one.name}), None)
    group = secret.group if secret is not None else ""
    return Target(
        url=to or _url(config, chosen, group), secret=secret.value if secret is not None else None
    )


def _url(config: Config, source: Source, group: str) -> str:
    """Where a server of this configuration is reached from this machine."""
    listen = config.server.listen
    if listen.port == 0:
        raise click.UsageError("server.listen has port 0; say --to URL")
    host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(listen.host, listen.host)  # noqa: S104
    scheme = "http" if config.server.tls is None else "https"
    netloc = f"[{host}]" if ":" in host else host
    return f"{scheme}://{netloc}:{listen.port}{source.path.replace('{secret}', group)}"
