"""PostgreSQL's own: what is refused and why, what is asked of a session, who migrates."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import psycopg
import pytest

from circleci_relay.clock import ManualClock, SystemClock
from circleci_relay.store import Store, postgresql
from support.storing import RecordingLanes, opened, refusal, rows_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.postgres import Postgres
    from support.storing import Bench


@pytest.fixture
def url(postgresql_url: str) -> str:
    """Of this kind alone."""
    return postgresql_url


@pytest.fixture
def empty(postgres: Postgres) -> Iterator[str]:
    """A database in which there is nothing at all."""
    url = postgres.database()
    yield url
    postgres.drop(url)


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that nobody listens at."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.mark.parametrize("url", ["postgresql://relay:hunter2@[::1/relay", "postgres://a:hunter2"])
async def test_what_libpq_does_not_understand_is_refused(url: str) -> None:
    """One clear line, with what would be right; libpq's own might repeat the password."""
    message = await refusal(f"{url}?nonsense=hunter2")
    assert "try postgresql://user:password@host:5432/database" in message
    assert "hunter2" not in message


async def test_a_server_that_is_not_there_is_refused(closed_port: int) -> None:
    """Where it was looked for, and what came of it."""
    message = await refusal(f"postgresql://relay:hunter2@127.0.0.1:{closed_port}/relay")
    assert f"127.0.0.1:{closed_port}/relay cannot be reached" in message
    assert "refused" in message
    assert "hunter2" not in message


async def test_a_wrong_password_is_said_but_not_repeated(url: str) -> None:
    """Whoever reads the log learns which role it was, and no more."""
    before, _, after = url.partition("@")
    secret = before.rpartition(":")[2]
    message = await refusal(f"postgresql://relay:hunter2@{after}")
    assert 'authentication failed for user "relay"' in message
    assert "hunter2" not in message
    assert secret not in message


async def test_a_database_that_is_not_there_is_refused(url: str) -> None:
    """It is named, and not made."""
    assert '"nowhere" does not exist' in await refusal(url.rpartition("/")[0] + "/nowhere")


async def test_options_of_libpq_reach_it(url: str) -> None:
    """TLS as it is asked for, or none of it; what the URL says goes before our own."""
    assert "does not support SSL" in await refusal(f"{url}?sslmode=require")
    async with opened(url, "?application_name=relay-b") as bench:
        assert await _setting(bench, "application_name") == "relay-b"


async def test_a_server_that_does_not_sync_is_refused(url: str, postgres: Postgres) -> None:
    """What it says is stored would not outlast a power cut."""
    postgres.set("fsync", "off")
    try:
        assert "fsync = on" in await refusal(url)
    finally:
        postgres.set("fsync", None)


async def test_a_commit_waits_for_the_disk_whatever_the_default(
    url: str, postgres: Postgres
) -> None:
    """The server's default of `synchronous_commit` is not what the promises rest on."""
    postgres.set("synchronous_commit", "off")
    try:
        async with opened(url) as bench:
            assert await _setting(bench, "synchronous_commit") == "on"
    finally:
        postgres.set("synchronous_commit", None)


async def _setting(bench: Bench, name: str) -> object:
    return await bench.store.do(
        lambda unit: unit.connection.exec_driver_sql(f"SHOW {name}").scalar()
    )


async def test_another_encoding_is_refused(postgres: Postgres) -> None:
    """A branch's name must fit, whatever alphabet it is in."""
    make = "CREATE DATABASE latin OWNER relay TEMPLATE template0 ENCODING 'LATIN1'"
    postgres.query("postgres", make)
    assert "create it with ENCODING 'UTF8'" in await refusal(postgres.url("latin"))
    postgres.drop("latin")


async def test_another_programs_tables_are_left_alone(empty: str) -> None:
    """Tables that only look like ours are not written to."""
    rows_in(empty, "CREATE TABLE events (diary text)")
    assert "another program" in await refusal(empty)
    assert rows_in(empty, "SELECT * FROM pg_tables WHERE schemaname = 'public'")[1:] == []


async def test_without_the_right_to_make_tables_it_is_refused(
    empty: str, postgres: Postgres
) -> None:
    """One line that says what is not permitted, not a traceback."""
    postgres.query(empty, "REVOKE CREATE ON SCHEMA public FROM PUBLIC, pg_database_owner")
    assert "permission denied" in await refusal(empty)


async def test_those_that_start_together_migrate_once(empty: str) -> None:
    """One makes the tables, the others wait for it and find them made."""
    stores = await asyncio.gather(
        *(Store.open(empty, clock=SystemClock(), lanes=RecordingLanes()) for _ in range(4))
    )
    for store in stores:
        await store.close()
    assert len(rows_in(empty, "SELECT * FROM alembic_version")) == 1
    assert len(rows_in(empty, "SELECT * FROM counters")) == 2


async def test_it_waits_for_a_server_that_writes(url: str, postgres: Postgres) -> None:
    """A standby that is about to take over, or a server that still starts, is waited for."""
    said: list[str] = []
    clock = ManualClock()
    postgres.read_only(on=True)
    try:
        opening = asyncio.create_task(
            Store.open(url, clock=clock, lanes=RecordingLanes(), on_wait=said.append, patience=60)
        )
        while not (said or opening.done()):  # noqa: ASYNC110 - it looks in a thread
            await asyncio.sleep(0)
    finally:
        postgres.read_only(on=False)
    assert "cannot be reached" in said[0]
    while not opening.done():
        if clock.next_call is not None:
            clock.advance(0.2)
        await asyncio.sleep(0)
    await (await opening).close()


async def test_its_clock_is_what_leases_go_by(url: str) -> None:
    """All replicas go by one clock: a machine's that is slow is brought forward to it."""

    class Slow(ManualClock):
        """A machine's clock an age behind, that can be told."""

        def agree(self, instant: int) -> None:
            self._now = max(self._now, instant)

    clock = Slow(start=1)
    async with opened(url, clock=clock) as bench:
        [row] = bench.rows("SELECT extract(epoch FROM now())::bigint AS now")
        assert 0 <= row["now"] - clock.now() // 1_000_000 < 60


async def test_who_sleeps_inside_a_transaction_is_ended(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replica that was stopped while it sent a batch must not keep its rows from the others."""
    monkeypatch.setattr(postgresql, "_LONG", "0s")
    bystander = psycopg.connect(bench.url, application_name="a-report")
    asleep = psycopg.connect(bench.url, application_name="circleci-relay")
    for session in (bystander, asleep):
        session.execute("SELECT 1")
    await bench.store.agree()
    bystander.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError):
        asleep.execute("SELECT 1")
    bystander.close()
    asleep.close()
