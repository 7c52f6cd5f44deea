"""One run: a relay, a receiver and a load; what came of it in figures, and what was wrong."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench import ledger, processes, subjects

if TYPE_CHECKING:
    from array import array
    from collections.abc import Sequence
    from pathlib import Path

QUIET = 10.0  #: seconds without an arrival after which the rest counts as lost
LINGER = 0.2  #: seconds after the last expected arrival in which a double would show
ACCEPTED = range(200, 300)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is done to a relay."""

    fan_out: int
    events: int
    connections: int
    rate: float = 0.0  #: events a second; 0: as fast as they are answered


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """One run's figures; latencies in milliseconds, NaN where nothing is delivered."""

    subject: str
    plan: Plan
    events_s: float  #: acknowledged, from the first sent to the last answered
    deliveries_s: float  #: arrived, from the first sent to the last arrival
    ack_p50: float
    ack_p99: float
    delivery_p50: float  #: from sending to arrival
    delivery_p99: float
    peak: float  #: MiB resident at the highest
    cpu: float  #: microseconds of processor time per event
    faults: tuple[str, ...]  #: lost, doubled, refused; empty where all was well


@dataclass(frozen=True, slots=True)
class Observed:
    """The raw columns of one run."""

    sent: array[int]
    answered: array[int]
    statuses: array[int]
    destinations: array[int]
    events: array[int]
    at: array[int]


async def measure(subject: str, plan: Plan, *, place: Path, wrap: tuple[str, ...] = ()) -> Figures:
    """Run *plan* against *subject*, its files in *place*."""
    async with AsyncExitStack() as stack:
        log = place / "receiver.log"
        receiver = await stack.enter_async_context(
            processes.python("-m", "bench.receiver", log=log)
        )
        answer = await asyncio.wait_for(_ask(receiver), processes.START)
        relay = await stack.enter_async_context(
            subjects.start(
                subject, place=place, fan_out=plan.fan_out, receiver=int(answer), wrap=wrap
            )
        )
        before = processes.usage(relay.process)
        sent, answered, statuses = await _load(plan, port=relay.port, place=place)
        accepted = sum(status in ACCEPTED for status in statuses)
        await _drained(receiver, accepted * plan.fan_out)
        try:
            after = processes.usage(relay.process)
        except processes.BenchError as error:
            raise processes.BenchError(f"{error}\n{processes.tail(relay.log)}") from None
        status = await processes.end(relay.process)
        arrivals = await _ledger(receiver)
    observed = Observed(sent, answered, statuses, *arrivals)
    faults = list(check(observed, plan.fan_out))
    if status:
        faults.append(f"ended with status {status}:\n{processes.tail(relay.log)}")
    if subject == subjects.RELAY and (stored := subjects.stored(place)) < accepted:
        faults.append(f"{accepted} acknowledged, {stored} stored")
    return summarise(
        observed,
        subject=subject,
        plan=plan,
        peak=after.peak,
        cpu=after.cpu - before.cpu,
        faults=tuple(faults),
    )


async def _load(plan: Plan, *, port: int, place: Path) -> list[array[int]]:
    log = place / "load.log"
    arguments = (
        f"--port={port}",
        f"--count={plan.events}",
        f"--connections={plan.connections}",
        f"--rate={plan.rate}",
    )
    async with processes.python("-m", "bench.load", *arguments, log=log) as load:
        raw, _ = await load.communicate()
        if load.returncode:
            raise processes.BenchError(f"the load generator failed\n{processes.tail(log)}")
    return ledger.restore(raw)


async def _ask(receiver: asyncio.subprocess.Process, question: bytes = b"") -> bytes:
    assert receiver.stdin is not None
    assert receiver.stdout is not None
    receiver.stdin.write(question)
    return await receiver.stdout.readline()


async def _drained(receiver: asyncio.subprocess.Process, wanted: int) -> None:
    """Return once *wanted* copies have arrived, or none has for `QUIET`."""
    loop = asyncio.get_running_loop()
    seen, since = -1, loop.time()
    while loop.time() - since < QUIET:
        count = int(await _ask(receiver, b"count\n"))
        if count != seen:
            seen, since = count, loop.time()
        if count >= wanted:
            await asyncio.sleep(LINGER)
            return
        await asyncio.sleep(0.05)


async def _ledger(receiver: asyncio.subprocess.Process) -> list[array[int]]:
    raw, _ = await receiver.communicate(b"dump\n")
    return ledger.restore(raw)


def check(observed: Observed, fan_out: int) -> list[str]:
    """What should not have been: refused, lost, or doubled."""
    faults = []
    refused = Counter(status for status in observed.statuses if status not in ACCEPTED)
    for status, count in sorted(refused.items()):
        faults.append(f"{count} answered {status}" if status else f"{count} without an answer")
    copies = Counter(zip(observed.events, observed.destinations, strict=True))
    lost = sum(
        (number, destination) not in copies
        for number, status in enumerate(observed.statuses)
        if status in ACCEPTED
        for destination in range(fan_out)
    )
    if lost:
        faults.append(f"{lost} acknowledged copies never arrived")
    if doubled := sum(count - 1 for count in copies.values()):
        faults.append(f"{doubled} copies arrived again")
    return faults


def summarise(
    observed: Observed,
    *,
    subject: str,
    plan: Plan,
    peak: int,
    cpu: float,
    faults: tuple[str, ...],
) -> Figures:
    """The figures of one run."""
    numbers = [n for n, status in enumerate(observed.statuses) if status in ACCEPTED]
    acks = sorted(observed.answered[n] - observed.sent[n] for n in numbers)
    arrivals = sorted(
        at - observed.sent[n] for n, at in zip(observed.events, observed.at, strict=True)
    )
    first = min(observed.sent)
    acked = max((observed.answered[n] for n in numbers), default=first) - first
    arrived = max(observed.at, default=first) - first
    return Figures(
        subject=subject,
        plan=plan,
        events_s=len(acks) / acked * 1e9 if acked else 0.0,
        deliveries_s=len(arrivals) / arrived * 1e9 if arrived else math.nan,
        ack_p50=percentile(acks, 0.50),
        ack_p99=percentile(acks, 0.99),
        delivery_p50=percentile(arrivals, 0.50),
        delivery_p99=percentile(arrivals, 0.99),
        peak=peak / 2**20,
        cpu=cpu / max(len(acks), 1) * 1e6,
        faults=faults,
    )


def percentile(ordered: Sequence[int], share: float) -> float:
    """The value below which *share* of *ordered* nanoseconds lie, in milliseconds."""
    if not ordered:
        return math.nan
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] / 1e6
