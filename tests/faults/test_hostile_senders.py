"""Senders at their worst, all at once, beside honest ones."""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from statistics import median, quantiles

import pytest

from support.faults import FULL, SEED, scaled
from support.hostile import peak_memory
from support.hostile_senders import COSTLY, SLOW, WAYS, Assault, assaulted
from support.ledger import Ledger, until
from support.program import Program, circleci, running, series, write_config
from support.receiver import Receiver

StartReceiver = Callable[..., Awaitable[Receiver]]

CROWD = 2000
RATE = 20.0
"""Honest posts a second."""

ROUNDS = scaled(2, 4)
WAVES = scaled(1, 5)

ALONE = 15.0
"""Seconds of honest posts without the others, in the long form."""

DEADLINE = 12.0
"""Seconds after which the relay must have closed; its own limits come to about nine."""

MEMORY = 256 * 1024
"""KiB the relay may take at its peak; 64 MiB of bodies may be in flight at once."""

ANSWERS = {
    **dict.fromkeys([way for way in WAYS if way.startswith(("length", "rubbish"))], "400"),
    **dict.fromkeys([way for way in SLOW if way != "says-nothing"], "408"),
    "two-lengths": "400",
    "chunks-of-rubbish": "400",
    "chunks-too-much": "413",
    "says-too-much": "413",
    "tiny-chunks": "400",
    "rubbish": "400",
    "endless-header": "400",
    "many-headers": "400",
    "large-headers": "431",
    "pipelines": "401",
    "never-listens": "404",
}
"""What each way hears at most: who floods, or has to give way, may find the connection closed."""


@pytest.fixture
def crowd() -> Iterator[int]:
    """Return how many connections may be opened, after raising the limit as far as allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 3 * CROWD
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    yield min(CROWD, wanted // 3)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def handles(program: Program) -> int:
    """Return how many files *program* has open."""
    return len([*Path(f"/proc/{program.process.pid}/fd").iterdir()])


async def post_honestly(
    ledger: Ledger, program: Program, ending: asyncio.Event, took: list[float]
) -> None:
    """Post at a steady rate, each time on a new connection, as CircleCI does."""

    async def post() -> None:
        async with circleci(program) as sender:
            began = time.perf_counter()
            await ledger.post(sender, ledger.draw())
            took.append(1000 * (time.perf_counter() - began))

    async with asyncio.TaskGroup() as tasks:
        while not ending.is_set():
            tasks.create_task(post())
            with suppress(TimeoutError):
                async with asyncio.timeout(1 / RATE):
                    await ending.wait()


async def post_alone(ledger: Ledger, program: Program) -> float:
    """Return the 99th percentile while nobody is hostile, in the long form; else nothing."""
    ending, took = asyncio.Event(), [0.0]
    if FULL:
        asyncio.get_running_loop().call_later(ALONE, ending.set)
        await post_honestly(ledger, program, ending, took)
    return p99(took)


def p99(values: list[float]) -> float:
    """Return the 99th percentile."""
    return quantiles(values * 2, n=100, method="inclusive")[98]


def enough(attack: Assault, crowd: int) -> bool:
    """Whether all have ended; in the short form, all that wait for no deadline."""
    if FULL:
        often = len(WAYS) - len(COSTLY)
        return len(attack.reports) == crowd + ROUNDS * often + len(COSTLY)
    waiting = {*SLOW, *COSTLY}
    quick = sum(each["way"] not in waiting for each in attack.reports)
    return quick == ROUNDS * (len(WAYS) - len(waiting)) and attack.connected >= crowd


def check(attack: Assault) -> float:
    """Check how each connection ended; return how long the longest took."""
    for way, statuses in attack.statuses().items():
        assert statuses.keys() <= {ANSWERS.get(way), "closed"}, (way, statuses)
    assert not [each for each in attack.reports if not each["closed"]]
    longest = max(each["took"] for each in attack.reports if each["way"] not in COSTLY)
    assert longest < DEADLINE
    return float(longest)


async def test_honest_senders_beside_the_worst(
    tmp_path: Path, receiver: StartReceiver, crowd: int
) -> None:
    """They are answered as if they were alone; each of the others is ended in time."""
    there = await receiver()
    config = write_config(
        tmp_path,
        # One connection, or those kept for the next delivery are among the files left open.
        destinations={"there": {"url": there.url(), "concurrency": 1}},
        routes={"all": {"to": "there"}},
    )
    ledger, ending = Ledger(SEED, {"success": ("there",)}), asyncio.Event()
    took: list[float] = []
    longest, connections = 0.0, 0
    async with running(config) as program:
        async with circleci(program) as sender:
            await ledger.post(sender, ledger.draw())
        await there.wait_for(1)
        before = handles(program)
        alone = await post_alone(ledger, program)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(post_honestly(ledger, program, ending, took))
            for _ in range(WAVES):
                async with assaulted(program.url("listen"), crowd=crowd, rounds=ROUNDS) as attack:
                    await attack.until(partial(enough, attack, crowd))
                longest = max(longest, check(attack))
                connections += attack.connected
            ending.set()
        await until(program, lambda: handles(program) <= before + 3, every=0.05)
        refused = (await series(program))("requests_refused_total")
        peak = peak_memory(program)
        await ledger.arrived({"there": there})
        assert await program.stop() == 0
    print(  # noqa: T201 - shown by -rP
        f"{connections} hostile connections, seed {SEED}: {refused:.0f} refused, the longest ended"
        f" after {longest:.1f} s; {len(took)} honest posts at {RATE:.0f}/s acknowledged, ms: median"
        f" {median(took):.1f}, p99 {p99(took):.1f}, longest {max(took):.1f} (alone: p99"
        f" {alone:.1f}); peak memory {peak // 1024} MiB"
    )
    assert ledger.answers.keys() <= {200, 202}
    ledger.audit({"there": there})
    ledger.audit_store(tmp_path / "relay.db", {"there": there})
    assert not program.logged("request_failed")
    assert not program.logged("connection_failed")
    assert peak < MEMORY
    # Where the disk alone takes longer than that, no more is asked than of destinations.
    assert p99(took) < (max(100, 1.5 * alone) if FULL else 5000)
