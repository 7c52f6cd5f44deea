"""PostgreSQL's own troubles: connections cut, a COMMIT without an answer, a server that is gone."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import psycopg
import pytest

from circleci_relay.errors import StoreUnavailable
from circleci_relay.model import Decision, State
from support.storing import MAIN, until_back, until_session

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine
    from typing import Any, Protocol

    from circleci_relay.model import Claim
    from support.postgres import Postgres
    from support.storing import Bench

    class Cut(Protocol):
        """Cuts the store off while it is at something."""

        def __call__(self, doing: Coroutine[Any, Any, Any]) -> Coroutine[Any, Any, Any]:
            """Begin *doing*, cut it off in the middle, and return what it comes to."""


@pytest.fixture
def url(postgresql_url: str) -> str:
    """Of this kind alone."""
    return postgresql_url


@pytest.fixture
async def held(bench: Bench) -> Claim:
    """A delivery that is under way."""
    await bench.accept("chat")
    [claim] = await bench.claim("chat")
    return claim


@pytest.fixture(params=["before", "after"])
def cut_in_commit(request: pytest.FixtureRequest, bench: Bench, postgres: Postgres) -> Cut:
    """Cuts the store off in COMMIT, *before* or *after* it has come to pass."""
    stalled = _stalled_after if request.param == "after" else _stalled_before

    async def cut(doing: Coroutine[Any, Any, Any]) -> Any:
        async with stalled(postgres, bench) as state:
            running = asyncio.create_task(doing)
            await until_session(postgres, bench.url, f"query = 'COMMIT' AND {state}")
            assert postgres.terminate_backends(bench.url, only="circleci-relay")
        return await running

    return cut


@asynccontextmanager
async def _stalled_after(postgres: Postgres, _: Bench) -> AsyncIterator[str]:
    """Let a COMMIT that is on the disk wait for a standby, of which there is none."""
    postgres.set("synchronous_standby_names", "nobody")
    try:
        yield "wait_event = 'SyncRep'"
    finally:
        postgres.set("synchronous_standby_names", None)


_STALL = """
CREATE FUNCTION stall() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM pg_advisory_xact_lock_shared(4711); RETURN NULL; END $$;
"""


@asynccontextmanager
async def _stalled_before(postgres: Postgres, bench: Bench) -> AsyncIterator[str]:
    """Let a COMMIT wait for a check of its own, before it is anywhere."""
    bench.change(_STALL)
    for table in ("events", "deliveries"):
        bench.change(
            f"CREATE CONSTRAINT TRIGGER stall AFTER INSERT OR UPDATE ON {table}"
            " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION stall()"
        )
    async with await psycopg.AsyncConnection.connect(postgres.superuser(bench.url)) as other:
        await other.execute("SELECT pg_advisory_lock(4711)")
        yield "wait_event = 'advisory'"


async def test_an_event_cut_in_commit_is_there_once(bench: Bench, cut_in_commit: Cut) -> None:
    """The sender waits, and is told the truth: stored, and no duplicate of itself."""
    await bench.accept(line=MAIN, good=True, number=1)
    accepted = await cut_in_commit(bench.accept("chat", id="one", line=MAIN, good=False, number=2))

    assert not accepted.duplicate
    assert accepted.change == "broken"
    found = bench.row("SELECT public_id, duplicates FROM events WHERE id = 'one'")
    assert found == {"public_id": accepted.event, "duplicates": 0}
    assert len(bench.rows("SELECT * FROM deliveries")) == 1
    await bench.store.flush()
    counted = bench.row("SELECT sum(count) AS n FROM minutes WHERE kind = 'events'")
    assert counted == {"n": 2}
    assert bench.watch.outages == []


async def test_one_handed_over_is_handed_once(bench: Bench, cut_in_commit: Cut) -> None:
    """A lane that offered room gets the delivery once, and its token holds."""
    bench.lanes.room = {"chat": 1}
    await cut_in_commit(bench.accept("chat"))
    [claim] = bench.lanes.handed
    assert not bench.lanes.standing
    await bench.settle(claim)
    assert bench.watch.fenced == []
    assert bench.row("SELECT state, attempts FROM deliveries") == {
        "state": "delivered",
        "attempts": 1,
    }


async def test_a_settlement_cut_in_commit_is_neither_lost_nor_counted_twice(
    bench: Bench, held: Claim, cut_in_commit: Cut
) -> None:
    """If it came to pass it is not run again, where its token would seem to be another's."""
    settlement = await cut_in_commit(bench.settle(held))
    assert bench.watch.held == [settlement]
    assert bench.watch.fenced == []
    assert bench.row("SELECT state, attempts FROM deliveries") == {
        "state": "delivered",
        "attempts": 1,
    }
    assert len(bench.rows("SELECT * FROM attempts")) == 1
    await bench.store.flush()
    counted = bench.rows("SELECT count FROM minutes WHERE kind IN ('attempts', 'deliveries')")
    assert counted == [{"count": 1}, {"count": 1}]


