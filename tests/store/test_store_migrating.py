"""Databases that an older version has left, or still uses."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from alembic import command
from alembic.config import Config

from circleci_relay.clock import ManualClock
from circleci_relay.model import SECOND
from circleci_relay.store import migrate
from circleci_relay.store.place import database_of
from support.storing import SQLITE, opened, refusal, rows_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.postgres import Postgres

BEFORE = "0002"


def older(url: str) -> None:
    """Leave at *url* what the version before left."""
    database = database_of(url)
    database.prepare()
    config = Config()
    config.set_main_option("script_location", str(Path(migrate.__file__).with_name("migrations")))
    config.set_main_option("path_separator", "os")
    with database.connect() as connection, connection.begin():
        config.attributes["connection"] = connection
        command.upgrade(config, BEFORE)


def waits(postgres: Postgres) -> bool:
    """Whether a store waits for somebody's lock."""
    look = (
        "SELECT 1 FROM pg_stat_activity"
        " WHERE application_name = 'circleci-relay' AND wait_event_type = 'Lock'"
    )
    return bool(postgres.query("postgres", look))


@pytest.fixture
def server_url(postgres: Postgres) -> Iterator[str]:
    """An older database on a server."""
    url = postgres.database()
    older(url)
    yield url
    postgres.drop(url)


@pytest.fixture(params=["sqlite", "postgresql"])
def old_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An older database of either kind."""
    if request.param == "postgresql":
        found: str = request.getfixturevalue("server_url")
        return found
    url = f"{SQLITE}{tmp_path / 'relay.db'}"
    older(url)
    return url


async def test_what_was_counted_before_is_on_the_longer_charts(old_url: str) -> None:
    """The day and the week do not begin at the upgrade."""
    quarter = ManualClock().now() // (900 * SECOND)
    rows = [
        f"({quarter * 15 + minute}, 'attempts', 'chat', 'ok', {count}, 1000)"
        for minute, count in ((-1, 7), (0, 4), (14, 10), (15, 15))
    ]
    rows_in(old_url, f"INSERT INTO minutes VALUES {', '.join(rows)}")  # noqa: S608
    async with opened(old_url) as bench:
        found = bench.rows("SELECT quarter, count, sum_duration FROM quarters ORDER BY quarter")
    assert [tuple(row.values()) for row in found] == [
        (quarter - 1, 7, 1000),
        (quarter, 14, 2000),
        (quarter + 1, 15, 1000),
    ]


@pytest.mark.parametrize("first", ["events", "deliveries"])
async def test_a_replica_that_still_works_and_a_migration_do_not_cross(
    postgres: Postgres, server_url: str, first: str
) -> None:
    """It may take in, or deliver, in the middle of it: neither is ended as half of a deadlock."""
    second = {"events": "deliveries", "deliveries": "events"}[first]
    with psycopg.connect(server_url) as replica:
        replica.execute("SET lock_timeout = '3s'")
        replica.execute(f"LOCK TABLE {first} IN ROW EXCLUSIVE MODE".encode())
        opening = asyncio.create_task(refusal(server_url))
        async with asyncio.timeout(20):
            while not (opening.done() or await asyncio.to_thread(waits, postgres)):
                pass
            lock = f"LOCK TABLE {second} IN ROW EXCLUSIVE MODE".encode()
            await asyncio.to_thread(replica.execute, lock)
            assert "lock timeout" in await opening  # and is tried again, for as long as is waited
    async with opened(server_url) as bench:
        [row] = bench.rows("SELECT version_num FROM alembic_version")
        assert row == {"version_num": migrate.HEAD}
