"""The store away, and the process killed: what is kept, what is said, how it comes back."""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from circleci_relay.clock import ManualClock
from circleci_relay.errors import StoreUnavailable
from circleci_relay.store import Store
from support.storing import RecordingLanes, until_back

if TYPE_CHECKING:
    from circleci_relay.model import Claim
    from circleci_relay.store.unit import Unit
    from support.away import Trouble
    from support.storing import Bench, Open


@pytest.fixture
async def held(bench: Bench) -> Claim:
    """An attempt that is under way when the trouble begins; ask for it before `away`."""
    await bench.accept("chat")
    await bench.accept("chat")
    [claim] = await bench.claim("chat", limit=1)
    return claim


async def test_that_nothing_can_be_written_is_said_at_once(away: Bench) -> None:
    """Whoever waits is told, without waiting for a deadline; nothing new is begun."""
    assert not away.store.available.is_set()
    assert len(away.watch.outages) == 1
    for call in (
        away.accept("chat"),
        away.claim("chat"),
        away.store.expedite("chat", limit=1),
        away.store.flush(),
    ):
        with pytest.raises(StoreUnavailable):
            await call
    assert not away.lanes.standing


async def test_an_outcome_in_hand_is_kept_and_settled_first(
    held: Claim, away: Bench, trouble: Trouble
) -> None:
    """The attempt is not made again: its end is written as soon as anything is."""
    away.store.settle(away.settlement(held, excerpt=b"x" * 4096))
    for _ in range(20):
        away.clock.advance(1)
        await asyncio.sleep(0)
    await trouble.end(away)
    await until_back(away)

    assert away.watch.recoveries == 1
    assert [each.claim for each in away.watch.held] == [held]
    assert away.watch.fenced == []
    found = away.rows("SELECT key, attempts FROM deliveries WHERE state = 'delivered'")
    assert found == [{"key": held.delivery, "attempts": 1}]


async def test_it_comes_back_by_itself(away: Bench, trouble: Trouble) -> None:
    """Without a restart, once writing is possible; what was acknowledged is there, once."""
    acknowledged = len(away.rows("SELECT * FROM events"))
    await trouble.end(away)
    await until_back(away)
    assert not (await away.accept("chat")).duplicate
    assert len(away.rows("SELECT * FROM events")) == acknowledged + 1
    assert away.rows("SELECT * FROM meta WHERE name = 'probe'") == []


async def test_closing_while_it_is_away_ends(held: Claim, away: Bench) -> None:
    """What is owed is tried once more, then left to the lapse of its lease."""
    away.store.settle(away.settlement(held, excerpt=b"x" * 4096))
    await away.store.close()
    assert away.watch.held == []


_CHILD = """
import asyncio, sys
from support.storing import opened

async def main():
    async with opened(sys.argv[1]) as bench:
        async def one(number):
            for n in range(10_000):
                answer = await bench.accept("chat", "other", id=f"{number}-{n}", body=b"x" * 1600)
                sys.stdout.write(answer.event + "\\n")
                sys.stdout.flush()
        async with asyncio.TaskGroup() as group:
            for number in range(20):
                group.create_task(one(number))

asyncio.run(main())
"""


async def test_killed_in_the_middle_everything_acknowledged_is_there(
    open_bench: Open, url: str, pytestconfig: pytest.Config
) -> None:
    """`kill -9` under load, then a new process: each acknowledged event and its deliveries."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        _CHILD,
        url,
        stdout=asyncio.subprocess.PIPE,
        env={"PYTHONPATH": str(pytestconfig.rootpath / "tests")},
    )
    assert process.stdout is not None
    acknowledged = [
        (await asyncio.wait_for(process.stdout.readline(), 30)).decode().strip() for _ in range(500)
    ]
    process.send_signal(signal.SIGKILL)
    rest = (await process.stdout.read()).decode().split("\n")
    assert await process.wait() == -signal.SIGKILL
    acknowledged += rest[:-1]  # the last line may be half a line

    async with open_bench() as bench:
        stored = {row["public_id"]: row["key"] for row in bench.rows("SELECT * FROM events")}
        assert set(acknowledged) <= stored.keys()
        assert len(acknowledged) >= 500
        owed = bench.row("SELECT count(*) AS n, count(DISTINCT event) AS e FROM deliveries")
        assert owed == {"n": 2 * len(stored), "e": len(stored)}
        assert len(bench.rows("SELECT event FROM bodies")) == len(stored)


async def test_a_fault_of_our_own_ends_the_process(url: str) -> None:
    """What is wrong with the program is raised, not survived; who waited is told."""
    store = await Store.open(url, clock=ManualClock(), lanes=RecordingLanes())
    running = asyncio.create_task(store.run())

    def wrong(_: Unit) -> None:
        raise ZeroDivisionError

    with pytest.raises(StoreUnavailable):
        await store.do(wrong)
    with pytest.raises(ZeroDivisionError):
        await running
    with pytest.raises(StoreUnavailable):
        await store.flush()
    await store.close()


async def test_what_cannot_be_read_now_is_said(bench: Bench) -> None:
    """A reader that meets trouble says that the store is away, and nothing else breaks."""
    bench.change("DROP TABLE deliveries")
    with pytest.raises(StoreUnavailable):
        await bench.store.backlog()
    assert not (await bench.accept()).duplicate
