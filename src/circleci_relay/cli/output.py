"""What is printed: tables for people, JSON for scripts, nothing that a terminal would obey."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console


def printable(text: str) -> str:
    """*text* with everything escaped that is not plainly visible, lone surrogates included."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text
    )


def emit(value: Any, *, indent: int | None = 2) -> None:
    """Print *value* as JSON; ASCII only, so that any pipe takes it."""
    click.echo(json.dumps(value, indent=indent))


def console(*, stderr: bool = False) -> Console:
    """The terminal as rich sees it; colours only where there is one and NO_COLOR is not set."""
    from rich.console import Console  # noqa: PLC0415 - half of what `--help` would cost

    return Console(stderr=stderr, highlight=False, markup=False, emoji=False, soft_wrap=False)


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], *, styles: Sequence[str] = ()
) -> None:
    """Print a table for people; cells hold plain text, never markup; *styles* are the rows'."""
    from rich.box import SIMPLE_HEAD  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    out = console()
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for index, column in enumerate(columns):
        table.add_column(Text(column), overflow="fold", no_wrap=index == 0 and out.is_terminal)
    for index, row in enumerate(rows):
        style = styles[index] if index < len(styles) else ""
        table.add_row(*(Text(printable(cell), style=style) for cell in row))
    out.print(table)


def count_of(number: int, noun: str) -> str:
    """`1 route`, `2 routes`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
