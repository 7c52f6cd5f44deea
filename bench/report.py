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
from bench.subjects import NAIVE, RELAY

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bench.run import Plan

TARGET_RATIO = 0.6  #: of the naive relay's deliveries, at fan-out 5
TARGET_EVENTS = 5000.0  #: acknowledged a second where nothing is delivered
TARGET_FAN_OUT = 5
MEASURED = tuple(
    field.name for field in fields(Figures) if field.name not in ("subject", "plan", "faults")
)

Pair = dict[str, Figures]  #: both subjects' figures in one round of one plan


def medians(pairs: Sequence[Pair], subject: str) -> dict[str, float]:
    """Each figure's median over the rounds."""
    return {
        name: statistics.median(getattr(pair[subject], name) for pair in pairs) for name in MEASURED
    }


def ratio(pairs: Sequence[Pair]) -> float:
    """
    The relay's work per second over the naive one's: the median of the rounds' ratios.

    Deliveries, or events where nothing is delivered. The two runs of a round follow each
    other, so what else the machine does weighs on both.
    """
    return statistics.median(_work(pair[RELAY]) / _work(pair[NAIVE]) for pair in pairs)


def _work(figures: Figures) -> float:
    return figures.deliveries_s if figures.plan.fan_out else figures.events_s


def table(title: str, plans: Iterable[tuple[Plan, Sequence[Pair]]]) -> Table:
    """One line per plan and subject."""
    shown = Table(title=title, title_justify="left")
    shown.add_column("fan-out", justify="right")
    shown.add_column("")
    for name in (
        "events/s",
        "deliveries/s",
        "ack p50 ms",
        "ack p99 ms",
        "delivery p50 ms",
        "delivery p99 ms",
        "peak MiB",
        "cpu µs/event",
        "of naive",
    ):
        shown.add_column(name, justify="right")
    for plan, pairs in plans:
        for subject in (NAIVE, RELAY):
            figures = medians(pairs, subject)
            shown.add_row(
                str(plan.fan_out) if subject == NAIVE else "",
                subject,
                *_cells(figures),
                f"{ratio(pairs):.2f}" if subject == RELAY and not plan.rate else "",
                end_section=subject == RELAY,
            )
    return shown


def _cells(figures: dict[str, float]) -> list[str]:
    places = {"ack_p50": 1, "ack_p99": 1, "delivery_p50": 1, "delivery_p99": 1}
    return [
        "-" if math.isnan(value) else f"{value:,.{places.get(name, 0)}f}"
        for name, value in figures.items()
    ]


def verdicts(results: Sequence[tuple[Plan, Sequence[Pair]]]) -> list[str]:
    """The two targets, and whether they were met."""
    said = []
    for plan, pairs in results:
        if plan.rate:
            continue
        if plan.fan_out == TARGET_FAN_OUT:
            share = ratio(pairs)
            word = "met" if share >= TARGET_RATIO else "MISSED"
            said.append(f"{share:.2f} of naive at fan-out 5 (target {TARGET_RATIO}): {word}")
        if plan.fan_out == 0:
            rate = medians(pairs, RELAY)["events_s"]
            word = "met" if rate > TARGET_EVENTS else "MISSED"
            said.append(
                f"{rate:,.0f} events/s with no delivery (target {TARGET_EVENTS:,.0f}): {word}"
            )
    return said


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


def as_json(
    results: Sequence[tuple[Plan, Sequence[Pair]]], about: dict[str, str]
) -> dict[str, object]:
    """Every run and the medians, for scripts; None where nothing is delivered."""
    return {
        "machine": about,
        "results": [
            {
                "plan": asdict(plan),
                "ratio": None if plan.rate else ratio(pairs),
                "medians": {name: _plain(medians(pairs, name)) for name in (NAIVE, RELAY)},
                "rounds": [
                    {name: _plain(asdict(figures)) for name, figures in pair.items()}
                    for pair in pairs
                ],
            }
            for plan, pairs in results
        ],
    }


def _plain(record: dict[str, object] | dict[str, float]) -> dict[str, object]:
    return {
        name: None if isinstance(value, float) and math.isnan(value) else value
        for name, value in record.items()
        if name != "plan"
    }
