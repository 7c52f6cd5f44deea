"""How far a copy is: bars on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from circleci_relay.cli.output import console

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.progress import TaskID

    from circleci_relay.store.copying import Progress

    Tell = Callable[[Progress], None]

_SAY_EVERY = 5.0


@contextmanager
def progress() -> Iterator[Tell]:
    """Show what is told, on standard error: what is found goes to standard output."""
    out = console(stderr=True)
    if not out.is_terminal:
        yield _Lines().tell
        return
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bars  # noqa: PLC0415

    columns = (
        TextColumn("{task.description:22}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=out) as bars:
        tasks: dict[str, TaskID] = {}

        def tell(now: Progress) -> None:
            words = f"{now.doing} {now.table}"
            if words not in tasks:
                tasks[words] = bars.add_task(words, total=now.total)
            bars.update(tasks[words], completed=now.done, total=now.total)

        yield tell


class _Lines:
    """A line at the end of each table, and every few seconds of a long one."""

    def __init__(self) -> None:
        self._said = time.monotonic()

    def tell(self, now: Progress) -> None:
        """Say it, if it is time."""
        moment = time.monotonic()
        if now.done >= now.total or moment - self._said >= _SAY_EVERY:
            self._said = moment
            click.echo(f"{now.doing} {now.table}: {now.done:,} of {now.total:,}", err=True)
