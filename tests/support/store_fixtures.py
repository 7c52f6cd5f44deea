"""Where the store of a test lies, of either kind, and an open one: fixtures for conftests."""

from __future__ import annotations

import asyncio
import functools
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from circleci_relay.clock import ManualClock
from circleci_relay.store import Store
from support.away import FullFile, ReadOnly, Trouble
from support.spare import Spare
from support.storing import SQLITE, Bench, Open, RecordingLanes, opened, until_back

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from support.postgres import Postgres

__all__ = [
    "away",
    "bench",
    "empty_file",
    "migrated",
    "open_bench",
    "postgresql_url",
    "prepared",
    "spare",
    "sqlite_url",
    "trouble",
    "url",
]
"""What the conftests take over."""


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """A file that is not there yet."""
    return f"{SQLITE}{tmp_path / 'relay.db'}"


@pytest.fixture(scope="session")
def empty_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the tables in it, to be copied: that is quicker than making them."""
    path = tmp_path_factory.mktemp("empty") / "relay.db"
    _make(f"{SQLITE}{path}")
    return path


def _make(url: str) -> None:
    async def make() -> None:
        await (await Store.open(url, clock=ManualClock(), lanes=RecordingLanes())).close()

    with ThreadPoolExecutor(1) as thread:  # of its own, since a loop may be set up here
        thread.submit(asyncio.run, make()).result()


@pytest.fixture(scope="session")
def migrated(postgres: Postgres) -> str:
    """A database with the tables in it, to be copied: that is quicker than making them."""
    url = postgres.database()
    _make(url)
    return url


@pytest.fixture(scope="session")
def spare(postgres: Postgres, migrated: str) -> Spare:
    """Databases with the tables in them, used again and again."""
    return Spare(postgres, migrated)


@pytest.fixture
def postgresql_url(spare: Spare) -> Iterator[str]:
    """A database on a running server, with the tables and nothing in them."""
    url = spare.take()
    yield url
    spare.give_back(url)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    """Where the database is; a module about one kind only has one of its own."""
    found: str = request.getfixturevalue(f"{request.param}_url")
    return found


@pytest.fixture
def prepared(url: str, empty_file: Path) -> str:
    """Where the database is, with the tables in it."""
    if url.startswith(SQLITE) and not (path := Path(url.removeprefix(SQLITE))).exists():
        path.write_bytes(empty_file.read_bytes())
    return url


@pytest.fixture
def open_bench(url: str) -> Open:
    """Opens a store at the same place, again and again if wanted."""
    return functools.partial(opened, url)


@pytest.fixture
async def bench(prepared: str, open_bench: Open) -> AsyncIterator[Bench]:
    """An open store."""
    async with open_bench() as it:
        yield it


@pytest.fixture
def trouble(request: pytest.FixtureRequest, url: str) -> Trouble:
    """What keeps this kind of store from writing."""
    if url.startswith(SQLITE):
        return FullFile()
    return ReadOnly(request.getfixturevalue("postgres"))


@pytest.fixture
async def away(bench: Bench, trouble: Trouble) -> AsyncIterator[Bench]:
    """A store that has found out that nothing can be written."""
    await trouble.begin(bench)
    yield bench
    await trouble.end(bench)
    if not bench.store._closed:
        await until_back(bench)
