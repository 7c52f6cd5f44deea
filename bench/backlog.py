"""Suites `backlog` and `start`: a million waiting deliveries beside a thousand, or none."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from bench import report
from bench.drain import EARLY, drain
from bench.stage import Finding, median
from bench.stock import Past, stocked
from bench.subjects import POSTGRES, RELAY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.drain import Drained
    from bench.stage import Stage
    from bench.subjects import Subject

FAN_OUT = 1  #: one destination holds it all, the hardest case
SMALL = EARLY
TAKE = 10_000  #: deliveries a drain is watched for
ROUNDS = 3
STARTS = 5
TOLERATED = 0.9  #: of the rate with the smallest backlog
TOLERATED_START = 0.1  #: seconds a start may take longer


async def backlog(stage: Stage) -> Finding:
    """How fast and in what memory a thousand, a hundred thousand, a million deliveries drain."""
    finding = Finding(data=(data := {}))
    shown = report.grid(
        f"One destination's backlog, the first {TAKE:,} deliveries of it",
        *("", "pending", "ready s", f"first {EARLY:,}/s", "all/s", "cpu µs/delivery", "peak MiB"),
        f"first of {SMALL:,}'s",
    )
    finding.shown.append(shown)
    most = _most(stage)
    for subject in stage.available(RELAY, POSTGRES):
        drained = await _rounds(stage, subject, (SMALL, most // 10, most), take=TAKE, rounds=ROUNDS)
        base, sample = drained[SMALL], drained[most]
        for pending, runs in drained.items():
            shown.add_row(
                subject.name if pending == SMALL else "",
                f"{pending:,}",
                f"{_median(runs, 'ready'):.2f}",
                f"{_median(runs, 'early'):,.0f}",
                f"{_median(runs, 'rate'):,.0f}",
                report.both(_median(runs, "cpu"), _median(runs, "database_cpu")),
                f"{max(one.peak for one in runs):,.0f}",
                f"{_median(runs, 'early') / _median(base, 'early'):.2f}",
                end_section=pending == most,
            )
        share = _median(sample, "early") / _median(base, "early")
        middle = drained[most // 10]
        later = _median(sample, "rate") / _median(middle, "rate")
        finding.shown.append(
            report.verdict(
                f"{subject.name}: {most:,} drain at {share:.2f} of {SMALL:,}'s rate, at {later:.2f}"
                f" of {most // 10:,}'s (target {TOLERATED})",
                met=min(share, later) >= TOLERATED,
            )
        )
        data[subject.key] = {str(n): [asdict(one) for one in runs] for n, runs in drained.items()}
    return finding


async def start(stage: Stage) -> Finding:
    """From the start of the process to readiness, with nothing stored and with a million."""
    finding = Finding(data=(data := {}))
    shown = report.grid(
        "From the start of the process until it is ready",
        *("", "stored and pending", "s", "slowest", "cpu s"),
    )
    finding.shown.append(shown)
    most = _most(stage)
    for subject in stage.available(RELAY, POSTGRES):
        started = await _rounds(stage, subject, (0, most), take=1, rounds=STARTS)
        for pending, runs in started.items():
            shown.add_row(
                subject.name if not pending else "",
                f"{pending:,}",
                f"{_median(runs, 'ready'):.2f}",
                f"{max(one.ready for one in runs):.2f}",
                f"{_median(runs, 'start_cpu'):.2f}",
                end_section=bool(pending),
            )
        longer = _median(started[most], "ready") - _median(started[0], "ready")
        finding.shown.append(
            report.verdict(
                f"{subject.name}: {longer:+.2f} s with {most:,} (target {TOLERATED_START:+})",
                met=longer <= TOLERATED_START,
            )
        )
        data[subject.key] = {str(n): [asdict(one) for one in runs] for n, runs in started.items()}
    return finding


def _most(stage: Stage) -> int:
    return int(stage.options.stored) // (10 if stage.options.quick else 1)


def _median(runs: Sequence[Drained], name: str) -> float:
    return median(getattr(one, name) for one in runs)


async def _rounds(
    stage: Stage, subject: Subject, sizes: Sequence[int], *, take: int, rounds: int
) -> dict[int, list[Drained]]:
    """Drain *take* of each of *sizes* in turn."""
    runs: dict[int, list[Drained]] = {size: [] for size in sizes}
    for number in stage.rounds(rounds):
        for size in sizes if number % 2 == 0 else reversed(sizes):
            # An empty one would have to be migrated first. What a drain takes of the
            # largest does not show, so that one is not copied.
            past = Past(events=max(size, 1), fan_out=FAN_OUT, pending=bool(size))
            database = await stocked(stage, subject, past)
            note = f"{size:,} pending (round {number + 1})"
            with stage.doing(f"{subject.name}: {note}"), stage.folder() as place:
                own = database if size == max(sizes) else database.copy(place)
                run = await drain(subject, database=own, fan_out=FAN_OUT, take=take, place=place)
                if own is not database:
                    own.drop()
            stage.complain(f"{subject.name}, {note}", run.faults)
            runs[size].append(run)
    return runs
