"""Lists as tables that fit the terminal: what matters most first, cut rather than wrapped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from circleci_relay.cli.marks import Cell
from circleci_relay.cli.output import console, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    Show = Callable[[Mapping[str, Any]], str | Cell]

WIDE = 10_000
"""Columns of what is no terminal: nothing is left out, cut or broken there."""

ROOM = 150
"""Columns of a terminal from which all is said in full."""

LEAST = 8
"""Columns that are left of what is cut."""

GAP = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One thing that a list says of each item."""

    head: str
    show: Show
    brief: Show | None = None  #: where there is less than `ROOM`
    brief_head: str | None = None
    least: int = 0  #: columns of the terminal from which it is shown at all
    full: int = ROOM  #: from which it is shown in full
    cut: bool = False  #: whether it may be cut, to fit

    def heading(self, room: int) -> str:
        """Its name."""
        short = self.brief_head is not None and room < self.full
        return self.brief_head or "" if short else self.head

    def cell(self, item: Mapping[str, Any], room: int) -> Cell:
        """What it says of *item*; what came from outside is escaped."""
        show = self.brief if self.brief is not None and room < self.full else self.show
        found = show(item)
        cell = found if isinstance(found, Cell) else Cell(found)
        return Cell(printable(cell.text), cell.style)


def table_of(columns: Sequence[Column], items: Iterable[Mapping[str, Any]]) -> None:
    """Print *items*, one to a line, as wide as the terminal is."""
    out = console()
    room = out.width if out.is_terminal else WIDE
    shown = [each for each in columns if room >= each.least]
    rows = [[each.cell(item, room) for each in shown] for item in items]
    if not rows:
        return
    heads = [each.heading(room) for each in shown]
    # A column in which nothing is said takes no room.
    said = [index for index, head in enumerate(heads) if any(row[index].text for row in rows)]
    shown, heads = [shown[i] for i in said], [heads[i] for i in said]
    rows = [[row[i] for i in said] for row in rows]
    _print(heads, rows, _widths(shown, heads, rows, room))


def _widths(
    columns: Sequence[Column], heads: Sequence[str], rows: Sequence[Sequence[Cell]], room: int
) -> list[int]:
    """How wide each is, so that all fit in *room* where that can be."""
    from rich.cells import cell_len  # noqa: PLC0415 - half of what `--help` would cost

    widths = [
        max(cell_len(head), *(cell_len(row[index].text) for row in rows))
        for index, head in enumerate(heads)
    ]
    over = sum(widths) + GAP * (len(widths) - 1) - room
    while over > 0:
        able = [i for i, each in enumerate(columns) if each.cut and widths[i] > LEAST]
        if not able:
            break
        widest = max(able, key=lambda i: widths[i])
        second = max((widths[i] for i in able if i != widest), default=LEAST)
        less = min(over, max(1, widths[widest] - max(second, LEAST)))
        widths[widest] -= less
        over -= less
    return widths


def _print(heads: Sequence[str], rows: Iterable[Sequence[Cell]], widths: Sequence[int]) -> None:
    from rich.text import Text  # noqa: PLC0415

    out = console()
    gap = " " * GAP
    lines = [[Cell(head, "bold") for head in heads], *rows]
    for number, row in enumerate(lines):
        line = Text(no_wrap=True)
        for index, (cell, width) in enumerate(zip(row, widths, strict=True)):
            text = Text(cell.text, style=cell.style)
            text.truncate(width, overflow="ellipsis", pad=index < len(row) - 1)
            line.append_text(text)
            line.append(gap if index < len(row) - 1 else "")
        out.print(line, soft_wrap=True)
        if number == 0:
            rule = sum(widths) + GAP * (len(widths) - 1)
            out.print(Text("─" * rule if _can_draw() else "-" * rule), soft_wrap=True)


def _can_draw() -> bool:
    return console().encoding.lower().startswith("utf")
