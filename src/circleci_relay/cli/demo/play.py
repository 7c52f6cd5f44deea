"""The run itself: receivers, the server, the posts, the wait, the verdict."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import signal
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import click

from circleci_relay.cli.demo import scenario
from circleci_relay.cli.demo.book import Book, Posted
from circleci_relay.cli.demo.scenario import FLAKY, HANGING, HEALTHY, Forecaster, Kind
from circleci_relay.cli.demo.server import Server, free_ports
from circleci_relay.cli.demo.verdict import Finding, gauges_are_fresh, judge, orderly, parse_metrics
from circleci_relay.cli.demo.view import PlainView, print_findings, view_on
from circleci_relay.cli.output import console, printable
from circleci_relay.cli.posting import post
from circleci_relay.cli.receiver import Manner, Receiver
from circleci_relay.config import load
from circleci_relay.errors import StartupError

if TYPE_CHECKING:
    from circleci_relay.cli.demo.view import View

SETTLE = 10.0
"""Seconds that deliveries may take after the last post; what is not done by then is lost."""

COUNT = 7.0
"""Seconds that the server's background count may take to see it too."""

PACE = 0.3
"""Seconds between posts, where a person is looking on."""

MANNERS = {
    HEALTHY: Manner(),
    FLAKY: Manner(fail_first=scenario.FLAKY_FAILURES),
    HANGING: Manner(hang=True),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Where everything is."""

    folder: Path
    config: Path
    url: str
    ops: str
    admin: str
    receivers: dict[str, str]
    secret: bytes


async def play(*, stay: bool, as_json: bool) -> list[Finding]:
    """
    Run the whole demo and print it; with *stay*, keep it up afterwards until Ctrl-C.

    With *as_json* standard output is left to the caller, and people read standard error.
    """
    _end_on_signals()
    folder = Path(tempfile.mkdtemp(prefix="circleci-relay-demo-"))
    try:
        findings = await _play(folder, stay=stay, as_json=as_json)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    if all(finding.ok for finding in findings):
        shutil.rmtree(folder, ignore_errors=True)
    else:
        click.echo(f"relay.yaml, the store and the server's log are kept in {folder}", err=True)
    return findings


async def _play(folder: Path, *, stay: bool, as_json: bool) -> list[Finding]:
    book = Book()
    view: View = PlainView(book, err=True) if as_json else view_on(console(), book)
    log = (folder / "server.log").open("w", encoding="utf-8")
    telling = [view]

    def heard(line: str) -> None:
        log.write(line + "\n")
        attempt = book.logged(line)
        if attempt is not None:
            telling[0].attempted(attempt)

    async with AsyncExitStack() as stack:
        stack.callback(log.close)
        stage = await _set_up(folder, book, stack)
        click.echo(f"relay.yaml and its store are in {folder}", err=as_json)
        try:
            server = await stack.enter_async_context(Server(stage.config, stage.ops, heard))
        except StartupError:
            _repeat(book)
            raise
        click.echo(f"the relay, process {server.pid}, listens at {stage.url}", err=as_json)
        with view:
            await _post_all(stage, book, view)
            await _settle(book)
        click.echo("waiting for the server's own count of what is left", err=as_json)
        findings = judge(book, await _counted(server, book))
        if not as_json:
            print_findings(findings)
        if stay:
            telling[0] = PlainView(book, err=as_json)
            await _stay(stage, server, err=as_json)
        findings.append(orderly(await server.stop()))
        if not as_json:
            print_findings(findings[-1:])
    if not all(finding.ok for finding in findings):
        _repeat(book)
    return findings


def _repeat(book: Book) -> None:
    """What the server said that may tell why."""
    for line in book.said[-20:]:
        click.echo(f"server: {printable(line)}", err=True)


async def _set_up(folder: Path, book: Book, stack: AsyncExitStack) -> Stage:
    """Start the receivers and write relay.yaml and its secret."""
    secret = secrets.token_hex(16).encode()
    receivers = {}
    for name, manner in MANNERS.items():
        receiver = Receiver(manner, book.arrived(name), secret=secret)
        receivers[name] = (await stack.enter_async_context(receiver)).url
    ports = free_ports("listen", "ops", "admin")
    secret_file = folder / "secret"
    secret_file.touch(mode=0o600)
    secret_file.write_bytes(secret)
    config = folder / "relay.yaml"
    config.write_text(scenario.relay_yaml(ports, receivers), encoding="utf-8")
    return Stage(
        folder=folder,
        config=config,
        url=f"http://127.0.0.1:{ports['listen']}{scenario.PATH}",
        ops=f"http://127.0.0.1:{ports['ops']}",
        admin=f"http://127.0.0.1:{ports['admin']}",
        receivers=receivers,
        secret=secret,
    )


async def _post_all(stage: Stage, book: Book, view: View) -> None:
    forecast = Forecaster(load([stage.config]).config.table)
    pace = PACE if not isinstance(view, PlainView) else 0.0
    async with aiohttp.ClientSession() as session:
        for step in scenario.steps():
            new = step.kind is Kind.NEW
            posted = Posted(step=step, forecast=forecast(step.body) if new else None)
            book.posts.append(posted)
            secret = b"not " + stage.secret if step.kind is Kind.FORGED else stage.secret
            book.answered(posted, await post(session, stage.url, step.body, secret=secret))
            view.posted(posted)
            await asyncio.sleep(pace)


async def _settle(book: Book) -> None:
    """Wait until every delivery that is owed has ended, or it has taken too long."""
    try:
        async with asyncio.timeout(SETTLE):
            while not book.settled():
                book.changed.clear()
                await book.changed.wait()
    except TimeoutError:
        click.echo(f"not everything was done within {SETTLE:g} s", err=True)


async def _counted(server: Server, book: Book) -> str:
    """The metrics, once the background count has caught up, or it has taken too long."""
    metrics = ""
    try:
        async with asyncio.timeout(COUNT):
            while not gauges_are_fresh(book, parse_metrics(metrics)):
                await asyncio.sleep(0.1)
                metrics = await server.metrics()
    except (TimeoutError, aiohttp.ClientError):
        pass  # the verdict names what is missing
    return metrics


async def _stay(stage: Stage, server: Server, *, err: bool) -> None:
    """Leave everything up and say how to play with it, until Ctrl-C or the server's end."""
    command = f"circleci-relay %s -c {stage.config}"
    text = f"""
Everything stays up until Ctrl-C. The page: {stage.admin}/
In another terminal:
  {command % "send gh_oauth_workflow_failed"}
  {command % "send --all"}
  {command % "explain gh_oauth_workflow_failed --previous success"}
  {command % "check"}
  {command % "events"}
  {command % "tail"}
  curl -s {stage.ops}/metrics | grep deliveries_
  $EDITOR {stage.config}        # it is read again as soon as it changes

The receivers: {", ".join(f"{name} at {url}" for name, url in stage.receivers.items())}
"""
    click.echo(text, err=err)
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stopped.set)
    waits = [asyncio.create_task(stopped.wait()), asyncio.create_task(server.gone())]
    _, pending = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)


def _end_on_signals() -> None:
    """End as Ctrl-C does when the terminal closes or the process is asked to stop."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None  # noqa: S101 - for the type checker
    for number in (signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, task.cancel)
