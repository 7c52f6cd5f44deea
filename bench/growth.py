"""Suite `growth`: the same load on an empty database and on one with a million events."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench import report
from bench.run import Plan
from bench.stage import Finding, median, plain
from bench.stock import Past, stocked
from bench.subjects import POSTGRES, RELAY

if TYPE_CHECKING:
    from bench.databases import Database
    from bench.run import Figures
    from bench.stage import Stage
    from bench.subjects import Subject

FAN_OUT = 5
EVENTS = 4_000  #: in a run
ROUNDS = 5
TOLERATED = 0.9  #: of the rate on an empty database


async def growth(stage: Stage) -> Finding:
    """Throughput with a million events stored, as a share of that with none."""
    finding = Finding(data=(data := {}))
    stored = stage.options.stored // (10 if stage.options.quick else 1)
    shown = report.grid(
        f"Fan-out {FAN_OUT}, with {stored:,} events and {stored * FAN_OUT:,} deliveries stored",
        *("", "stored", "deliveries/s", "answered p99 ms", "cpu µs/event", "size MiB"),
        *("of empty", "cpu of empty"),
    )
    finding.shown.append(shown)
    for subject in stage.available(RELAY, POSTGRES):
        past = Past(events=stored, fan_out=FAN_OUT, pending=False)
        full = await stocked(stage, subject, past)
        size = full.size()
        pairs = await _rounds(stage, subject, full, stored=stored)
        share = median(two.deliveries_s / one.deliveries_s for one, two in pairs)
        effort = median(_effort(two) / _effort(one) for one, two in pairs)
        empty = [one for one, _ in pairs]
        shown.add_row(subject.name, "0", *_cells(empty))
        shown.add_row(
            *("", f"{stored:,}", *_cells([two for _, two in pairs])),
            *(f"{size / 2**20:,.0f}", f"{share:.2f}", f"{effort:.2f}"),
            end_section=True,
        )
        said = (
            f"{subject.name}: {share:.2f} of the empty one's rate (target {TOLERATED}),"
            f" with {effort:.2f} of the processor time per event"
        )
        finding.shown.append(report.verdict(said, met=share >= TOLERATED))
        data[subject.key] = {
            "stored": stored,
            "size": size,
            "ratio": share,
            "effort": effort,
            "rounds": [{"empty": plain(one), "full": plain(two)} for one, two in pairs],
        }
    return finding


async def _rounds(
    stage: Stage, subject: Subject, full: Database, *, stored: int
) -> list[tuple[Figures, Figures]]:
    """Empty and full in turn; which comes first changes."""
    pairs = []
    events = min(EVENTS, stage.options.events)
    for number in stage.rounds(ROUNDS):
        figures = {}
        for is_full in (False, True) if number % 2 == 0 else (True, False):
            # Its events are there for good: the next round's must be others.
            first = stored + number * events if is_full else 0
            plan = Plan(
                fan_out=FAN_OUT,
                events=events,
                connections=stage.options.connections,
                first=first,
            )
            note = f"{'full' if is_full else 'empty'} (round {number + 1})"
            figures[is_full] = await stage.measure(
                subject, plan, on=full if is_full else None, note=note
            )
        pairs.append((figures[False], figures[True]))
    return pairs


def _effort(figures: Figures) -> float:
    return figures.cpu + figures.database_cpu


def _cells(figures: list[Figures]) -> list[str]:
    return [
        f"{median(one.deliveries_s for one in figures):,.0f}",
        f"{median(one.ack_p99 for one in figures):,.1f}",
        report.both(
            median(one.cpu for one in figures), median(one.database_cpu for one in figures)
        ),
    ]
