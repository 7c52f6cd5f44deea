"""The work on bulk jobs, where several replicas do it."""

from __future__ import annotations

import asyncio

import psycopg

from circleci_relay.console.running import TURN, Running
from circleci_relay.delivery.dispatcher import Dispatcher
from circleci_relay.metrics import Metrics
from circleci_relay.redaction import Redaction
from support.repairing import dead, nowhere, start
from support.storing import opened


async def test_a_job_that_another_replica_has_in_hand_is_left_to_it(postgresql_url: str) -> None:
    """Whoever finds no step to make waits a little: it does not ask again and again."""
    async with opened(postgresql_url) as bench:
        await bench.store.reconcile(["chat"])
        await dead(bench, 1)
        await start(bench.store)
        metrics, clock = Metrics(process=False), bench.clock
        lanes = Dispatcher(clock=clock, metrics=metrics, redact=Redaction())
        running = Running(bench.store, lanes, clock=clock, metrics=metrics, choose=nowhere)
        with psycopg.connect(postgresql_url) as other:
            other.execute("SELECT 1 FROM jobs FOR UPDATE")
            before = len(bench.watch.commits)
            going_on = asyncio.create_task(running.run())
            async with asyncio.timeout(20):
                while clock.next_call != TURN:
                    assert len(bench.watch.commits) < before + 50
                    await bench.store.look(lambda _: None)
        clock.advance(TURN)
        async with asyncio.timeout(20):
            while bench.row("SELECT state FROM jobs")["state"] != "done":
                await bench.store.look(lambda _: None)
        going_on.cancel()
