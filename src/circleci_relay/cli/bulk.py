"""Bulk jobs as people meet them: counted first, agreed to, watched until they are done."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from circleci_relay.cli.client import segment
from circleci_relay.cli.columns import Column, table_of
from circleci_relay.cli.marks import clock, local, sign, span, zone
from circleci_relay.cli.output import console, emit, printable
from circleci_relay.cli.verbs import Found

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from circleci_relay.cli.client import Client

    Tell = Callable[[Mapping[str, Any]], None]

FIRST_LOOK, LOOK_EVERY = 0.05, 0.5
"""Seconds until a job is looked at, and between two looks later on: most are done at once."""

SAY_EVERY = 5.0
"""Seconds between two lines about it, where there is no terminal for a bar."""

EXAMPLES = 5

INTERRUPTED = 130
"""The exit code of what was left with Ctrl-C."""


def in_bulk(  # noqa: PLR0913 - what is done, and how it is asked for
    client: Client,
    path: str,
    request: Mapping[str, Any],
    *,
    verb: str,
    key: str | None,
    only_count: bool,
    agreed: bool,
    wait: bool,
    as_json: bool,
) -> None:
    """Count what *request* selects, have that agreed to, begin the job, and watch it."""
    preview = client.post(path, {**request, "dry_run": True})
    if only_count and as_json:
        emit(preview)
        return
    if not as_json:
        _show_preview(preview, verb, request)
    if only_count or not preview["count"]:
        if as_json:
            emit(preview)
        return
    _agree(preview, verb, agreed=agreed)
    body = {**request, "dry_run": False, "idempotency_key": key or preview["idempotency_key"]}
    try:
        job = client.post(path, body)
    except KeyboardInterrupt:
        raise _left("it may have begun: `circleci-relay jobs` shows it") from None
    if wait:
        job = watch(client, job)
    if as_json:
        emit(job)
    else:
        show_job(job)
    if job["state"] in {"failed", "cancelled"} and wait:
        raise Found(printable(job["error"] or f"the job was {job['state']}"))


def _nothing(request: Mapping[str, Any], verb: str) -> str:
    select = request["select"]
    if verb == "cancel":
        return "no pending delivery is selected: there is nothing to cancel"
    if request.get("routes") == "now":
        return "no event is selected that would go where it has not been: nothing to replay"
    if "state" not in select and "reason" not in select:
        return "no dead delivery is selected; --state delivered selects delivered ones"
    return "nothing is selected: there is nothing to replay"


def _show_preview(preview: Mapping[str, Any], verb: str, request: Mapping[str, Any]) -> None:
    least = "at least " if preview["partial"] else ""
    count = f"{preview['count']:,} {'delivery' if preview['count'] == 1 else 'deliveries'}"
    if not preview["count"]:
        click.echo(_nothing(request, verb))
        return
    click.echo(f"{least}{count} to {verb}:")
    for name, number in sorted(preview["by_destination"].items()):
        click.echo(f"  {printable(name)}: {least}{number:,}")
    table_of(_examples(), preview["examples"][:EXAMPLES])


def _examples() -> list[Column]:
    return [
        Column(
            head=f"such as ({zone()})",
            show=lambda each: local(each["created_at"]),
            brief=lambda each: clock(each["created_at"]),
        ),
        Column(head="to", show=lambda each: each["destination"], cut=True),
        Column(head="event", show=lambda each: each["title"], cut=True),
        Column(head="id", show=lambda each: each["id"]),
    ]


def _agree(preview: Mapping[str, Any], verb: str, *, agreed: bool) -> None:
    if agreed:
        return
    if not sys.stdin.isatty():
        raise Found(f"nothing was done: to {verb} without being asked, say --yes")
    least = "at least " if preview["partial"] else ""
    click.confirm(f"{verb} {least}{preview['count']:,}?", abort=True, err=True)


def watch(
    client: Client,
    job: Mapping[str, Any],
    *,
    until: Callable[[Mapping[str, Any]], bool] = lambda job: job["state"] != "running",
) -> Mapping[str, Any]:
    """Look at *job* until it has ended; Ctrl-C leaves it running, says so, and exits with 130."""
    where = f"/jobs/{segment(job['id'])}"
    pause = FIRST_LOOK
    try:
        with _progress() as tell:
            while not until(job):
                tell(job)
                time.sleep(pause)
                pause = min(LOOK_EVERY, 2 * pause)
                job = client.get(where)
            tell(job)
    except KeyboardInterrupt:
        name = job["id"]
        raise _left(
            f"the job goes on; `circleci-relay jobs show {name}` says how far it is,"
            f" `circleci-relay cancel --job {name}` ends it"
        ) from None
    return job


def _left(words: str) -> SystemExit:
    """Say *words* to whoever leaves with Ctrl-C."""
    click.echo(f"\n{words}", err=True)
    return SystemExit(INTERRUPTED)


def share_of(job: Mapping[str, Any]) -> float | None:
    """How much of *job* is done, from 0 to 1; None where it is not known."""
    if job["state"] == "done":
        return 1.0
    if job["expected"]:
        return min(1.0, (int(job["made"]) + int(job["skipped"])) / int(job["expected"]))
    return None if job["progress"] is None else float(job["progress"])


def so_far(job: Mapping[str, Any]) -> str:
    """How many of how many."""
    of = f" of {job['expected']:,}" if job["expected"] else ""
    left = f", {job['skipped']:,} left alone" if job["skipped"] else ""
    return f"{job['made']:,}{of}{left}"


@contextmanager
def _progress() -> Iterator[Tell]:
    out = console(stderr=True)
    if not out.is_terminal:
        yield _Lines().tell
        return
    from rich.progress import Progress  # noqa: PLC0415 - half of what `--help` would cost

    with Progress(console=out, transient=True) as bars:
        task = bars.add_task("", total=None)

        def tell(job: Mapping[str, Any]) -> None:
            share = share_of(job)
            total = None if share is None else 1.0
            bars.update(task, description=so_far(job), total=total, completed=share or 0.0)

        yield tell


class _Lines:
    """A line every few seconds."""

    def __init__(self) -> None:
        self._began = self._said = time.monotonic()

    def tell(self, job: Mapping[str, Any]) -> None:
        """Say it, if it is time."""
        moment = time.monotonic()
        if moment - self._said < SAY_EVERY:
            return
        self._said = moment
        share = share_of(job)
        left = ""
        if share:
            seconds = (moment - self._began) * (1 - share) / share
            left = f" ({share:.0%}, about {span(round(seconds))} left)"
        click.echo(f"{so_far(job)}{left}", err=True)


def show_job(job: Mapping[str, Any]) -> None:
    """Say in a line or two what became of *job*."""
    did = {"replay": "replayed", "cancel": "cancelled"}[job["kind"]]
    states = ", ".join(
        f"{sign(name)} {count:,} {name}" for name, count in sorted(job["states"].items()) if count
    )
    left = f", {job['skipped']:,} left alone" if job["skipped"] else ""
    click.echo(
        f"job {job['id']} is {job['state']}: {job['made']:,} {did}{left}"
        + (f"; now {printable(states)}" if states else "")
    )
    if job["kind"] == "replay":
        click.echo(f"`circleci-relay deliveries --job {job['id']}` shows what becomes of them")
