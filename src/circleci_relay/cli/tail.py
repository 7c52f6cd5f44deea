"""`tail`: what comes in and goes out, live."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from circleci_relay.cli import filters
from circleci_relay.cli.client import Refused, Unreachable
from circleci_relay.cli.marks import last_try, local, sign, span, style_of, zone
from circleci_relay.cli.options import json_option
from circleci_relay.cli.output import console, emit, printable
from circleci_relay.cli.remote import remote
from circleci_relay.cli.verbs import verb

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from circleci_relay.cli.client import Client

SHORTEST_WAIT, LONGEST_WAIT = 0.5, 3.0
"""Seconds before the connection is tried again."""

BUSY = 503


@verb(
    "tail",
    examples="""
    circleci-relay tail
    circleci-relay tail --destination pager --kind attempt
    circleci-relay tail --json | jq 'select(.result != "ok")'
    """,
)
@filters.filters(filters.STREAM)
@remote()
@json_option
def tail(*, client: Client, as_json: bool, **given: Any) -> None:
    """
    Until Ctrl-C; a connection that is lost is made again.

    Of several replicas, it shows the one that answers. With --json, a line for each thing.
    """
    tell = _Teller(as_json=as_json)
    wait, before, told = SHORTEST_WAIT, False, False
    while True:
        try:
            with client.stream("/stream", filters.said(given)) as lines:
                again = " again" if before else ""
                click.echo(f"listening{again}; times are {zone()}, Ctrl-C ends", err=True)
                before, told = True, False
                for kind, about in parsed(lines):
                    wait = SHORTEST_WAIT
                    tell(kind, about)
        except Unreachable:
            if not before:
                raise
        except Refused as refused:
            if not before or refused.status != BUSY:
                raise
        except KeyboardInterrupt:
            return
        if not told:
            _say_lost()
        told = True
        try:
            time.sleep(wait)
        except KeyboardInterrupt:
            return
        wait = min(LONGEST_WAIT, 2 * wait)


def _say_lost() -> None:
    now = datetime.now(UTC).isoformat()
    click.echo(
        f"{local(now)}  the connection is lost, and tried again until it is there;"
        " what comes meanwhile is not shown",
        err=True,
    )


def parsed(lines: Iterable[bytes]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Server-sent events out of their *lines*; what is no JSON object is passed by."""
    kind, data = "", b""
    for raw in lines:
        line = raw.rstrip(b"\r\n")
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"event":
            kind = value.decode(errors="replace")
        elif name == b"data":
            data += value
        elif not line:
            try:
                about = json.loads(data) if data else None
            except ValueError:
                about = None
            if isinstance(about, dict):
                yield kind, about
            kind, data = "", b""


class _Teller:
    """Prints one line for each thing that happens."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._out = console()

    def __call__(self, kind: str, about: Mapping[str, Any]) -> None:
        if self._as_json:
            emit({"kind": kind, **about}, indent=None)
            return
        from rich.text import Text  # noqa: PLC0415

        if kind == "dropped":
            click.echo(f"too fast to follow: {about['count']} are not shown", err=True)
            return
        line = Text()
        for text, style in _event(about) if kind == "event" else _attempt(about):
            line.append(printable(text), style=style)
        self._out.print(line, soft_wrap=True)


def _event(about: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    outcome, to = about["outcome"], ", ".join(about["destinations"])
    yield f"{_at(about['received_at'])}  ", "dim"
    yield f"{sign(outcome)} {about['title']}", style_of(outcome)
    yield f"  to {to}" if to else "  to nobody", "" if to else "dim"
    yield f"  {about['id']}", "dim"


def _attempt(about: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    good = about["result"] == "ok"
    name = "good" if good else "bad" if about["state"] == "dead" else "pending"
    yield f"{_at(about['started_at'])}    ", "dim"
    yield f"{sign(name)} {about['destination']}", style_of(name)
    said = last_try(about["result"], about["status"], about["error"])
    # How long it took before it was cut short, nobody asks.
    took = "" if about["result"] == "lost" else f" in {span(about['duration'])}"
    yield f"  {said}{took}", "" if good else style_of(name)
    if not good:
        what = "dead" if about["state"] == "dead" else f"after try {about['attempt']}"
        yield f"  {what}", style_of(name)
    more = f" and {about['others']} more" if about["others"] else ""
    yield f"  {about['title']}{more}", "dim"


def _at(seconds: float) -> str:
    return local(datetime.fromtimestamp(seconds, UTC).isoformat()).partition(" ")[2]
