"""A transaction that does not end: nothing is promised meanwhile, and nothing is lost by it."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from circleci_relay.errors import StoreUnavailable
from support.storing import until_back

if TYPE_CHECKING:
    from collections.abc import Coroutine

    import sqlalchemy as sa

    from support.postgres import Postgres
    from support.storing import Bench, Open

LONG = 3.1  #: seconds after which a transaction counts as hanging
TOO_LONG = 20.1  #: after which its connection is given up


@pytest.fixture
def url(postgresql_url: str) -> str:
    """Only another process can be in the way: a store on a file has its database alone."""
    return postgresql_url


async def begun(bench: Bench, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """Start *work* and return it once its transaction is under way."""
    task = asyncio.create_task(work)
    async with asyncio.timeout(10):
        while bench.clock.next_call is None:  # noqa: ASYNC110 - there is nothing to wait on
            await asyncio.sleep(0)
    return task


async def test_what_hangs_is_an_outage_until_it_ends(open_bench: Open, url: str) -> None:
    """Attempts stop and senders are told; then it is answered, and all goes on by itself."""
    async with open_bench() as bench:
        with psycopg.connect(url) as other:
            other.execute("LOCK TABLE events IN ACCESS EXCLUSIVE MODE")
            accepting = await begun(bench, bench.accept("chat"))
            bench.clock.advance(LONG)
            assert not bench.store.available.is_set()
            assert "no answer" in str(bench.watch.outages[0])
            with pytest.raises(StoreUnavailable):
                await bench.accept("chat")
        assert not (await accepting).duplicate
        assert bench.store.available.is_set()
        assert (len(bench.watch.outages), bench.watch.recoveries) == (1, 1)
        assert bench.row("SELECT count(*) AS n FROM events")["n"] == 1


async def test_what_hangs_too_long_is_cut_off(open_bench: Open, postgres: Postgres) -> None:
    """A server that is silent for good does not take the relay's thread with it."""
    async with open_bench() as bench:
        await bench.accept("chat", id="before")
        [claim] = await bench.claim("chat")
        postgres.freeze()
        try:
            bench.store.settle(bench.settlement(claim))
            settling = await begun(bench, bench.accept("chat", id="during"))
            bench.clock.advance(TOO_LONG)
        finally:
            postgres.thaw()
        await asyncio.wait([settling])
        if settling.exception() is not None:
            assert isinstance(settling.exception(), StoreUnavailable)
        await until_back(bench)
        await bench.store.flush()
        assert [each.claim for each in bench.watch.held] == [claim]
        assert bench.watch.fenced == []
        assert (await bench.accept("chat", id="after")).duplicate is False
        assert bench.row("SELECT count(*) AS n FROM attempts")["n"] == 1


async def test_a_look_that_nobody_waits_for_does_not_hold_up_the_end(open_bench: Open) -> None:
    """Whoever looked has been cancelled, as at a stop; the server has not heard of it."""
    begun = threading.Event()

    def look(connection: sa.Connection) -> None:
        begun.set()
        connection.exec_driver_sql("SELECT pg_sleep(5)")

    async with open_bench() as bench:
        looking = asyncio.create_task(bench.store.look(look))
        await asyncio.to_thread(begun.wait)
        looking.cancel()
        await asyncio.wait([looking])
        async with asyncio.timeout(4):
            await bench.store.close()
