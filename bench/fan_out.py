"""Suites `fan-out` and `postgres`: relays beside the naive one, by fan-out and at a pace."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench import report
from bench.run import Plan
from bench.stage import Finding
from bench.subjects import NAIVE, POSTGRES, RELAY, REPLICAS

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from bench.report import Results, Round
    from bench.stage import Stage
    from bench.subjects import Subject

EVENTS = 15_000  #: in a run, at most
COPIES = 30_000  #: in a run, at most
SECONDS = 5.0  #: of a paced run
QUICK = 0.3  #: of the above with --quick
LATENCY_FAN_OUT = 5


async def fan_out(stage: Stage) -> Finding:
    """Rates, latencies and memory of the relay and of a naive one that stores nothing."""
    return await _compare(stage, (NAIVE, RELAY), plans(stage.options), rounds=3)


async def postgres(stage: Stage) -> Finding:
    """The same with the relay on PostgreSQL, and with two replicas behind one sender."""
    chosen = plans(stage.options, default=(0, 1, 5), share=0.5)
    return await _compare(stage, (NAIVE, RELAY, POSTGRES, REPLICAS), chosen, rounds=2)


def plans(
    options: argparse.Namespace, *, default: Sequence[int] = (0, 1, 5, 20), share: float = 1.0
) -> list[Plan]:
    """What is run in each round, in this order; of the usual number of events a *share*."""
    scale = share * (QUICK if options.quick else 1.0)
    chosen = []
    for number in options.fan_out or default:
        events = min(EVENTS, COPIES // number) if number else EVENTS
        chosen.append(
            Plan(
                fan_out=number,
                events=min(round(events * scale), options.events),
                connections=options.connections,
            )
        )
    if options.rate:
        chosen.append(
            Plan(
                fan_out=LATENCY_FAN_OUT,
                events=max(1, round(options.rate * SECONDS * scale)),
                connections=options.connections,
                rate=options.rate,
            )
        )
    return chosen


async def _compare(
    stage: Stage, subjects: Sequence[Subject], chosen: Sequence[Plan], *, rounds: int
) -> Finding:
    results = await _run(stage, subjects, chosen, rounds=rounds)
    full = [(plan, pairs) for plan, pairs in results if not plan.rate and pairs]
    paced = [(plan, pairs) for plan, pairs in results if plan.rate and pairs]
    finding = Finding(data=report.as_json(results))
    if full:
        title = f"As fast as {full[0][0].connections} connections are answered"
        finding.shown.append(report.table(title, full))
    if paced:
        finding.shown.append(report.table(f"At {paced[0][0].rate:g} events a second", paced))
    finding.shown.extend(report.verdicts(full))
    return finding


async def _run(
    stage: Stage, subjects: Sequence[Subject], chosen: Sequence[Plan], *, rounds: int
) -> Results:
    """All rounds; the order within a round changes, so that no subject is always first."""
    results: list[tuple[Plan, list[Round]]] = [(plan, []) for plan in chosen]
    for number in stage.rounds(rounds):
        for plan, taken in results:
            if taken and stage.late:
                stage.console.print(f"[yellow]round {number + 1} cut short: out of time")
                return results
            order = subjects if number % 2 == 0 else tuple(reversed(subjects))
            note = f"(round {number + 1})"
            figures = {one: await stage.measure(one, plan, note=note) for one in order}
            taken.append({one: figures[one] for one in subjects})
    return results
