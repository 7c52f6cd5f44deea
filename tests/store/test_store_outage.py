"""The store away, and the process killed: what is kept, what is said, how it comes back."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from circleci_relay.clock import ManualClock
from circleci_relay.errors import StoreUnavailable
from circleci_relay.store import Store, sqlite, writer
from support.storing import RecordingLanes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from circleci_relay.model import Claim
    from circleci_relay.store.unit import Unit
    from support.storing import Bench, Open


def _limit(bench: Bench, pages: int) -> None:
    """Let the file grow to so many pages: as if a disk filled up, or had room again."""
    driver = bench.store._opened.connection.driver_connection
    assert driver is not None
    driver.execute(f"PRAGMA max_page_count={pages}").fetchall()


async def _fill(bench: Bench) -> None:
    """Fill the pages that are there already, so that even a small write needs a new one."""
    while True:
        await bench.accept("chat", body=b"x" * 3000)


@pytest.fixture
async def full(bench: Bench) -> AsyncIterator[Bench]:
    """A store whose disk is full."""
    await bench.store._in_thread(_limit, bench, 1)
    with pytest.raises(StoreUnavailable):
        await _fill(bench)
    yield bench
    if bench.store._connection is not None:
        await bench.store._in_thread(_limit, bench, 1_000_000)
        await _until_back(bench)


@pytest.fixture
async def held(bench: Bench) -> Claim:
    """An attempt that is under way when the disk fills up; ask for it before `full`."""
    await bench.accept("chat")
    await bench.accept("chat")
    [claim] = await bench.claim("chat", limit=1)
    return claim


async def _until_back(bench: Bench) -> None:
    while not bench.store.available.is_set():
        bench.clock.advance(1)
        await asyncio.sleep(0)


async def test_a_full_disk_is_said_at_once(full: Bench) -> None:
    """Whoever waits is told, without waiting for a deadline; nothing new is begun."""
    assert not full.store.available.is_set()
    assert len(full.watch.outages) == 1
    for call in (
        full.accept("chat"),
        full.claim("chat"),
        full.store.expedite("chat", limit=1),
        full.store.flush(),
    ):
        with pytest.raises(StoreUnavailable):
            await call
    assert not full.lanes.standing


async def test_an_outcome_in_hand_is_kept_and_settled_first(held: Claim, full: Bench) -> None:
    """The attempt is not made again: its end is written as soon as anything is."""
    full.store.settle(full.settlement(held, excerpt=b"x" * 4096))
    for _ in range(20):
        full.clock.advance(1)
        await asyncio.sleep(0)
    await full.store._in_thread(_limit, full, 1_000_000)
    await _until_back(full)

    assert full.watch.recoveries == 1
    assert [each.claim for each in full.watch.held] == [held]
    assert full.watch.fenced == []
    found = full.rows("SELECT key, attempts FROM deliveries WHERE state = 'delivered'")
    assert found == [{"key": held.delivery, "attempts": 1}]


async def test_it_comes_back_by_itself(full: Bench) -> None:
    """Once there is room, without a restart; what was acknowledged is all there, once."""
    acknowledged = len(full.rows("SELECT * FROM events"))
    await full.store._in_thread(_limit, full, 1_000_000)
    await _until_back(full)
    assert not (await full.accept("chat")).duplicate
    assert len(full.rows("SELECT * FROM events")) == acknowledged + 1
    assert full.rows("SELECT * FROM meta WHERE name = 'probe'") == []


async def test_the_disk_may_be_full_from_the_start(open_bench: Open) -> None:
    """`max_page_count` in the URL, for rehearsals of the same."""
    async with open_bench("?max_page_count=60") as bench:
        with pytest.raises(StoreUnavailable):
            await _fill(bench)
        assert not bench.store.available.is_set()


async def test_closing_while_it_is_away_ends(held: Claim, full: Bench) -> None:
    """What is owed is tried once more, then left to the lapse of its lease."""
    full.store.settle(full.settlement(held, excerpt=b"x" * 4096))
    await full.store.close()
    assert full.watch.held == []


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


async def test_the_integrity_survives_it_all(full: Bench) -> None:
    """SQLite's own check finds nothing after a full disk."""
    await full.store._in_thread(_limit, full, 1_000_000)
    await _until_back(full)
    await full.accept("chat")

    def check(path: Path) -> object:
        with closing(sqlite3.connect(path)) as connection:
            return connection.execute("PRAGMA integrity_check").fetchone()

    assert check(full.path) == ("ok",)


async def test_a_fault_of_our_own_ends_the_process(url: str) -> None:
    """What is wrong with the program is raised, not survived; who waited is told."""
    store = await Store.open(url, clock=ManualClock(), lanes=RecordingLanes())
    running = asyncio.create_task(store.run())

    def wrong(_: Unit) -> None:
        raise ZeroDivisionError

    with pytest.raises(StoreUnavailable):
        await store._do(wrong)
    with pytest.raises(ZeroDivisionError):
        await running
    with pytest.raises(StoreUnavailable):
        await store.flush()
    await store.close()


async def test_a_long_log_is_moved_into_the_database(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under load without a quiet moment the write-ahead log does not grow for ever."""
    monkeypatch.setattr(sqlite, "_WAL_LIMIT", 200_000)
    monkeypatch.setattr(sqlite, "_WAL_STEP", 50_000)
    for _ in range(40):
        await bench.accept("chat", body=b"x" * 50_000)
    wal = bench.path.with_name("relay.db-wal").stat().st_size
    assert wal < 1_000_000 < bench.path.stat().st_size


async def test_what_cannot_be_read_now_is_said(bench: Bench) -> None:
    """A reader that meets trouble says that the store is away, and nothing else breaks."""
    bench.change("DROP TABLE deliveries")
    with pytest.raises(StoreUnavailable):
        await bench.store.backlog()
    assert not (await bench.accept()).duplicate


async def test_a_quiet_moment_is_used_to_move_the_log(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for the copying into the database: it happens when nothing else does."""
    monkeypatch.setattr(writer, "_QUIET", 0.0)
    await bench.accept("chat", body=b"x" * 300_000)
    async with asyncio.timeout(10):
        while bench.path.stat().st_size < 300_000:  # noqa: ASYNC110 - a file tells nobody
            await asyncio.sleep(0)
