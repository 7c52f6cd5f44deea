"""Lists of the API, page after page: as tables for people, as its own JSON for scripts."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, TypeVar

import click

from circleci_relay.cli.columns import WIDE, table_of
from circleci_relay.cli.marks import Cell, local
from circleci_relay.cli.output import console, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from circleci_relay.cli.client import Client
    from circleci_relay.cli.columns import Column

F = TypeVar("F", bound="Callable[..., Any]")

PAGE = 200
"""Items that the API gives at most at once."""

PATIENCE = 3.0
"""Seconds for which short pages are followed by themselves."""


def paging(function: F) -> F:
    """`--limit` and `--all`; arrive as `limit` and `every`."""
    function = click.option(
        "--all", "every", is_flag=True, help="All there is, however long that takes."
    )(function)
    return click.option(
        "--limit",
        type=click.IntRange(min=1),
        default=50,
        show_default=True,
        metavar="N",
        help="How many to list, the newest first.",
    )(function)


def pages(
    client: Client, path: str, params: Mapping[str, Any], *, limit: int, every: bool
) -> Iterator[dict[str, Any]]:
    """
    The pages of a list, up to *limit* items, or *every* one.

    A page is short where enough was looked at: those that follow are asked for as well, but not
    for longer than a few seconds.
    """
    before: str | None = None
    began = time.monotonic()
    left = limit
    while True:
        size = PAGE if every else min(left, PAGE)
        page = client.get(path, {**params, "limit": size, "before": before})
        yield page
        before, left = page["next"], left - len(page["items"])
        late = time.monotonic() - began > PATIENCE
        if before is None or (not every and (left <= 0 or late)):
            return


def as_one(found: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Several pages as one, as the API would write it."""
    items: list[Any] = []
    last: dict[str, Any] = {}
    for page in found:
        items += page["items"]
        last = page
    return {**last, "items": items}


def list_out(found: Iterable[Mapping[str, Any]], columns: Sequence[Column]) -> int:
    """Print the items of several pages, and whether there are more; return how many they are."""
    shown = 0
    page: Mapping[str, Any] | None = None
    for page in found:
        shown += len(page["items"])
        table_of(columns, page["items"])
    if page is not None:
        say_how_far(page, shown=shown)
    return shown


def say_how_far(page: Mapping[str, Any], *, shown: int) -> None:
    """Say it where there may be more, on standard error."""
    if page["next"] is None:
        if not shown:
            click.echo("none found", err=True)
        return
    searched = page.get("searched_to")
    if searched:
        click.echo(f"searched back to {local(searched)} only; --all goes on", err=True)
    else:
        click.echo("there are more; --limit N or --all lists them", err=True)


def table(columns: Sequence[str], rows: Iterable[Sequence[str | Cell]]) -> None:
    """Print a table; what came from outside is escaped."""
    from rich.box import SIMPLE_HEAD  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    out = console()
    if not out.is_terminal:
        out.width = WIDE
    made = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for index, column in enumerate(columns):
        # An id is there to be copied.
        made.add_column(Text(column), overflow="fold", no_wrap=index == 0 or column == "id")
    for row in rows:
        cells = [each if isinstance(each, Cell) else Cell(each) for each in row]
        made.add_row(*(Text(printable(each.text), style=each.style) for each in cells))
    if made.row_count:
        out.print(made)


def block(rows: Iterable[tuple[str, str | Cell | None]]) -> None:
    """Print names and values, one to a line; what is absent is left out."""
    from rich.text import Text  # noqa: PLC0415

    out = console()
    known = [(name, value) for name, value in rows if value not in {None, ""}]
    width = max((len(name) for name, _ in known), default=0)
    for name, value in known:
        cell = value if isinstance(value, Cell) else Cell(value or "")
        line = Text(f"{printable(name):<{width}}  ", style="bold")
        line.append(printable(cell.text), style=cell.style or "not bold")
        out.print(line, soft_wrap=True)
