"""
`python -m bench [SUITE ...]`: measure the relay and say how it compares.

Each run is checked: nothing that was acknowledged may be lost or doubled.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from bench import backlog, cost, fan_out, growth, log, messages, processes, report, run
from bench.databases import Server, Sqlite
from bench.stage import Stage
from bench.subjects import RELAY

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from bench.stage import Finding

SUITES: dict[str, Callable[[Stage], Awaitable[Finding]]] = {
    "fan-out": fan_out.fan_out,
    "postgres": fan_out.postgres,
    "growth": growth.growth,
    "backlog": backlog.backlog,
    "start": backlog.start,
    "cost": cost.cost,
    "messages": messages.messages,
    "log": log.log,
}
ALL = "all"


def suite(name: str) -> str:
    """A suite's name, checked."""
    if name not in SUITES and name != ALL:
        raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(SUITES)}, {ALL}")
    return name


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=__doc__,
        epilog="suites: "
        + "; ".join(f"{name}: {one.__doc__}".rstrip(".") for name, one in SUITES.items()),
    )
    parser.add_argument("suites", nargs="*", type=suite, metavar="SUITE", help="default: fan-out")
    parser.add_argument("--quick", action="store_true", help="one short round of each")
    parser.add_argument("--rounds", type=int, help="medians are taken over them")
    parser.add_argument("--fan-out", type=int, nargs="+", metavar="N", help="of fan-out, postgres")
    parser.add_argument("--rate", type=float, default=300.0, help="of the paced run; 0: none")
    parser.add_argument(
        "--stored", type=int, default=1_000_000, metavar="N", help="events or deliveries, of growth"
    )
    parser.add_argument(
        "--on", nargs="+", metavar="DATABASE", help="only these: sqlite, postgresql"
    )
    parser.add_argument("--events", type=int, default=30_000, help="in a run, at most")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument(
        "--limit",
        type=float,
        default=200.0,
        help="seconds after which a suite begins no further round",
    )
    parser.add_argument("--dir", type=Path, help="where the store goes; default: ./build")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    parser.add_argument(
        "--profile", type=Path, metavar="FILE", help="instead: cProfile the relay at fan-out 5"
    )
    return parser.parse_args(argv)


async def profile(stage: Stage) -> None:
    """One run of the relay alone under cProfile, which slows it to about a half."""
    [plan] = [one for one in fan_out.plans(stage.options, default=(5,)) if not one.rate]
    out = stage.options.profile.resolve()
    with stage.folder() as place:
        figures = await run.measure(
            RELAY,
            plan,
            database=Sqlite(place / "relay.db"),
            place=place,
            wrap=("-m", "cProfile", "-o", str(out)),
        )
    stage.complain("under the profiler", figures.faults)
    stage.console.print(f"{figures.deliveries_s:,.0f} deliveries/s under the profiler")
    stage.console.print(f"look at it with: python -m pstats {stage.options.profile}")


async def play(stage: Stage) -> dict[str, object]:
    """Run the suites that were asked for, each shown as soon as it ends."""
    wanted = stage.options.suites or ["fan-out"]
    found: dict[str, object] = {}
    for name in SUITES if ALL in wanted else wanted:
        stage.began = time.monotonic()
        try:
            finding = await SUITES[name](stage)
        except processes.BenchError as error:
            stage.complain(name, [str(error)])
            continue
        for shown in finding.shown:
            stage.console.print(shown)
        stage.console.print(f"[dim]{name}: {time.monotonic() - stage.began:.0f} s")
        found[name] = finding.data
    return found


def main() -> int:
    """Exit 1 where anything was lost or doubled; a missed target is only said."""
    options = arguments()
    console = Console(width=None if sys.stdout.isatty() else 150, soft_wrap=False)
    parent = (options.dir or processes.ROOT / "build").resolve()
    parent.mkdir(parents=True, exist_ok=True)
    store = processes.file_system(parent)
    about = report.machine(store)
    console.print(", ".join(f"{name} {value}" for name, value in about.items()))
    if store in ("tmpfs", "ramfs"):
        console.print("[yellow]the store is in memory: choose a real disk with --dir")
    with (
        tempfile.TemporaryDirectory(prefix="bench-", dir=parent) as name,
        contextlib.closing(Server(Path(name))) as server,
    ):
        stage = Stage(options, console, Path(name), server)
        try:
            if options.profile:
                asyncio.run(profile(stage))
                return 1 if stage.faults else 0
            found = asyncio.run(play(stage))
        except KeyboardInterrupt:
            return 130
    if options.json:
        options.json.write_text(
            json.dumps({"machine": about, "faults": stage.faults, **found}, indent=1)
        )
    return 1 if stage.faults else 0


if __name__ == "__main__":
    sys.exit(main())