async def test_a_claim_cut_in_commit_is_in_hand_once(bench: Bench, cut_in_commit: Cut) -> None:
    """It counts as one attempt, and none is lost."""
    await bench.accept("chat")
    [claim] = await cut_in_commit(bench.claim("chat"))
    assert claim.attempt == 1
    assert bench.watch.losses == {}
    await bench.settle(claim)
    assert bench.watch.fenced == []


async def test_a_release_cut_in_commit_goes_back_once(
    bench: Bench, held: Claim, cut_in_commit: Cut
) -> None:
    """Its attempt is taken off once."""

    async def release() -> None:
        bench.store.release([held])
        await bench.store.flush()

    await cut_in_commit(release())
    [again] = await bench.claim("chat")
    assert again.attempt == 1


async def test_a_connection_cut_between_transactions_costs_nothing(
    bench: Bench, held: Claim, postgres: Postgres
) -> None:
    """Nobody hears of it: the next transaction has a new one, and so have the reads."""
    await bench.store.backlog()
    assert postgres.terminate_backends(bench.url) >= 2
    bench.store.settle(bench.settlement(held))
    assert not (await bench.accept("chat")).duplicate
    await bench.store.flush()
    assert (await bench.store.backlog())["chat"].pending == 1
    assert bench.watch.outages == []
    assert len(bench.watch.held) == 1


async def test_a_connection_cut_within_a_transaction_costs_nothing(
    bench: Bench, held: Claim, postgres: Postgres
) -> None:
    """What was begun came to nothing and is run again, whole."""
    async with await psycopg.AsyncConnection.connect(postgres.superuser(bench.url)) as other:
        await other.execute("LOCK TABLE deliveries")
        bench.store.settle(bench.settlement(held))
        accepting = asyncio.create_task(bench.accept("chat", id="one"))
        await until_session(postgres, bench.url, "wait_event = 'relation'")
        postgres.terminate_backends(bench.url, only="circleci-relay")
        await other.rollback()
    assert not (await accepting).duplicate
    await bench.store.flush()
    assert len(bench.watch.held) == 1
    assert bench.watch.fenced == []
    assert bench.row("SELECT duplicates FROM events WHERE id = 'one'") == {"duplicates": 0}
    assert bench.watch.outages == []


async def test_whoever_holds_a_lock_for_long_holds_nobody_for_ever(
    bench: Bench, postgres: Postgres
) -> None:
    """A long lock is an outage that is told, and is over when the lock is."""
    async with await psycopg.AsyncConnection.connect(postgres.superuser(bench.url)) as other:
        await other.execute("LOCK TABLE events")
        accepting = asyncio.create_task(bench.accept("chat", id="one"))
        await until_session(postgres, bench.url, "wait_event = 'relation'")
        bench.clock.advance(3)
        with pytest.raises(StoreUnavailable):
            await bench.claim("chat")
        assert not bench.store.available.is_set()
        await other.rollback()
    assert not (await accepting).duplicate
    await until_back(bench)
    assert bench.watch.recoveries == 1


