"""What the generated pages of docs/reference have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def one_line(text: str | None) -> str:
    """*text* as a table takes it."""
    return " ".join((text or "").split())


def slug(heading: str) -> str:
    """The anchor that a heading gets."""
    kept = (each for each in heading.lower() if each.isalnum() or each in "-_ ")
    return "".join(kept).replace(" ", "-")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, a line a row."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(
        f"| {' | '.join(one_line(cell).replace('|', chr(92) + '|') for cell in line)} |\n"
        for line in lines
    )
