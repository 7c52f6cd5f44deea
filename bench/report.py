"""The figures as people read them, and as scripts do."""

from __future__ import annotations

import math
import os
import platform
import sqlite3
import statistics
from dataclasses import asdict, fields
from importlib.metadata import version
from typing import TYPE_CHECKING

from rich.table import Table

from bench import loops
from bench.run import Figures
from bench.stage import plain
from bench.subjects import NAIVE, RELAY, Subject

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from bench.run import Plan

TARGET_RATIO = 0.75  #: of the naive relay's deliveries, at fan-out 5
TARGET_EVENTS = 5000.0  #: acknowledged a second where nothing is delivered
TARGET_FAN_OUT = 5
MEASURED = tuple(
    field.name for field in fields(Figures) if field.name not in ("subject", "plan", "faults")
)

Round = dict[Subject, Figures]  #: each subject's figures in one round of one plan
Results = list[tuple["Plan", list[Round]]]


def medians(rounds: Sequence[Round], subject: Subject) -> dict[str, float]:
    """Each figure's median over the rounds."""
    return {
        name: statistics.median(getattr(one[subject], name) for one in rounds) for name in MEASURED
    }


def ratio(rounds: Sequence[Round], subject: Subject) -> float:
    """
    A relay's work per second over the naive one's: the median of the rounds' ratios.

    Deliveries, or events where nothing is delivered. The runs of a round follow each
    other, so what else the machine does weighs on all of them.
    """
    return statistics.median(work(one[subject]) / work(one[NAIVE]) for one in rounds)


def work(figures: Figures) -> float:
    """Deliveries a second, or events where nothing is delivered."""
    return figures.deliveries_s if figures.plan.fan_out else figures.events_s


def table(title: str, results: Iterable[tuple[Plan, Sequence[Round]]]) -> Table:
    """One line per plan and subject."""
    shown = grid(
        title,
        "fan-out",
        "",
        "events/s",
        "deliveries/s",
        "answered p50 / p99 ms",
        "arrived p50 / p99 ms",
        "peak MiB",
        "cpu µs/event",
        "of naive",
    )
    for plan, rounds in results:
        subjects = list(rounds[0])
        for subject in subjects:
            shown.add_row(
                str(plan.fan_out) if subject == subjects[0] else "",
                subject.name,
                *_cells(medians(rounds, subject)),
                "" if subject == NAIVE or plan.rate else f"{ratio(rounds, subject):.2f}",
                end_section=subject == subjects[-1],
            )
    return shown


def grid(title: str, *columns: str) -> Table:
    """An empty table of numbers; a column without a name holds words."""
    shown = Table(title=title, title_justify="left")
    for name in columns:
        shown.add_column(name, justify="right" if name else "left", no_wrap=not name)
    return shown


def _cells(of: dict[str, float]) -> list[str]:
    delivers = not math.isnan(of["deliveries_s"])
    return [
        f"{of['events_s']:,.0f}",
        f"{of['deliveries_s']:,.0f}" if delivers else "-",
        f"{of['ack_p50']:,.1f} / {of['ack_p99']:,.1f}",
        f"{of['delivery_p50']:,.1f} / {of['delivery_p99']:,.1f}" if delivers else "-",
        f"{of['peak']:,.0f}",
        both(of["cpu"], of["database_cpu"]),
    ]


def both(relay: float, database: float, places: int = 0) -> str:
    """Processor time of the relay and, where there is one, of the database's server."""
    return f"{relay:,.{places}f}" + (f" + {database:,.{places}f}" if database else "")


def verdicts(results: Sequence[tuple[Plan, Sequence[Round]]]) -> list[str]:
    """The two targets, and whether they were met."""
    said = []
    for plan, rounds in results:
        if plan.rate:
            continue
        if plan.fan_out == TARGET_FAN_OUT:
            share = ratio(rounds, RELAY)
            said.append(
                verdict(
                    f"{share:.2f} of naive at fan-out 5 (target {TARGET_RATIO})",
                    met=share >= TARGET_RATIO,
                )
            )
        if plan.fan_out == 0:
            rate = medians(rounds, RELAY)["events_s"]
            said.append(
                verdict(
                    f"{rate:,.0f} events/s with no delivery (target {TARGET_EVENTS:,.0f})",
                    met=rate > TARGET_EVENTS,
                )
            )
    return said


def verdict(what: str, *, met: bool) -> str:
    """A sentence that says whether a target was met."""
    return f"{what}: {'met' if met else 'MISSED'}"


def machine(store: str) -> dict[str, str]:
    """What the figures were taken on."""
    return {
        "cpus": str(len(os.sched_getaffinity(0))),
        "python": platform.python_version(),
        "loop": loops.NAME,
        "aiohttp": version("aiohttp"),
        "sqlite": sqlite3.sqlite_version,
        "store on": store,
        "load before": f"{os.getloadavg()[0]:.1f}",
    }


def as_json(results: Results) -> list[Mapping[str, object]]:
    """Every run and the medians, for scripts; None where nothing is delivered."""
    return [
        {
            "plan": asdict(plan),
            "ratios": {
                one.key: ratio(rounds, one) for one in rounds[0] if one != NAIVE and not plan.rate
            },
            "medians": {one.key: _numbers(medians(rounds, one)) for one in rounds[0]},
            "rounds": [
                {one.key: plain(figures) for one, figures in each.items()} for each in rounds
            ],
        }
        for plan, rounds in results
        if rounds
    ]


def _numbers(record: dict[str, float]) -> dict[str, float | None]:
    return {name: None if math.isnan(value) else value for name, value in record.items()}
