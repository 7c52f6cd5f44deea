"""Write what is stale of docs/reference again: `make docs`."""

from __future__ import annotations

from pathlib import Path

import click

import api
import chart
import messages
import reference

MAKERS = (reference, messages, api, chart)
"""Each has `pages()`: the texts by their file names."""

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"


def stale() -> dict[Path, str]:
    """The pages that are not what they should be, and what they should be."""
    made = {REFERENCE / name: text for maker in MAKERS for name, text in maker.pages().items()}
    return {
        path: text
        for path, text in made.items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    }


if __name__ == "__main__":
    for path, text in stale().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        click.echo(f"written: docs/reference/{path.relative_to(REFERENCE).as_posix()}")
