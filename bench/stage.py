"""Where the suites play: the options, the console, a place for files, the databases."""

from __future__ import annotations

import contextlib
import json
import shutil
import statistics
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from bench import run
from bench.databases import POSTGRESQL, Server, Sqlite
from bench.processes import BenchError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Hashable, Iterable, Iterator
    from pathlib import Path

    from rich.console import Console, RenderableType

    from bench.databases import Database
    from bench.run import Figures, Plan
    from bench.subjects import Subject


@dataclass(slots=True, kw_only=True)
class Finding:
    """What a suite found out."""

    shown: list[RenderableType] = field(default_factory=list)  #: tables and sentences
    data: object = None  #: the same for scripts


@dataclass(slots=True)
class Stage:
    """One call of the benchmark."""

    options: argparse.Namespace
    console: Console
    place: Path
    server: Server
    faults: list[str] = field(default_factory=list, init=False)  #: of all runs so far
    stock: dict[Hashable, Database] = field(default_factory=dict, init=False)  #: see `stocked`
    began: float = field(default=0.0, init=False)  #: when this suite did
    _number: int = field(default=0, init=False)

    @contextlib.contextmanager
    def folder(self) -> Iterator[Path]:
        """A folder for one run, gone after it."""
        self._number += 1
        place = self.place / str(self._number)
        place.mkdir()
        try:
            yield place
        finally:
            shutil.rmtree(place, ignore_errors=True)

    def database(self, kind: str | None, place: Path) -> Database | None:
        """A new and empty one, in *place* if it is a file; None for a relay that has none."""
        if kind is None:
            return None
        return self.server.database() if kind == POSTGRESQL else Sqlite(place / "relay.db")

    async def measure(
        self, subject: Subject, plan: Plan, *, on: Database | None = None, note: str = ""
    ) -> Figures:
        """One run, on a database of its own unless it is to be *on* one; faults are said."""
        pace = f", {plan.rate:g}/s" if plan.rate else ""
        with self.folder() as place, self.doing(f"{subject.name}, {plan.fan_out}{pace} {note}"):
            own = None if on else self.database(subject.database, place)
            figures = await run.measure(subject, plan, database=on or own, place=place)
            if own:
                own.drop()
        self.complain(f"{subject.name}, fan-out {plan.fan_out}{pace}", figures.faults)
        return figures

    def rounds(self, usual: int) -> Iterator[int]:
        """Numbers from 0 on, so many as are wanted, at least one, no more once it is late."""
        wanted = 1 if self.options.quick else self.options.rounds or usual
        for number in range(wanted):
            if number and self.late:
                self.console.print(f"[yellow]round {number + 1} left out: out of time")
                return
            yield number

    @property
    def late(self) -> bool:
        """Whether this suite has had its time."""
        return time.monotonic() - self.began > float(self.options.limit)

    def available(self, *subjects: Subject) -> list[Subject]:
        """Those of *subjects* that can run here; of the others it says why not."""
        there = []
        for subject in subjects:
            if subject.key not in (self.options.on or [subject.key]):
                continue
            if subject.database == POSTGRESQL:
                try:
                    self.server.database().drop()
                except BenchError as error:
                    self.console.print(f"[yellow]without {subject.name}: {error}")
                    continue
            there.append(subject)
        return there

    def complain(self, what: str, faults: Iterable[str]) -> None:
        """Say at once what went wrong in a run, and remember it."""
        for fault in faults:
            self.faults.append(f"{what}: {fault}")
            self.console.print(f"[red]{what}: {fault}")

    def doing(self, what: str) -> contextlib.AbstractContextManager[object]:
        """Show that this is under way."""
        return self.console.status(what)


def median(values: Iterable[float]) -> float:
    """The middle one; of a few noisy runs it says more than their mean."""
    return statistics.median(list(values))


def plain(figures: Figures) -> dict[str, object]:
    """*figures* for scripts: a plain record, None where there is no number."""
    record: dict[str, object] = json.loads(
        json.dumps(asdict(figures)), parse_constant=lambda _: None
    )
    return record
