"""`sink`: a local receiver that shows what arrives and misbehaves on request."""

from __future__ import annotations

import asyncio
import json
import signal
from contextlib import ExitStack
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from circleci_relay.cli.options import json_option, read_secret, secret_options
from circleci_relay.cli.output import printable
from circleci_relay.cli.receiver import Arrival, Manner, Receiver
from circleci_relay.cli.verbs import verb

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LONGEST_SHOWN = 65_536
"""Characters of a body that are shown to people."""

STATUS = click.IntRange(200, 599)


class Listen(click.ParamType[tuple[str, int]]):
    """`HOST:PORT`, `:PORT` or `[::1]:PORT`."""

    name = "host:port"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int]:
        """See `click.ParamType`."""
        if isinstance(value, tuple):
            return value
        host, colon, port = str(value).rpartition(":")
        if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:  # noqa: PLR2004
            self.fail(f"{value!r} is not HOST:PORT, such as 127.0.0.1:9000", param, ctx)
        return host.removeprefix("[").removesuffix("]") or "127.0.0.1", int(port)


@verb(
    "sink",
    examples="""
    circleci-relay sink
    circleci-relay sink --listen :9001 --fail-first 2
    circleci-relay sink --show                           # headers and body of each arrival
    circleci-relay sink --show --json | jq .body.text
    circleci-relay sink --status 410
    circleci-relay sink --secret-env CIRCLECI_WEBHOOK_SECRET --json | jq .verified
    """,
)
@click.option(
    "--listen",
    type=Listen(),
    default="127.0.0.1:9000",
    show_default=True,
    metavar="HOST:PORT",
    help="Where to listen; port 0 takes any free one, and the first line says which.",
)
@click.option("--status", type=STATUS, default=200, show_default=True, help="The answer.")
@click.option(
    "--fail-first",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="Answer the first N attempts of each webhook-id with --fail-status.",
)
@click.option("--fail-status", type=STATUS, default=503, show_default=True)
@click.option("--stall", type=click.FloatRange(min=0), metavar="SECONDS", help="Answer this late.")
@click.option("--hang", is_flag=True, help="Never answer.")
@secret_options
@json_option
@click.option(
    "--show",
    is_flag=True,
    help="Print headers and body too, secrets included; --json and --log then have them as well.",
)
@click.option("--quiet", is_flag=True, help="Print no arrivals.")
@click.option(
    "--log",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Append each arrival to FILE, one JSON object a line.",
)
def sink(  # noqa: PLR0913 - a parameter for each option
    *,
    listen: tuple[str, int],
    status: int,
    fail_first: int,
    fail_status: int,
    stall: float | None,
    hang: bool,
    secret_env: str | None,
    secret_file: Path | None,
    as_json: bool,
    show: bool,
    quiet: bool,
    log: Path | None,
) -> None:
    """
    Any request on any path is taken, until Ctrl-C.

    Given a secret, it says of each whether its circleci-signature fits the body, as a
    receiver of yours would.
    """
    manner = Manner(
        status=status, fail_first=fail_first, fail_status=fail_status, stall=stall, hang=hang
    )
    secret = read_secret(secret_env, secret_file)
    with ExitStack() as stack:
        file = stack.enter_context(log.open("a", encoding="utf-8")) if log else None
        note = _reporter(as_json=as_json, show=show, quiet=quiet, log=file)
        asyncio.run(_receive(Receiver(manner, note, secret=secret).at(*listen), as_json=as_json))


async def _receive(receiver: Receiver, *, as_json: bool) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with receiver:
        click.echo(
            json.dumps({"listening": receiver.url})
            if as_json
            else f"listening on {receiver.url} (Ctrl-C ends)"
        )
        await stop.wait()


def _reporter(
    *, as_json: bool, show: bool, quiet: bool, log: IO[str] | None
) -> Callable[[Arrival], None]:
    def note(arrival: Arrival) -> None:
        line = json.dumps(arrival.record(whole=show))
        if log is not None:
            log.write(line + "\n")
            log.flush()
        if quiet:
            return
        if as_json:
            click.echo(line)
            return
        click.echo(_for_people(arrival))
        if show:
            click.echo("\n".join([*_whole(arrival), ""]))

    return note


def _whole(arrival: Arrival) -> Iterator[str]:
    """Headers and body, line by line; a terminal must obey nothing in them."""
    for name, value in arrival.headers:
        yield printable(f"    {name}: {value}")
    content = arrival.content
    if isinstance(content, str):
        text = content
    else:
        text = json.dumps(content, indent=2, ensure_ascii=False)
    if text:
        yield ""
    for line in text[:LONGEST_SHOWN].splitlines():
        yield f"    {printable(line)}"
    if len(text) > LONGEST_SHOWN:
        yield f"    ... {len(text) - LONGEST_SHOWN} more characters; --json has all of them"


def _for_people(arrival: Arrival) -> str:
    answer = "no answer" if arrival.answered is None else str(arrival.answered)
    parts = [
        arrival.time.astimezone().strftime("%H:%M:%S"),
        f"{arrival.method} {arrival.path}",
        f"-> {answer}",
        arrival.type or "(no event)",
        arrival.id or "",
        f"{len(arrival.body)} bytes",
        f"webhook-id {arrival.webhook_id}" if arrival.webhook_id else "",
        f"attempt {arrival.attempt}" if arrival.attempt else "",
        {True: "signature verified", False: "SIGNATURE WRONG", None: ""}[arrival.verified],
    ]
    return printable("  ".join(part for part in parts if part))
