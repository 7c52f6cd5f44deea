"""The wall clock stepped by an hour, both ways: nothing lost, nothing repeated, nothing late."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

import pytest

from circleci_relay.model import SECOND
from support.faketime import HOUR, WallClock, why_not
from support.faults import FULL, SEED, scaled
from support.gate import gate
from support.ledger import Ledger, look, until
from support.program import HOOKS, Program, an_event, circleci, running, write_config
from support.receiver import Receiver, answer

if TYPE_CHECKING:
    from pathlib import Path

StartReceiver = Callable[..., Awaitable[Receiver]]

INTERVAL = scaled(1, 5)  #: seconds between an attempt that failed and the next
LATE = 15.0  #: seconds a retry may come late on a busy machine; an hour is what is feared
ROUNDS = scaled(1, 5)
ENDS = ["kill", "stop"] if FULL else ["kill"]

WIDTH = 4
"""How many attempts are under way at the gated destination throughout."""

RECORD = 60
"""Seconds the store's time may start behind where it was: it is on record by the minute."""

ROUTING = {"success": ("healthy", "failing"), "failed": ("healthy", "failing", "gated")}


@dataclass
class Failing:
    """Fails each delivery's first attempts, and notes when each attempt came."""

    times: int = 1
    came: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    receiver: Receiver | None = None

    async def __call__(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the request that came last."""
        assert self.receiver is not None
        came = self.came[self.receiver.requests[-1].headers["webhook-id"]]
        came.append(time.monotonic())
        writer.write(answer(500 if len(came) <= self.times else 200, "connection: close"))
        await writer.drain()

    def gaps(self) -> list[float]:
        """Return the seconds between attempts that followed each other, of all deliveries."""
        return [
            later - earlier
            for came in self.came.values()
            for earlier, later in itertools.pairwise(came)
        ]


@pytest.fixture
def clock(tmp_path: Path) -> Iterator[WallClock]:
    """Return a wall clock for the program; skips where there can be none."""
    made = WallClock(tmp_path)
    if reason := why_not(made):
        pytest.skip(reason)
    yield made
    made.clear()


def configured(folder: Path, interval: float, receivers: dict[str, Receiver]) -> Path:
    """Write a relay.yaml that retries at even intervals."""
    retry = {"initial": f"{interval}s", "factor": 1, "jitter": 0}
    return write_config(
        folder,
        destinations={
            name: {
                "url": there.url(),
                "timeout": "10m" if name == "gated" else "25s",
                "concurrency": WIDTH if name == "gated" else 32,
                "retry": retry,
                "breaker": None,
            }
            for name, there in receivers.items()
        },
        routes={
            "everything": {"to": ["healthy", "failing"]},
            "red": {"match": {"status": "failed"}, "to": "gated"},
        },
    )


def ahead(program: Program) -> float:
    """Return how far *program*'s wall clock was ahead of the machine's when it wrote last."""
    said = datetime.fromisoformat(str(program.lines[-1]["timestamp"]))
    return said.timestamp() - time.time()


async def stepped(program: Program, clock: WallClock, seconds: int) -> None:
    """Step the clock, and see that *program* says so too."""
    clock.step_to(seconds)
    await until(program, lambda: abs(ahead(program) - seconds) < HOUR / 2, every=0.05)


async def test_the_clock_steps_under_load(
    tmp_path: Path, clock: WallClock, receiver: StartReceiver
) -> None:
    """Retries keep their intervals and leases hold, whatever the wall clock says meanwhile."""
    opened, waiting = gate()
    failing = Failing()
    receivers = {
        "healthy": await receiver(),
        "failing": await receiver(failing),
        "gated": await receiver(*[waiting] * WIDTH, answer(200)),
    }
    failing.receiver = receivers["failing"]
    ledger = Ledger(SEED, ROUTING)
    config = configured(tmp_path, INTERVAL, receivers)
    async with running(config, env=clock.env) as program:
        async with ledger.load(program, width=2):
            await receivers["gated"].wait_for(WIDTH)
            for seconds in [HOUR, -HOUR, 0] * ROUNDS:
                await stepped(program, clock, seconds)
                # Past the time of what was to be retried when the clock was stepped.
                retried = sum(len(came) > 1 for came in failing.came.values())
                await ledger.more(40, 202)
                await until(
                    program,
                    lambda seen=retried: (  # type: ignore[misc]
                        sum(len(came) > 1 for came in failing.came.values()) > seen
                    ),
                    every=0.05,
                )
        opened.set()
        await ledger.arrived(receivers)
        await ledger.emptied(program, tmp_path / "relay.db")
        assert await program.stop() == 0
    repeats = ledger.audit(receivers)
    ledger.audit_store(tmp_path / "relay.db", receivers)
    gaps = failing.gaps()
    print(  # noqa: T201 - shown by -rP
        f"{3 * ROUNDS} steps under load, seed {SEED}: {len(ledger.sent)} events, answers"
        f" {dict(ledger.answers)}, repeats {dict(repeats)}, {len(gaps)} retries after"
        f" {min(gaps):.2f} to {max(gaps):.2f} s of {INTERVAL} s"
    )
    assert set(ledger.answers) <= {200, 202}
    assert set(repeats.elements()) == {"failing"}, "a step made something be sent again"
    assert repeats["failing"] == len(failing.came), "one retry each, and no more"
    assert min(gaps) > INTERVAL * 0.95, "a step brought a retry forward"
    assert max(gaps) < INTERVAL + LATE, "a step held a retry back"


async def times(program: Program, database: Path, number: int) -> tuple[int, int]:
    """Return the store's time, by an event accepted now, and when the last retry is due."""
    async with circleci(program, HOOKS) as sender:
        status, said = await sender.post(an_event(number))
    assert status == 202
    events = look(database, "SELECT public_id, received_at FROM events")
    [now] = [received for public_id, received in events if public_id == said["event"]]
    pending = (
        "SELECT due_at, created_at FROM deliveries"
        " WHERE state = 'pending' AND destination = 'failing'"
    )
    due = max(due for due, created in look(database, pending) if created < now)
    return now, due


@pytest.mark.parametrize("end", ENDS)
async def test_the_clock_steps_between_two_runs(
    tmp_path: Path, clock: WallClock, receiver: StartReceiver, end: str
) -> None:
    """On by an hour while it is down, then back: each due retry is made once, none waits long."""
    interval, events = 20, 5
    _, waiting = gate()
    failing = Failing(times=2)
    receivers = {
        "healthy": await receiver(),
        "failing": await receiver(failing),
        "gated": await receiver(*[waiting] * 2 * WIDTH, answer(200)),
    }
    failing.receiver, database = receivers["failing"], tmp_path / "relay.db"
    config = configured(tmp_path, interval, receivers)
    async with running(config, env=clock.env) as program, circleci(program) as sender:
        for number in range(events):
            status, _ = await sender.post(
                an_event(number, workflow={"id": "f", "name": "build", "status": "failed"})
            )
            assert status == 202
        await receivers["healthy"].wait_for(events)
        await program.log("attempt", events, destination="failing", then="retry")
        await receivers["gated"].wait_for(WIDTH)
        assert await over(program, database, end)

    clock.step_to(HOUR)
    async with running(config, env=clock.env) as program:
        # An hour has passed, as far as anyone can tell: what was to be retried is due.
        await program.log("attempt", events, destination="failing", then="retry")
        await receivers["gated"].wait_for(2 * WIDTH)
        assert ahead(program) > HOUR / 2
        assert await over(program, database, end)
    assert [len(came) for came in failing.came.values()] == [2] * events, "a burst"

    clock.step_to(0)
    async with running(config, env=clock.env) as program:
        now, due = await times(program, database, events)
        assert abs(ahead(program)) < HOUR / 2
        wait = (due - now) / SECOND
        print(  # noqa: T201 - shown by -rP
            f"an hour on and back, each after a {end}: the last retry then {wait:.0f} s ahead"
            f" of {interval} s"
        )
        assert wait <= interval + RECORD, "a retry would be made an hour late"
        await receivers["healthy"].wait_for(events + 1)
        if FULL:  # up to a minute each
            await came_again(receivers["gated"], 3 * WIDTH, within=RECORD + LATE)
            await came_again(failing.receiver, 3 * events + 1, within=interval + RECORD + LATE)
        assert await over(program, database, end)
    made = [len(came) for came in failing.came.values()][:events]
    assert made == [3 if FULL else 2] * events, "each retry is made once"
    ids = [request.headers["webhook-id"] for request in receivers["healthy"].requests]
    assert len(ids) == len(set(ids)) == events + 1, "a step made something be sent again"


async def came_again(there: Receiver, count: int, *, within: float) -> None:
    """Wait for *count* requests, longer than a receiver itself has the patience to."""
    async with asyncio.timeout(within), there.arrived:
        await there.arrived.wait_for(lambda: len(there.requests) >= count)


async def over(program: Program, database: Path, end: str) -> bool:
    """End *program* once only what is gated is under way; whether it ended as it should."""
    under_way = (
        "SELECT 1 FROM deliveries"
        " WHERE state = 'pending' AND token IS NOT NULL AND destination != 'gated' LIMIT 1"
    )
    await until(program, lambda: not look(database, under_way), every=0.02)
    if end == "kill":
        await program.kill()
        return True
    return await program.stop() == 0