async def test_a_server_that_is_killed_is_away_until_it_is_back(
    bench: Bench, held: Claim, postgres: Postgres
) -> None:
    """As in a power cut: what was acknowledged is there, what is in hand is settled first."""
    before = await bench.accept("chat")
    postgres.kill()
    try:
        with pytest.raises(StoreUnavailable):
            await bench.accept("chat")
        bench.store.settle(bench.settlement(held))
        with pytest.raises(StoreUnavailable):
            await bench.claim("chat")
        with pytest.raises(StoreUnavailable):
            await bench.store.backlog()
    finally:
        await asyncio.to_thread(postgres.start)
    await until_back(bench)
    assert [each.claim for each in bench.watch.held] == [held]
    assert len(bench.watch.outages) == bench.watch.recoveries == 1
    [claim] = await bench.claim("chat")
    assert claim.event == before.event
    assert (await bench.store.backlog())["chat"].pending == 1


async def test_a_frozen_server_is_away_until_it_thaws(
    bench: Bench, held: Claim, postgres: Postgres
) -> None:
    """Connections that stand and say nothing are told from those that work."""
    postgres.freeze()
    try:
        accepting = asyncio.create_task(bench.accept("chat", id="one"))
        while (bench.clock.next_call or 0) < 1:  # noqa: ASYNC110 - it has begun once it is watched
            await asyncio.sleep(0)
        bench.clock.advance(3)
        assert not bench.store.available.is_set()
        bench.store.settle(bench.settlement(held, Decision(state=State.DELIVERED)))
        with pytest.raises(StoreUnavailable):
            await bench.claim("chat")
    finally:
        postgres.thaw()
    # The one that hung when it froze went through when it thawed: its sender still waits.
    assert not (await accepting).duplicate
    await until_back(bench)
    await bench.store.flush()
    assert [each.claim for each in bench.watch.held] == [held]
    assert bench.row("SELECT count(*) AS n FROM events WHERE id = 'one'") == {"n": 1}


@pytest.mark.parametrize("reused", [False, True])
async def test_a_crash_of_the_server_in_commit_is_no_commit(
    bench: Bench, held: Claim, postgres: Postgres, monkeypatch: pytest.MonkeyPatch, *, reused: bool
) -> None:
    """Its number may be given again after the crash, to somebody else's transaction, or to none."""
    connection = bench.store._link.connection
    commit = connection.commit

    def crash() -> None:
        # The blocking calls are in the writer's thread, where COMMIT is.
        number = connection.exec_driver_sql("SELECT pg_current_xact_id()::text").scalar_one()
        postgres.kill()
        postgres.start()
        with psycopg.connect(postgres.superuser(bench.url)) as other:
            while reused:
                other.execute("CREATE TEMP TABLE mine ON COMMIT DROP AS SELECT 1")
                [found] = other.execute("SELECT pg_current_xact_id()::text").fetchone() or [""]
                other.commit()
                if int(found) >= int(number):
                    break
        commit()

    monkeypatch.setattr(connection, "commit", crash)
    bench.store.settle(bench.settlement(held))
    accepted = await bench.accept("chat", id="one")
    await bench.store.flush()

    assert bench.row("SELECT public_id FROM events WHERE id = 'one'")["public_id"] == accepted.event
    states = bench.rows("SELECT state FROM deliveries ORDER BY key")
    assert [row["state"] for row in states] == ["delivered", "pending"]
    assert [each.claim for each in bench.watch.held] == [held]
    assert bench.watch.drops == []


async def test_a_commit_that_outlived_its_server_is_found_out_later(
    bench: Bench, held: Claim, postgres: Postgres
) -> None:
    """Its sender heard 503; what it settled is not settled again, what it handed over is free."""
    bench.lanes.room = {"chat": 1}
    postgres.set("synchronous_standby_names", "nobody")
    bench.store.settle(bench.settlement(held))
    accepting = asyncio.create_task(bench.accept("chat", id="one"))
    await until_session(postgres, bench.url, "query = 'COMMIT' AND wait_event = 'SyncRep'")
    await asyncio.to_thread(postgres.kill)
    with pytest.raises(StoreUnavailable):
        await accepting
    await asyncio.to_thread(postgres.start)
    postgres.set("synchronous_standby_names", None)
    await until_back(bench)
    await bench.store.flush()

    assert len(bench.rows("SELECT * FROM events WHERE id = 'one'")) == 1
    assert [each.claim for each in bench.watch.held] == [held]
    assert bench.watch.fenced == []
    [claim] = await bench.claim("chat")
    assert claim.attempt == 1
    assert (await bench.accept("chat", id="one")).duplicate
