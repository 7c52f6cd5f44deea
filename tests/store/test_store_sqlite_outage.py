"""SQLite's own troubles: a full disk, and a log that grows."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from circleci_relay.errors import StoreUnavailable
from circleci_relay.store import sqlite, writer
from support.away import fill
from support.storing import until_back

if TYPE_CHECKING:
    from pathlib import Path

    from support.away import Trouble
    from support.storing import Bench, Open


@pytest.fixture
def url(sqlite_url: str) -> str:
    """Of this kind alone."""
    return sqlite_url


async def test_the_disk_may_be_full_from_the_start(open_bench: Open) -> None:
    """`max_page_count` in the URL, for rehearsals of the same."""
    async with open_bench("?max_page_count=60") as bench:
        with pytest.raises(StoreUnavailable):
            await fill(bench)
        assert not bench.store.available.is_set()


async def test_the_integrity_survives_it_all(away: Bench, trouble: Trouble) -> None:
    """SQLite's own check finds nothing after a full disk."""
    await trouble.end(away)
    await until_back(away)
    await away.accept("chat")

    def check(path: Path) -> object:
        with closing(sqlite3.connect(path)) as connection:
            return connection.execute("PRAGMA integrity_check").fetchone()

    assert check(away.path) == ("ok",)


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


async def test_a_quiet_moment_is_used_to_move_the_log(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for the copying into the database: it happens when nothing else does."""
    monkeypatch.setattr(writer, "_QUIET", 0.0)
    await bench.accept("chat", body=b"x" * 300_000)
    async with asyncio.timeout(10):
        while bench.path.stat().st_size < 300_000:  # noqa: ASYNC110 - a file tells nobody
            await asyncio.sleep(0)
