"""SQLite's own: its file, who may have it, and what a new process takes over."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import sqlite3
import stat
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from circleci_relay.clock import ManualClock
from circleci_relay.model import SECOND, Decision, State
from circleci_relay.store import Store
from support.storing import HOUR, LEASE, SQLITE, RecordingLanes, opened, refusal

if TYPE_CHECKING:
    from pathlib import Path

    from support.storing import Bench, Open


@pytest.fixture
def url(sqlite_url: str) -> str:
    """Of this kind alone."""
    return sqlite_url


async def test_a_newer_schema_changes_no_byte(open_bench: Open) -> None:
    """A file that must not be used is not even opened for writing."""
    async with open_bench() as bench:
        await bench.accept("chat")
    bench.change("UPDATE meta SET value = '99' WHERE name = 'min_compatible'")
    before = hashlib.sha256(bench.path.read_bytes()).digest()
    assert "newer version (schema 99" in await refusal(bench.url)
    assert hashlib.sha256(bench.path.read_bytes()).digest() == before
    assert not bench.path.with_name("relay.db-wal").exists()


async def test_what_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    """A file that happens to have the name is not overwritten."""
    path = tmp_path / "relay.db"
    path.write_text("dear diary, today I was nearly a database" * 10)
    assert "not a SQLite database" in await refusal(f"{SQLITE}{path}")
    assert path.read_text().startswith("dear diary")
    (tmp_path / "folder").mkdir()
    assert "is a directory" in await refusal(f"{SQLITE}{tmp_path / 'folder'}")


async def test_another_programs_database_is_refused(tmp_path: Path) -> None:
    """Tables that are none of ours are not joined by ours."""
    path = tmp_path / "relay.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE diary (entry)")
    before = path.read_bytes()
    assert "another program" in await refusal(f"{SQLITE}{path}")
    assert path.read_bytes() == before


def _shorten(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
async def test_a_directory_without_permission_is_refused(tmp_path: Path) -> None:
    """An unwritable store is one line, not a traceback."""
    os.chmod(tmp_path, 0o500)  # noqa: PTH101 - a test of files may touch one
    assert "not writable" in await refusal(f"{SQLITE}{tmp_path / 'relay.db'}")


async def test_a_database_cut_short_is_refused(open_bench: Open, tmp_path: Path) -> None:
    """A copy that ran out of disk opens well and fails later: better to say so now."""
    async with open_bench() as bench:
        await bench.accept("chat", body=b"x" * 100_000)
    _shorten(bench.path)
    assert "cut short" in await refusal(bench.url)


async def test_a_damaged_database_is_refused(open_bench: Open) -> None:
    """Rubbish where the tables should be."""
    async with open_bench() as bench:
        pass
    with bench.path.open("r+b") as file:
        file.seek(100)
        file.write(b"\xff" * 3000)
    assert "cannot be used" in await refusal(bench.url)


async def test_only_the_owner_may_read_it(open_bench: Open) -> None:
    """Bodies and headers are nobody else's business."""
    async with open_bench() as bench:
        await bench.accept("chat")
        for name in ("relay.db", "relay.db-wal", "relay.db-shm", "relay.db.lock"):
            assert stat.S_IMODE(bench.path.with_name(name).stat().st_mode) == 0o600, name


async def test_the_file_is_set_up_as_the_promises_need(bench: Bench) -> None:
    """What is ignored in silence when it comes too late is looked at here."""
    driver = bench.store._link.connection.connection.driver_connection
    assert driver is not None

    def look() -> list[object]:
        names = ("journal_mode", "synchronous", "auto_vacuum", "wal_autocheckpoint")
        return [driver.execute(f"PRAGMA {name}").fetchone()[0] for name in names]

    assert await bench.store._in_thread(look) == ["wal", 2, 2, 0]


async def test_a_second_process_waits_until_the_first_ends(open_bench: Open, url: str) -> None:
    """As in a rolling restart; it says so every few seconds."""
    clock = ManualClock()
    said: list[str] = []
    async with open_bench():
        second = asyncio.create_task(
            Store.open(url, clock=clock, lanes=RecordingLanes(), on_wait=said.append)
        )
        for _ in range(30):
            while clock.next_call is None:  # noqa: ASYNC110 - the lock is tried in a thread
                await asyncio.sleep(0)
            assert not second.done()
            clock.advance(0.2)
            await asyncio.sleep(0)
    assert len(said) == 2
    assert "in use by another process" in said[0]
    while not second.done():
        clock.advance(0.2)
        await asyncio.sleep(0)
    await (await second).close()


async def test_a_new_process_takes_over_what_was_under_way(open_bench: Open) -> None:
    """Nobody can hold the old leases: due at once, recorded as lost; the rest is left alone."""
    clock = ManualClock()
    async with open_bench(clock=clock) as bench:
        await bench.store.reconcile(["chat"])
        await bench.accept("chat", body=b"retry")
        [claim] = await bench.claim("chat")
        await bench.settle(claim, Decision(state=State.PENDING, delay=30))
        await bench.accept("chat", body=b"under way")
        await bench.claim("chat")
    async with open_bench(clock=clock) as bench:
        [claim] = await bench.claim("chat")
        assert (claim.body, claim.attempt) == (b"under way", 2)
        assert bench.watch.losses == {"chat": 1}
        assert await bench.store.next_due("chat") == clock.now() + 30 * SECOND
        assert claim.lease_until == clock.now() + LEASE


async def test_what_a_crash_leaves_is_all_there(open_bench: Open, tmp_path: Path) -> None:
    """The files as they are at any instant, copied and opened, hold what was acknowledged."""
    (tmp_path / "copy").mkdir()
    copy = tmp_path / "copy" / "relay.db"
    async with open_bench() as bench:
        answers = [await bench.accept("chat") for _ in range(20)]
        for name in ("relay.db", "relay.db-wal"):
            shutil.copy(bench.path.with_name(name), copy.with_name(name))
    async with opened(f"{SQLITE}{copy}") as bench:
        claims = await bench.claim("chat", limit=100)
        assert [claim.event for claim in claims] == [answer.event for answer in answers]
        fresh = await bench.accept("chat", id="one more")
        assert not fresh.duplicate


async def test_freed_pages_go_back_to_the_file_system(bench: Bench) -> None:
    """In small steps, and only what is free."""
    for n in range(40):
        await bench.accept(body=b"%d" % n * 9000)
    bench.clock.advance(20 * 3600)
    assert (await bench.store.age_out(keep=10 * HOUR, cursor=None, limit=100)).pruned == 40
    free = bench.row("PRAGMA freelist_count")["freelist_count"]
    assert free > 50
    left = await bench.store.vacuum(pages=20)
    assert left == free - 20 == bench.row("PRAGMA freelist_count")["freelist_count"]
    while await bench.store.vacuum(pages=1000):
        pass
    assert bench.row("PRAGMA freelist_count") == {"freelist_count": 0}
