"""Half of what it can take, for ten minutes: memory, handles and the database stay level."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from support.faults import FULL, SEED
from support.ledger import look
from support.memory import Usage, slope
from support.program import Program, write_config
from support.stream import Sink, Stream

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

SECONDS = float(os.environ.get("RELAY_SOAK", "600" if FULL else "1.5"))
"""How long it lasts: `RELAY_SOAK=120 make soak` for a look."""

BURST = 8.0 if FULL else 0.5  #: seconds over which the capacity is measured
WIDTH = 32  #: connections events come in over
EVERY = 10.0  #: seconds between two lines of progress
WARM = 240.0
"""
Seconds until everything is level: what is a minute old is let go each minute, in pages
that are then used again; so from the third round on nothing has a reason to grow.
"""

GROWTH = 1.0
"""
MiB a minute memory may grow by after the warm-up.

At 300 events a second a leak of 64 bytes an event comes to this; the allocator's own
ups and downs over six minutes come to a tenth of it.
"""

HANDLES = 4
"""How many more handles the last minute may have than the first after the warm-up."""

LARGER = 1.1
"""How much larger than in the first rounds after the warm-up the database may get."""


@dataclass
class Soak:
    """One run: the relay, where its events come from and go to, and what it takes up."""

    program: Program
    stream: Stream
    sinks: dict[str, Sink]
    database: Path
    usage: Usage

    @property
    def address(self) -> str:
        """Where hooks are taken."""
        return str(self.program.logged("started")[-1]["listen"])

    async def caught_up(self, *, patience: float) -> None:
        """Wait until everything acknowledged has arrived everywhere."""
        async with asyncio.timeout(patience):
            for sink in self.sinks.values():
                while sink.missing(self.stream.acknowledged) or sink.refused:
                    await _tick(0.1)

    async def capacity(self) -> float:
        """Return the events a second it takes in *and* delivers, measured in a burst."""
        before = [sink.requests for sink in self.sinks.values()]
        taken = await self.stream.post(self.address, width=WIDTH, seconds=BURST)
        arrived = [sink.requests for sink in self.sinks.values()]
        await self.caught_up(patience=60)
        return min(
            taken, *((now - then) / BURST for now, then in zip(arrived, before, strict=True))
        )

    async def watch(self, said: Callable[[str], None]) -> None:
        """Take a sample each second, and say every ten how it goes, for ever."""
        spoken = 0.0
        while True:
            sample = self.usage.look()
            if sample.at - spoken >= EVERY:
                spoken = sample.at
                behind = {n: s.missing(self.stream.acknowledged) for n, s in self.sinks.items()}
                said(
                    f"  {sample.at:4.0f} s: {sum(self.stream.answers.values())} posts, memory"
                    f" {sample.memory:.1f} MiB, {sample.handles} handles, database"
                    f" {sample.stored:.1f} MiB, slowest answer {self.stream.slowest * 1000:.0f} ms,"
                    f" on the way {behind}"
                )
                self.stream.slowest = 0.0
            await _tick(1.0)


async def _tick(seconds: float) -> None:
    """Let *seconds* pass: this paces what is looked at, nothing waits for it to be over."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await asyncio.Event().wait()


def configured(folder: Path, sinks: dict[str, Sink]) -> Path:
    """Write a relay.yaml that keeps events for as short as may be."""
    return write_config(
        folder,
        store={"url": f"sqlite:///{folder / 'relay.db'}", "keep": "1m"},
        destinations={
            name: {"url": sink.url, "retry": {"initial": "200ms", "max_age": "30s"}}
            for name, sink in sinks.items()
        },
        routes={"everything": {"to": sorted(sinks)}},
    )


async def test_soak(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Nothing is lost or repeated, and nothing grows, however long it goes on."""

    def said(words: str) -> None:
        if FULL:
            with capfd.disabled():
                print(words, flush=True)  # noqa: T201 - ten minutes without a word are long
        else:
            print(words)  # noqa: T201 - shown by -rP

    stream = Stream(SEED)
    async with Sink().listening() as healthy, Sink(fails=20).listening() as failing:
        sinks = {"healthy": healthy, "failing": failing}
        config = configured(tmp_path, sinks)
        program = await Program.start(config, "--log-level", "info")
        try:
            await program.ready()
            database = tmp_path / "relay.db"
            usage = Usage(program.process.pid, database)
            soak = Soak(program, stream, sinks, database, usage)
            capacity = await soak.capacity()
            said(f"capacity {capacity:.0f} events/s to 2 destinations, 1 in 20 attempts failing")
            soak.usage = usage = Usage(program.process.pid, database)
            watching = asyncio.create_task(soak.watch(said))
            rate = await stream.post(soak.address, width=WIDTH, seconds=SECONDS, rate=capacity / 2)
            watching.cancel()
            await soak.caught_up(patience=60)
            usage.look()
            assert await program.stop() == 0
        finally:
            await program.kill()
    said(f"{SECONDS:.0f} s at {rate:.0f} events/s, seed {SEED}: answers {dict(stream.answers)}")
    assert set(stream.answers) <= {200, 202, 401}
    assert [sink.repeats for sink in sinks.values()] == [0, 0]
    assert look(database, "PRAGMA integrity_check") == [("ok",)]
    assert rate > capacity / 2 * 0.8, "it did not keep up with half of its capacity"
    if SECONDS >= 2 * WARM:
        judge(usage, said)


def judge(usage: Usage, said: Callable[[str], None]) -> None:
    """Hold what was seen after the warm-up against what it may be."""
    # The last sample is of the calm afterwards, and tells nothing of the load.
    level = usage.since(WARM)[:-1]
    end = level[-1].at
    growth = 60 * slope([(each.at, each.memory) for each in level])
    handles = 60 * slope([(each.at, float(each.handles)) for each in level])
    first = max(each.handles for each in usage.since(WARM, WARM + 60))
    last = max(each.handles for each in usage.since(end - 60, end))
    early = max(each.stored for each in usage.since(WARM - 60, WARM + 60))
    late = max(each.stored for each in usage.since(end - 120, end))
    said(
        f"after {WARM:.0f} s: memory {level[0].memory:.1f} to {level[-1].memory:.1f} MiB,"
        f" {growth:+.2f} MiB/min; handles at most {first}, then {last}, {handles:+.2f}/min;"
        f" database at most {early:.1f}, then {late:.1f} MiB"
    )
    assert growth < GROWTH, "memory grows"
    assert last <= first + HANDLES, "handles are not closed"
    assert late <= early * LARGER, "the database grows"
