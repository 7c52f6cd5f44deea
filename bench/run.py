"""One run: a relay, a receiver and a load; what came of it in figures, and what was wrong."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench import ledger, processes, subjects
from bench.receiving import receiving

if TYPE_CHECKING:
    from array import array
    from collections.abc import Sequence
    from pathlib import Path

    from bench.databases import Database
    from bench.subjects import Replica, Subject

LINGER = 0.2  #: seconds after the last expected arrival in which a double would show
ACCEPTED = range(200, 300)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is done to a relay."""

    fan_out: int
    events: int
    connections: int = 64
    rate: float = 0.0  #: events a second; 0: as fast as they are answered
    first: int = 0  #: the first event's number
    paused: bool = False  #: whether nothing is to be delivered


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
    peak: float  #: MiB resident at the highest, of all replicas
    cpu: float  #: microseconds of the relay's processor time per event
    database_cpu: float  #: and of the database server's
    faults: tuple[str, ...]  #: lost, doubled, refused; empty where all was well


@dataclass(frozen=True, slots=True)
class Observed:
    """The raw columns of one run; *events* are counted from the plan's first."""

    sent: array[int]
    answered: array[int]
    statuses: array[int]
    destinations: array[int]
    events: list[int]
    at: array[int]


async def measure(
    subject: Subject,
    plan: Plan,
    *,
    database: Database | None,
    place: Path,
    wrap: tuple[str, ...] = (),
) -> Figures:
    """Run *plan* against *subject* on its *database*, other files in *place*."""
    wanted = 0 if plan.paused else plan.fan_out
    before = count_events(database) if plan.first else 0
    url = database.url if database else ""
    async with receiving(place) as receiver:
        async with subjects.start(
            subject,
            url=url,
            place=place,
            fan_out=plan.fan_out,
            receiver=receiver.port,
            paused=plan.paused,
            wrap=wrap,
        ) as replicas:
            began = _usage(replicas, database)
            sent, answered, statuses = await _load(plan, replicas, place=place)
            accepted = sum(status in ACCEPTED for status in statuses)
            if await receiver.reached(accepted * wanted):
                await asyncio.sleep(LINGER)
            used = _usage(replicas, database)
            faults = [fault for one in replicas if (fault := await _end(one))]
        destinations, events, at = await receiver.arrivals()
    numbers = [number - plan.first for number in events]
    observed = Observed(sent, answered, statuses, destinations, numbers, at)
    faults.extend(check(observed, wanted))
    if database and (stored := count_events(database) - before) < accepted:
        faults.append(f"{accepted} acknowledged, {stored} stored")
    return summarise(
        observed,
        subject=subject.name,
        plan=plan,
        used=(used[0] - began[0], used[1] - began[1], used[2]),
        faults=tuple(faults),
    )


def count_events(database: Database | None) -> int:
    """How many events the *database* holds."""
    return int(database.rows("SELECT count(*) FROM events")[0][0]) if database else 0


def _usage(replicas: Sequence[Replica], database: Database | None) -> tuple[float, float, int]:
    """Seconds of processor time so far, the database server's, and peak bytes of memory."""
    cpu, peak = 0.0, 0
    for one in replicas:
        try:
            used = processes.usage(one.process)
        except processes.BenchError as error:
            raise processes.BenchError(f"{error}\n{processes.tail(one.log)}") from None
        cpu += used.cpu
        peak += used.peak
    return cpu, database.cpu() if database else 0.0, peak


async def _end(replica: Replica) -> str:
    status = await processes.end(replica.process)
    return f"ended with status {status}:\n{processes.tail(replica.log)}" if status else ""


async def _load(plan: Plan, replicas: Sequence[Replica], *, place: Path) -> list[array[int]]:
    log = place / "load.log"
    arguments = (
        "--port",
        *(str(one.port) for one in replicas),
        f"--count={plan.events}",
        f"--first={plan.first}",
        f"--connections={plan.connections}",
        f"--rate={plan.rate}",
    )
    async with processes.python("-m", "bench.load", *arguments, log=log) as load:
        raw, _ = await load.communicate()
        if load.returncode:
            raise processes.BenchError(f"the load generator failed\n{processes.tail(log)}")
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
    if strangers := sum(not 0 <= number < len(observed.sent) for number, _ in copies):
        faults.append(f"{strangers} copies of events that were not sent")
    return faults


def summarise(
    observed: Observed,
    *,
    subject: str,
    plan: Plan,
    used: tuple[float, float, int],
    faults: tuple[str, ...],
) -> Figures:
    """The figures of one run that *used* so much processor time, its database's, and memory."""
    numbers = [n for n, status in enumerate(observed.statuses) if status in ACCEPTED]
    acks = sorted(observed.answered[n] - observed.sent[n] for n in numbers)
    arrivals = sorted(
        at - observed.sent[n]
        for n, at in zip(observed.events, observed.at, strict=True)
        if 0 <= n < len(observed.sent)
    )
    first = min(observed.sent)
    acked = max((observed.answered[n] for n in numbers), default=first) - first
    arrived = max(observed.at, default=first) - first
    cpu, database_cpu, peak = used
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
        database_cpu=database_cpu / max(len(acks), 1) * 1e6,
        faults=faults,
    )


def percentile(ordered: Sequence[int], share: float) -> float:
    """The value below which *share* of *ordered* nanoseconds lie, in milliseconds."""
    if not ordered:
        return math.nan
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] / 1e6
