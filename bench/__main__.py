"""`python -m bench`: measure the relay beside the naive one and say how they compare."""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from bench import processes, report
from bench.run import Plan, measure
from bench.subjects import NAIVE, RELAY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.report import Pair
    from bench.run import Figures

EVENTS = 15_000  #: in a run, at most
COPIES = 30_000  #: in a run, at most
SECONDS = 5.0  #: of a paced run
QUICK = 0.3  #: of the above with --quick
LATENCY_FAN_OUT = 5


def plans(options: argparse.Namespace) -> list[Plan]:
    """What is run in each round, in this order."""
    scale = QUICK if options.quick else 1.0
    chosen = []
    for fan_out in options.fan_out:
        events = min(EVENTS, COPIES // fan_out) if fan_out else EVENTS
        chosen.append(
            Plan(
                fan_out=fan_out,
                events=min(round(events * scale), options.events),
                connections=options.connections,
            )
        )
    if options.rate:
        events = max(1, round(options.rate * SECONDS * scale))
        chosen.append(
            Plan(
                fan_out=LATENCY_FAN_OUT,
                events=events,
                connections=options.connections,
                rate=options.rate,
            )
        )
    return chosen


async def run(
    options: argparse.Namespace, console: Console, *, place: Path
) -> list[tuple[Plan, list[Pair]]]:
    """All rounds; the order within a round changes, so that neither subject is always first."""
    chosen = plans(options)
    results: list[tuple[Plan, list[Pair]]] = [(plan, []) for plan in chosen]
    rounds = 1 if options.quick else options.rounds
    began = time.monotonic()
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    ) as progress:
        bar = progress.add_task("", total=rounds * len(chosen) * 2)
        for number in range(rounds):
            for plan, pairs in results:
                if pairs and time.monotonic() - began > options.limit:
                    console.print(f"[yellow]round {number + 1} cut short: out of time")
                    return results
                pair: Pair = {}
                for subject in (NAIVE, RELAY) if number % 2 == 0 else (RELAY, NAIVE):
                    pace = f", {plan.rate:g}/s" if plan.rate else ""
                    progress.update(
                        bar,
                        description=f"round {number + 1}/{rounds}: {subject}, "
                        f"fan-out {plan.fan_out}{pace}",
                    )
                    kind = "paced" if plan.rate else "full"
                    own = place / f"{number}-{plan.fan_out}-{kind}-{subject}"
                    own.mkdir()
                    pair[subject] = figures = await measure(subject, plan, place=own)
                    complain(console, figures)
                    shutil.rmtree(own, ignore_errors=True)
                    progress.advance(bar)
                pairs.append(pair)
    return results


def complain(console: Console, figures: Figures) -> None:
    """Say at once what went wrong in a run."""
    for fault in figures.faults:
        console.print(f"[red]{figures.subject}, fan-out {figures.plan.fan_out}: {fault}")


def show(console: Console, results: Sequence[tuple[Plan, Sequence[Pair]]]) -> None:
    """Print the tables and the verdicts."""
    full = [(plan, pairs) for plan, pairs in results if not plan.rate and pairs]
    paced = [(plan, pairs) for plan, pairs in results if plan.rate and pairs]
    if full:
        connections = full[0][0].connections
        title = f"As fast as {connections} connections are answered"
        console.print(report.table(title, full))
    if paced:
        console.print(report.table(f"At {paced[0][0].rate:g} events a second", paced))
    for verdict in report.verdicts(full):
        console.print(verdict)


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round, about 30 s")
    parser.add_argument("--rounds", type=int, default=3, help="medians are taken over them")
    parser.add_argument("--fan-out", type=int, nargs="+", default=[0, 1, 5, 20], metavar="N")
    parser.add_argument("--rate", type=float, default=300.0, help="of the paced run; 0: none")
    parser.add_argument("--events", type=int, default=30_000, help="in a run, at most")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--limit", type=float, default=220.0, help="seconds for all rounds")
    parser.add_argument("--dir", type=Path, help="where the store goes; default: ./build")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    parser.add_argument(
        "--profile", type=Path, metavar="FILE", help="instead: cProfile the relay at fan-out 5"
    )
    return parser.parse_args(argv)


async def profile(options: argparse.Namespace, console: Console, *, place: Path) -> None:
    """One run of the relay alone under cProfile, which slows it to about a half."""
    [plan] = [one for one in plans(options) if one.fan_out == LATENCY_FAN_OUT and not one.rate]
    own = place / "profile"
    own.mkdir()
    wrap = ("-m", "cProfile", "-o", str(options.profile.resolve()))
    figures = await measure(RELAY, plan, place=own, wrap=wrap)
    complain(console, figures)
    console.print(f"{figures.deliveries_s:,.0f} deliveries/s under the profiler")
    console.print(f"look at it with: python -m pstats {options.profile}")


def main() -> int:
    """Exit 1 where anything was lost or doubled; a missed target is only said."""
    options = arguments()
    # soft_wrap: figures cut off to fit a pipe's supposed 80 columns would be worthless.
    console = Console(width=None if sys.stdout.isatty() else 140)
    parent = (options.dir or processes.ROOT / "build").resolve()
    parent.mkdir(parents=True, exist_ok=True)
    store = processes.file_system(parent)
    about = report.machine(store)
    console.print(", ".join(f"{name} {value}" for name, value in about.items()))
    if store in ("tmpfs", "ramfs"):
        console.print("[yellow]the store is in memory: choose a real disk with --dir")
    with tempfile.TemporaryDirectory(prefix="bench-", dir=parent) as name:
        try:
            if options.profile:
                asyncio.run(profile(options, console, place=Path(name)))
                return 0
            results = asyncio.run(run(options, console, place=Path(name)))
        except processes.BenchError as error:
            console.print(f"[red]{error}", soft_wrap=True)
            return 1
        except KeyboardInterrupt:
            return 130
    show(console, results)
    if options.json:
        options.json.write_text(json.dumps(report.as_json(results, about), indent=1))
    faults = [
        f for _, pairs in results for pair in pairs for one in pair.values() for f in one.faults
    ]
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
