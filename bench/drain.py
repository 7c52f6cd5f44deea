"""One start on a backlog: how soon the relay is ready, how fast and in what memory it sends."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench import processes, subjects
from bench.receiving import receiving

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bench.databases import Database
    from bench.subjects import Subject

WARM = 100
"""Arrivals not counted in a rate: connections are made meanwhile, code is warmed up."""

EARLY = 1_000
"""As many as the smallest backlog holds, so that like is compared with like."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained:
    """What one start was like."""

    pending: int  #: deliveries that waited at its beginning
    taken: int  #: how many of them were waited for
    ready: float  #: seconds from the start of the process until it said that it is ready
    start_cpu: float  #: seconds of the relay's processor time until then
    early: float  #: deliveries a second, from the `WARM`th to the `EARLY`th
    rate: float  #: and to the last that was waited for
    cpu: float  #: microseconds of the relay's processor time per delivery, after its start
    database_cpu: float  #: and of the database server's
    peak: float  #: MiB resident at the highest
    faults: tuple[str, ...]


async def drain(
    subject: Subject, *, database: Database, fan_out: int, take: int, place: Path
) -> Drained:
    """Start *subject* on the *database*, end it once it has delivered *take* of what waits."""
    pending = waiting(database)
    take = min(take, pending)
    faults = []
    async with receiving(place) as receiver:
        spent = database.cpu()
        async with subjects.start(
            subject, url=database.url, place=place, fan_out=fan_out, receiver=receiver.port
        ) as [relay]:
            began = processes.usage(relay.process)
            if not await receiver.reached(take):
                faults.append(f"of {take} waiting deliveries {await receiver.count()} arrived")
            used = processes.usage(relay.process)
            spent = database.cpu() - spent
            if status := await processes.end(relay.process):
                faults.append(f"ended with status {status}:\n{processes.tail(relay.log)}")
        destinations, events, at = await receiver.arrivals()
    copies = Counter(zip(events, destinations, strict=True))
    if doubled := len(events) - len(copies):
        faults.append(f"{doubled} copies arrived again")
    if (left := waiting(database)) != pending - len(copies):
        faults.append(f"{pending} waited, {len(copies)} arrived, {left} wait still")
    instants = sorted(at)[:take]
    return Drained(
        pending=pending,
        taken=take,
        ready=relay.ready,
        early=_rate(instants[:EARLY]),
        rate=_rate(instants),
        start_cpu=began.cpu,
        cpu=(used.cpu - began.cpu) / max(len(events), 1) * 1e6,
        database_cpu=spent / max(len(events), 1) * 1e6,
        peak=used.peak / 2**20,
        faults=tuple(faults),
    )


def _rate(instants: Sequence[int]) -> float:
    if len(instants) < WARM + 2:
        return 0.0
    return (len(instants) - WARM - 1) / (instants[-1] - instants[WARM]) * 1e9


def waiting(database: Database) -> int:
    """How many deliveries are pending."""
    return int(database.rows("SELECT count(*) FROM deliveries WHERE state = 'pending'")[0][0])
