"""Jobs among everything else: crashes, other replicas, attempts, operators, ageing out."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import psycopg

from circleci_relay.clock import ManualClock
from circleci_relay.errors import NotFound, StoreUnavailable, Unanswerable
from circleci_relay.model import SECOND
from circleci_relay.store import Store
from circleci_relay.store.repair import cancel, jobs, replay
from circleci_relay.store.repair.selection import Selection
from support.repairing import AGAIN, DEAD, WHO, do, kill, start, step, to_the_end
from support.storing import (
    DELIVERED,
    HOUR,
    SQLITE,
    Bench,
    RecordingLanes,
    RecordingWatch,
    opened,
)

if TYPE_CHECKING:
    import pytest

    from circleci_relay.model import Claim

TO = ("chat", "pager")

SEED, ROUNDS = 7, 1
"""What is drawn; sixty seeds of three rounds each held when this was written."""


@dataclass
class Crowd:
    """One process that may crash, or two: whatever its kind of database allows."""

    url: str
    chance: random.Random
    clock: ManualClock = field(default_factory=ManualClock)
    benches: list[Bench] = field(default_factory=list)
    running: list[asyncio.Task[None]] = field(default_factory=list)
    hands: list[Claim] = field(default_factory=list)

    async def open(self) -> None:
        """Begin one more."""
        lanes, watch = RecordingLanes(), RecordingWatch()
        store = await Store.open(self.url, clock=self.clock, lanes=lanes, watch=watch)
        self.running.append(asyncio.create_task(store.run()))
        self.benches.append(Bench(store, self.url, self.clock, lanes, watch))
        await store.reconcile(TO)

    async def close(self) -> None:
        """End all in good order."""
        for bench in self.benches:
            await bench.store.close()
        await asyncio.gather(*self.running)

    @property
    def one(self) -> Bench:
        """Any of them."""
        return self.chance.choice(self.benches)

    # What may happen

    async def step(self) -> None:
        """A step of the job; or one at each at once."""
        await asyncio.gather(*(step(bench.store) for bench in self.benches))

    async def crash(self) -> None:
        """End one in the middle of a step, and begin another."""
        bench = self.one
        stepping = asyncio.create_task(step(bench.store))
        for _ in range(self.chance.randrange(6)):
            await asyncio.sleep(0)
        running = self.running[self.benches.index(bench)]
        running.cancel()
        await asyncio.wait([running])
        await bench.store.close()
        self.benches.remove(bench)
        self.running.remove(running)
        with suppress(StoreUnavailable):
            await stepping
        await self.open()

    async def claim(self) -> None:
        """Take some in hand."""
        self.hands += await self.one.claim(self.chance.choice(TO), limit=3)

    async def settle(self) -> None:
        """End an attempt, perhaps one that somebody cancelled meanwhile."""
        if self.hands:
            claim = self.hands.pop(self.chance.randrange(len(self.hands)))
            decision = self.chance.choice((DELIVERED, DELIVERED, DEAD, AGAIN))
            bench = self.one
            bench.store.settle(bench.settlement(claim, decision))
            await bench.store.flush()

    async def release(self) -> None:
        """Give one back unattempted."""
        if self.hands:
            self.one.store.release([self.hands.pop()])

    async def cancel(self) -> None:
        """An operator ends something."""
        found = self.one.rows("SELECT key FROM deliveries WHERE state = 'pending'")
        if found:
            key = self.chance.choice(found)["key"]
            await self._try(partial(cancel.cancel_delivery, key=key, who=WHO))

    async def replay(self) -> None:
        """An operator sends something again, perhaps what the job is about to."""
        key = self.chance.choice(self.one.rows("SELECT key FROM deliveries"))["key"]
        await self._try(
            partial(replay.replay_delivery, key=key, new_id=False, again=False, who=WHO)
        )

    async def _try(self, what: Any) -> None:
        with suppress(Unanswerable):
            await do(self.one.store, what)

    async def wait(self) -> None:
        """Let time pass: leases lapse."""
        self.clock.advance(self.chance.choice((0.001, 1, 50)))

    # One round

    async def deaths(self) -> None:
        """Let some more die."""
        for _ in range(4):
            await self.one.accept(*TO)
        self.clock.advance(1)
        for name in TO:
            await kill(self.one, await self.one.claim(name, limit=100))

    def dead(self) -> dict[int, dict[str, Any]]:
        """What counts as dead, by key."""
        sql = "SELECT * FROM deliveries WHERE state = 'dead' AND replayed_by IS NULL"
        return {row["key"]: row for row in self.one.rows(sql)}

    async def round(self, actions: list[Any]) -> None:
        """A job over all that is dead, with *actions* going on meanwhile."""
        await self.deaths()
        selected = self.dead()
        name = await start(self.one.store)
        self.clock.advance(1)
        for action in self.chance.choices(actions, k=25):
            await action()
        stopped = self.chance.random() < 0.4
        if stopped:
            await self._try(partial(jobs.cancel_job, job=name, who=WHO))
        while self.one.rows("SELECT 1 FROM jobs WHERE finished_at IS NULL"):
            await self.step()
            self.clock.advance(1)  # a lane that has some in hand loses them in the end
        self.check(name, selected)

    def check(self, job: str, selected: dict[int, dict[str, Any]]) -> None:
        """Each is replayed once or given back, and nothing else is made or lost."""
        rows = {row["key"]: row for row in self.one.rows("SELECT * FROM deliveries")}
        record = self.one.row(f"SELECT * FROM jobs WHERE id = '{job}'")  # noqa: S608
        made = [row for row in rows.values() if row["job"] == job]
        assert record["finished_at"] is not None
        assert record["state"] in {"done", "cancelled"}
        assert record["made"] == len(made)
        pairs = [(row["event"], row["destination"]) for row in made]
        assert len(pairs) == len(set(pairs)), "twice"
        # Or given back by whoever cancelled the replay of it meanwhile.
        died = [rows[row["replay_of"]]["settled_at"] for row in made]
        assert all(at <= record["created_at"] for at in died)
        answered = {(row["event"], row["destination"]) for row in rows.values() if row["replay_of"]}
        for row in selected.values():
            if record["state"] == "done":
                assert (row["event"], row["destination"]) in answered
        for row in rows.values():
            heir = rows.get(row["replayed_by"])
            if row["replayed_by"] is not None:
                assert row["state"] == "dead"
                assert heir is not None, "what stands for it is gone"
                assert heir["state"] != "cancelled", "it was not given back"
                assert (heir["event"], heir["destination"]) == (row["event"], row["destination"])
            if row["state"] == "dead" and row["replayed_by"] is None:
                later = [
                    each
                    for each in rows.values()
                    if each["replay_of"] == row["key"] and each["state"] != "cancelled"
                ]
                assert not later, "it was replayed and still counts"


async def test_each_is_replayed_once_or_given_back(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever goes on beside it, and wherever it is cut off."""
    monkeypatch.setattr("circleci_relay.store.repair.jobs.STEP", 2)
    crowd = Crowd(url, random.Random(SEED))  # noqa: S311 - to be drawn again
    for _ in range(1 if url.startswith(SQLITE) else 2):
        await crowd.open()
    actions = [
        crowd.step,
        crowd.step,
        crowd.crash,
        crowd.claim,
        crowd.settle,
        crowd.settle,
        crowd.release,
        crowd.cancel,
        crowd.replay,
        crowd.wait,
    ]
    for _ in range(ROUNDS):
        await crowd.round(actions)
    await crowd.close()


