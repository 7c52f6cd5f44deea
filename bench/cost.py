"""Suite `cost`: processor time and bytes per event, what a day comes to, what packing would do."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from bench import compression, processes, report, subjects
from bench.receiving import receiving
from bench.run import Plan
from bench.stage import Finding
from bench.subjects import POSTGRES, RELAY

if TYPE_CHECKING:
    from pathlib import Path

    from rich.table import Table

    from bench.compression import Shrunk
    from bench.databases import Database
    from bench.stage import Stage
    from bench.subjects import Subject

FAN_OUT = 5
FULL = 6_000  #: events of the run at full load
SLOW, BUSY = 10.0, 300.0  #: events a second
SECONDS = 10.0  #: of a paced run, and of an idle one
DAY = 100_000  #: events
KEEP = 14  #: days


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one subject costs; of processor time the database server's is the second number."""

    idle: tuple[float, float]  #: milliseconds a second, with nothing to do
    full: tuple[float, float]  #: milliseconds an event
    busy: tuple[float, float]
    slow: tuple[float, float]  #: without what it costs to be there at all
    size: float  #: bytes on the disk an event
    tables: dict[str, float]  #: of which, by table

    @property
    def day(self) -> tuple[float, float]:
        """Seconds of processor time for a day, being there included."""
        return (
            self.idle[0] * 86.4 + self.slow[0] * DAY / 1e3,
            self.idle[1] * 86.4 + self.slow[1] * DAY / 1e3,
        )


async def cost(stage: Stage) -> Finding:
    """Processor time and bytes per event at fan-out 5, and what a day of 100,000 comes to."""
    data: dict[str, object] = {}
    finding = Finding(data=data)
    shown = report.grid(
        f"Processor time at fan-out {FAN_OUT}: the relay's + the database server's",
        *("", "idle ms/s", "full load ms/event", f"{BUSY:g}/s ms/event", f"{SLOW:g}/s ms/event"),
        f"s for a day of {DAY:,}",
    )
    stored = report.grid(
        f"Bytes on the disk per event at fan-out {FAN_OUT}, bodies of"
        f" {compression.mean_size():,.0f} bytes",
        *("", "events", "bodies", "deliveries", "attempts", "in all"),
        *(f"MB for a day of {DAY:,}", f"GB for {KEEP} days"),
    )
    for subject in stage.available(RELAY, POSTGRES):
        data[subject.key] = asdict(one := await _cost(stage, subject))
        pairs = (one.idle, one.full, one.busy, one.slow)
        shown.add_row(
            subject.name,
            *(report.both(*pair, places=2) for pair in pairs),
            report.both(*one.day),
        )
        stored.add_row(
            subject.name,
            *(f"{one.tables.get(name, 0):,.0f}" for name in ("events", "bodies")),
            *(f"{one.tables.get(name, 0):,.0f}" for name in ("deliveries", "attempts")),
            f"{one.size:,.0f}",
            f"{one.size * DAY / 1e6:,.0f}",
            f"{one.size * DAY * KEEP / 1e9:,.1f}",
        )
    with stage.folder() as place:
        shrunk = compression.compare(place)
    data["compression"] = [asdict(one) for one in shrunk]
    finding.shown.extend([shown, stored, _packing(shrunk)])
    return finding


def _packing(shrunk: list[Shrunk]) -> Table:
    table = report.grid(
        "Bodies compressed",
        *("", "bytes left", "of a SQLite file left", "µs to compress", "µs to have it back"),
    )
    for one in shrunk:
        table.add_row(
            one.name,
            f"{one.share:.0%}",
            f"{one.file_share:.0%}",
            f"{one.there:.0f}",
            f"{one.back:.0f}",
        )
    return table


async def _cost(stage: Stage, subject: Subject) -> Cost:
    share = 0.3 if stage.options.quick else 1.0
    with stage.folder() as place:
        database = stage.database(subject.database, place)
        assert database is not None
        with stage.doing(f"{subject.name}, idle"):
            idle, empty, blank = await _idle(subject, database, place, SECONDS * share)
        first = 0
        figures = []
        for rate, count in ((0.0, FULL), (BUSY, BUSY * SECONDS), (SLOW, SLOW * SECONDS)):
            # Numbered from one on: an empty database would be counted for nothing.
            plan = Plan(fan_out=FAN_OUT, events=round(count * share), rate=rate, first=first)
            figures.append(await stage.measure(subject, plan, on=database))
            first += plan.events
        grown, tables = database.size() - empty, database.sizes()
        database.drop()
    full, busy, slow = ((one.cpu / 1e3, one.database_cpu / 1e3) for one in figures)
    return Cost(
        idle=idle,
        full=full,
        busy=busy,
        slow=_without(slow, idle),
        size=grown / first,
        tables={name: (size - blank.get(name, 0)) / first for name, size in tables.items()},
    )


def _without(slow: tuple[float, float], idle: tuple[float, float]) -> tuple[float, float]:
    return max(0.0, slow[0] - idle[0] / SLOW), max(0.0, slow[1] - idle[1] / SLOW)


async def _idle(
    subject: Subject, database: Database, place: Path, seconds: float
) -> tuple[tuple[float, float], int, dict[str, int]]:
    """Milliseconds of processor time a second with nothing to do; sizes with nothing in it."""
    async with (
        receiving(place) as receiver,
        subjects.start(
            subject, url=database.url, place=place, fan_out=FAN_OUT, receiver=receiver.port
        ) as [relay],
    ):
        await asyncio.sleep(1)  # what a start has to do ends a little after it is ready
        before = processes.usage(relay.process).cpu, database.cpu()
        await asyncio.sleep(seconds)
        after = processes.usage(relay.process).cpu, database.cpu()
        await processes.end(relay.process)
    spent = (after[0] - before[0]) * 1e3 / seconds, (after[1] - before[1]) * 1e3 / seconds
    return spent, database.size(), database.sizes()
