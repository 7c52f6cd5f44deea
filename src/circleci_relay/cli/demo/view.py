"""The demo on a terminal, as a table that grows; and elsewhere, as plain lines."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Protocol, Self

import click
from rich.box import SIMPLE_HEAD
from rich.live import Live
from rich.table import Table
from rich.text import Text

from circleci_relay.cli.demo.scenario import Kind
from circleci_relay.cli.output import console, printable

if TYPE_CHECKING:
    from types import TracebackType

    from rich.console import Console, RenderableType

    from circleci_relay.cli.demo.book import Attempt, Book, Posted
    from circleci_relay.cli.demo.verdict import Finding

LINES_A_POST = 5
"""Lines of the terminal one row of the table takes, about: routes and deliveries wrap."""


class View(Protocol):
    """Who is told what happens, while it happens."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def posted(self, post: Posted) -> None:
        """A post was answered."""

    def attempted(self, attempt: Attempt) -> None:
        """The server tells of an attempt."""


class PlainView:
    """One line for each thing that happens, with the seconds since the start."""

    def __init__(self, book: Book, *, err: bool = False) -> None:
        self._book = book
        self._err = err
        self._start = monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None

    def posted(self, post: Posted) -> None:
        """See `View`."""
        self._say(f"{post.step.name}: {facts_of(post)} -> {answer_of(post)}")
        for route, why, to in reasons_of(post):
            click.echo(f"         {route} sends it to {to}: {why}", err=self._err)

    def attempted(self, attempt: Attempt) -> None:
        """See `View`."""
        name = self._book.name_of(attempt.event)
        self._say(f"{name} at {attempt.destination}: attempt {attempt.number}, {ending(attempt)}")

    def _say(self, text: str) -> None:
        click.echo(printable(f"{monotonic() - self._start:6.2f} s {text}"), err=self._err)


class LiveView:
    """A table that shows the latest posts while they are under way, and all of them at the end."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._console = console()
        self._live = Live(
            console=self._console,
            get_renderable=self._latest,
            refresh_per_second=10,
            transient=True,
        )

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.__exit__(kind, error, trace)
        self._console.print(table_of(self._book, self._book.posts))

    def posted(self, post: Posted) -> None:
        """See `View`; the table is drawn from the book."""

    def attempted(self, attempt: Attempt) -> None:
        """See `View`; the table is drawn from the book."""

    def _latest(self) -> RenderableType:
        rows = max(2, (self._console.height - 4) // LINES_A_POST)
        return table_of(self._book, self._book.posts[-rows:])


def view_on(out: Console, book: Book) -> View:
    """The live table where *out* is a terminal that can show it."""
    return LiveView(book) if out.is_terminal and not out.is_dumb_terminal else PlainView(book)


def table_of(book: Book, posts: list[Posted]) -> Table:
    """What was posted, what the server said, who sent it where and why, what came of it."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, expand=True)
    table.add_column("posted", ratio=5, overflow="fold")
    table.add_column("answer", width=11)
    table.add_column("sent by, because", ratio=7, overflow="fold")
    table.add_column("deliveries", ratio=5, overflow="fold")
    for post in posts:
        table.add_row(
            Text(f"{post.step.name}\n").append(facts_of(post), style="dim"),
            _answer(post),
            _routes(post),
            _deliveries(book, post),
        )
    return table


def facts_of(post: Posted) -> str:
    """What routing goes by, in a few words."""
    if post.forecast is None:
        return {Kind.DUPLICATE: "the same bytes", Kind.FORGED: "the wrong secret"}.get(
            post.step.kind, ""
        )
    facts = post.forecast.facts
    where = facts.branch or facts.tag
    parts = (facts.type, facts.status, where, post.forecast.change)
    return printable(" ".join(part for part in parts if part))


def answer_of(post: Posted) -> str:
    """The server's answer, and what it means."""
    if post.answer is None:
        return ""
    if post.answer.status is None:
        return f"no answer: {post.answer.text}"
    meaning = {202: "stored", 200: "known already", 401: "turned away"}
    return f"{post.answer.status} {meaning.get(post.answer.status, 'not expected')}"


def reasons_of(post: Posted) -> list[tuple[str, str, str]]:
    """Each route that takes the event: its name, why, and where to."""
    if post.forecast is None:
        return []
    return [
        (verdict.route, printable(verdict.reason), ", ".join(verdict.to))
        for verdict in post.forecast.verdicts
        if verdict.matched
    ]


def ending(attempt: Attempt) -> str:
    """How an attempt ended and what follows."""
    how = str(attempt.status or attempt.result)
    if attempt.then == "retry":
        return f"{how}, again in {attempt.retry_in or 0:.1f} s"
    return f"{how}, {attempt.then}"


def print_findings(findings: list[Finding]) -> None:
    """The summary: what was checked, and whatever did not hold."""
    for finding in findings:
        mark = click.style("ok", fg="green") if finding.ok else click.style("NOT SO", fg="red")
        click.echo(f"{mark}  {finding.checked}")
        for wrong in finding.wrong:
            click.echo(f"      {printable(wrong)}")


def _answer(post: Posted) -> Text:
    wanted = {Kind.NEW: 202, Kind.DUPLICATE: 200, Kind.FORGED: 401}[post.step.kind]
    right = post.answer is not None and post.answer.status == wanted
    return Text(answer_of(post), style="green" if right else "red")


def _routes(post: Posted) -> Text:
    text = Text()
    for index, (route, why, to) in enumerate(reasons_of(post)):
        text.append("\n" if index else "").append(f"{route} > {to}", style="bold")
        text.append(f": {why}")
    return text


def _deliveries(book: Book, post: Posted) -> Text:
    text = Text()
    for index, destination in enumerate(post.owed):
        seen = book.attempts.get((post.event or "", destination), [])
        style = {"delivered": "green", "dead": "red"}.get(seen[-1].then if seen else "", "yellow")
        text.append("\n" if index else "").append(f"{destination}: ")
        text.append(_so_far(seen), style=style)
    return text


def _so_far(seen: list[Attempt]) -> str:
    """Every attempt in short, and the last one with what follows."""
    if not seen:
        return "..."
    earlier = [str(attempt.status or attempt.result) for attempt in seen[:-1]]
    return " > ".join([*earlier, ending(seen[-1])])