async def test_two_replicas_step_one_job(postgresql_url: str) -> None:
    """As fast as they can, at once: each is made once, and nobody waits in a circle."""
    clock = ManualClock()
    async with (
        opened(postgresql_url, clock=clock) as one,
        opened(postgresql_url, clock=clock) as two,
    ):
        for bench in (one, two):
            await bench.store.reconcile(TO)
        await asyncio.gather(*(one.accept("chat") for _ in range(190)))
        await kill(one, await one.claim("chat", limit=190))
        name = await start(one.store, Selection(state="dead"))
        done = await asyncio.gather(to_the_end(one.store), to_the_end(two.store))
        assert sum(map(len, done)) >= 3
        sql = "SELECT count(*) AS n, count(DISTINCT event) AS m FROM deliveries WHERE job"
        assert one.row(f"{sql} = '{name}'") == {"n": 190, "m": 190}
        assert one.row(f"SELECT made, state FROM jobs WHERE id = '{name}'") == {  # noqa: S608
            "made": 190,
            "state": "done",
        }


async def test_ageing_out_and_a_replay_at_once(postgresql_url: str) -> None:
    """Whoever comes first: the replay finds its event gone, or ageing out leaves it alone."""
    clock = ManualClock()
    async with (
        opened(postgresql_url, clock=clock) as one,
        opened(postgresql_url, clock=clock) as two,
    ):
        for bench in (one, two):
            await bench.store.reconcile(TO)
        won = 0
        for turn in range(6):
            await one.accept("chat")
            [claim] = await one.claim("chat")
            await kill(one, [claim])
            clock.advance(2 * HOUR / SECOND)
            made, _ = await asyncio.gather(
                _delayed(turn % 4, partial(_replayed, two, claim.delivery)),
                one.store.age_out(keep=HOUR, cursor=None, limit=10),
            )
            won += made
            events = one.rows("SELECT key FROM events")
            deliveries = one.rows("SELECT event, state FROM deliveries ORDER BY key")
            assert len(events) == made
            assert [row["event"] for row in deliveries] == [row["key"] for row in events] * 2
            for left in await two.claim("chat"):
                await two.settle(left)
            clock.advance(2 * HOUR / SECOND)
            await one.store.age_out(keep=HOUR, cursor=None, limit=10)
            assert one.rows("SELECT 1 FROM events") == []
        assert won < 6  # else nothing was at once


async def _delayed(turns: int, what: Any) -> Any:
    for _ in range(turns):
        await asyncio.sleep(0)
    return await what()


async def _replayed(bench: Bench, key: int) -> bool:
    try:
        await do(
            bench.store,
            partial(replay.replay_delivery, key=key, new_id=False, again=False, who=WHO),
        )
    except NotFound:
        return False
    return True


async def test_ageing_out_passes_by_what_is_being_replayed(postgresql_url: str) -> None:
    """An event that another holds: it does not wait, and takes the rest."""
    async with opened(postgresql_url) as bench:
        await bench.store.reconcile(TO)
        for _ in range(2):
            await bench.accept("chat")
        await kill(bench, await bench.claim("chat"))
        bench.clock.advance(2 * HOUR / SECOND)
        with psycopg.connect(postgresql_url) as other:
            held = other.execute("SELECT key FROM events ORDER BY key LIMIT 1 FOR UPDATE")
            [(key,)] = held.fetchall()
            aged = await bench.store.age_out(keep=HOUR, cursor=None, limit=10)
            assert aged.pruned == 1
        assert bench.row("SELECT key FROM events") == {"key": key}
