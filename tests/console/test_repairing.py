"""Repairs as the API and the page ask for them, and the work behind them."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from circleci_relay import config
from circleci_relay.console.repairing import Repairing
from circleci_relay.console.requests import (
    BulkCancel,
    BulkReplay,
    JobQuery,
    Pause,
    ReplayEvent,
    ReplayOne,
    Retry,
    Selection,
)
from circleci_relay.console.running import Rerouting, Running
from circleci_relay.console.shapes import Job, Preview
from circleci_relay.console.showing import Showing
from circleci_relay.delivery.dispatcher import Dispatcher
from circleci_relay.errors import Conflict, Invalid, NotFound
from circleci_relay.metrics import Metrics
from circleci_relay.model import Reason, State
from circleci_relay.redaction import Redaction
from support.build import BODIES
from support.delivering import delivering
from support.receiver import Receiver, answer
from support.repairing import AGAIN, dead, kill

if TYPE_CHECKING:
    from pathlib import Path

    from circleci_relay.clock import ManualClock
    from circleci_relay.config import Config
    from circleci_relay.store import Store
    from support.storing import Bench

WHO = "ops"
SAMPLE = "gh_oauth_workflow_failed"


def loaded(folder: Path, **more: Any) -> Config:
    """A configuration of chat, pager (paused) and a route to both of what failed."""
    text = {
        "sources": {"circleci": {"path": "/hook", "unsigned": True}},
        "destinations": {
            "chat": {"url": "https://chat.example.com/x"},
            "pager": {"url": "https://pager.example.com/", "paused": True},
        },
        "routes": {"red": {"match": {"status": "failed"}, "to": ["chat", "pager"]}},
        **more,
    }
    file = folder / "relay.yaml"
    file.write_text(json.dumps(text))
    return config.load([file]).config


class Desk:
    """The service, and what works for it."""

    def __init__(
        self, store: Store, clock: ManualClock, used: Config, dispatcher: Dispatcher | None = None
    ) -> None:
        self.metrics = Metrics(process=False)
        self.dispatcher = dispatcher or Dispatcher(
            clock=clock, metrics=self.metrics, redact=Redaction()
        )
        choose = Rerouting(lambda: used)
        self.running = Running(
            store, self.dispatcher, clock=clock, metrics=self.metrics, choose=choose
        )
        self.repairing = Repairing(
            store,
            self.dispatcher,
            running=self.running,
            showing=Showing(redact=Redaction(), configured=lambda: {"chat": False, "pager": True}),
            clock=clock,
            metrics=self.metrics,
            in_force=lambda: used,
            choose=choose,
        )

    def cancelled(self, name: str) -> float:
        """What the metric says."""
        counter = self.metrics.destination(name).deliveries[State.CANCELLED]
        return float(counter._value.get())


@pytest.fixture
def url(sqlite_url: str) -> str:
    """Of this kind alone: the steps have their tests on either."""
    return sqlite_url


@pytest.fixture
async def desk(bench: Bench, tmp_path: Path) -> Desk:
    """On a store where `chat` and `pager` are configured."""
    await bench.store.reconcile(["chat", "pager"])
    return Desk(bench.store, bench.clock, await asyncio.to_thread(loaded, tmp_path))


async def test_one_is_replayed_and_cancelled(desk: Desk, bench: Bench) -> None:
    """By either id of the event, or by the delivery's; what was made is told."""
    [key] = await dead(bench, 1)
    event = bench.row("SELECT public_id, id FROM events")
    [made] = (await desk.repairing.replay_delivery(str(key), ReplayOne(), WHO)).deliveries
    assert (made.event, made.state, made.waiting) == (event["public_id"], State.PENDING, "due")
    assert made.replay_of == str(key)
    [made] = (await desk.repairing.cancel_delivery(made.id, WHO)).deliveries
    assert (made.state, made.reason, made.waiting) == (State.CANCELLED, Reason.CANCELLED, None)
    assert desk.cancelled("chat") == 1
    for name in event.values():
        wanted = ReplayEvent(destinations=["pager"], again=True, new_id=True)
        [made] = (await desk.repairing.replay_event(name, wanted, WHO)).deliveries
        assert (made.destination, made.waiting) == ("pager", "paused")
        assert len(made.webhook_id) > len(f"{made.event}-pager")
    for name in ("1" * 19, "9" * 19, "x", "²"):
        with pytest.raises(NotFound):
            await desk.repairing.replay_delivery(name, ReplayOne(), WHO)
    with pytest.raises(NotFound):
        await desk.repairing.replay_event("nothing", ReplayEvent(), WHO)
    with pytest.raises(Conflict, match="nowhere is not configured"):
        await desk.repairing.replay_event(event["id"], ReplayEvent(destinations=["nowhere"]), WHO)


async def test_many_are_counted_then_replayed(desk: Desk, bench: Bench) -> None:
    """The dry run changes nothing; the job runs once under its key."""
    keys = await dead(bench, 3)
    select = Selection(destination="chat", since=datetime(2000, 1, 1, tzinfo=UTC))
    preview = await desk.repairing.replay(BulkReplay(select=select), WHO)
    assert isinstance(preview, Preview)
    assert (preview.count, preview.partial) == (3, False)
    assert preview.by_destination == {"chat": 3}
    assert [each.id for each in preview.examples] == [str(key) for key in keys]
    assert bench.row("SELECT count(*) AS n FROM deliveries")["n"] == 3
    wanted = BulkReplay(select=select, dry_run=False, idempotency_key=preview.idempotency_key)
    job = await desk.repairing.replay(wanted, WHO)
    assert isinstance(job, Job)
    assert (job.state, job.expected, job.created_by) == ("running", 3, WHO)
    assert job.request["select"] == {"destination": "chat", "since": "2000-01-01T00:00:00+00:00"}
    again = await desk.repairing.replay(wanted, WHO)
    assert isinstance(again, Job)
    assert again.id == job.id
    await desk.running.work()
    done = await desk.repairing.job(job.id)
    assert (done.state, done.made, done.progress) == ("done", 3, 1.0)
    assert done.states == {"pending": 3}
    assert (await desk.repairing.jobs(JobQuery(limit=1))).items == [done]
    with pytest.raises(Conflict, match="done already"):
        await desk.repairing.cancel_job(job.id, WHO)
    with pytest.raises(NotFound):
        await desk.repairing.job("nothing")


async def test_those_are_selected_that_died_alike(desk: Desk, bench: Bench) -> None:
    """By exactly what their last error says, or that it says nothing."""
    for error in ("refused", "refused again", None, None):
        await bench.accept("chat")
        await kill(bench, await bench.claim("chat"), error=error)
    counts = {}
    for error in ("refused", "refused again", ""):
        wanted = BulkReplay(select=Selection(destination="chat", last_error=error))
        preview = await desk.repairing.replay(wanted, WHO)
        assert isinstance(preview, Preview)
        counts[error] = preview.count
    assert counts == {"refused": 1, "refused again": 1, "": 2}


async def test_many_are_cancelled(desk: Desk, bench: Bench) -> None:
    """What is pending; and a job's work is counted where it is done."""
    for _ in range(3):
        await bench.accept("chat", "pager")
    wanted = BulkCancel(select=Selection(destination="chat"))
    preview = await desk.repairing.cancel(wanted, WHO)
    assert isinstance(preview, Preview)
    assert preview.count == 3
    started = wanted.model_copy(update={"dry_run": False, "idempotency_key": "chat-away"})
    await desk.repairing.cancel(started, WHO)
    await desk.running.work()
    assert desk.cancelled("chat") == 3
    [job] = (await desk.repairing.jobs(JobQuery(state="done"))).items
    assert (job.kind, job.made) == ("cancel", 3)
    assert (await bench.store.backlog())["pager"].pending == 3


async def test_what_makes_no_sense_is_refused(desk: Desk) -> None:
    """Before anything is looked at."""
    chat = Selection(destination="chat")
    late, early = datetime(2026, 2, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)
    refused: list[tuple[Any, str]] = [
        (BulkReplay(select=Selection()), "body.select"),
        (BulkReplay(select=Selection(state=State.PENDING)), "body.select.state"),
        (BulkReplay(select=Selection(since=late, until=early)), "body.select.until"),
        (BulkReplay(select=chat, to=["chat"]), "body.to"),
        (BulkReplay(select=chat, dry_run=False), "body.idempotency_key"),
    ]
    for wanted, where in refused:
        with pytest.raises(Invalid) as told:
            await desk.repairing.replay(wanted, WHO)
        assert told.value.where == where
    with pytest.raises(Invalid):
        await desk.repairing.cancel(BulkCancel(select=Selection(state=State.DEAD)), WHO)
    with pytest.raises(Conflict, match=r"pagr is not configured; did you mean pager\?"):
        await desk.repairing.replay(BulkReplay(select=chat, routes="now", to=["pagr"]), WHO)


async def test_through_the_routes_in_force(desk: Desk, bench: Bench) -> None:
    """Stored events go where the file says by now; what no source has sent goes nowhere."""
    body = BODIES[SAMPLE]
    await bench.accept(body=body, good=False)
    await bench.accept(body=b"not even JSON")
    await bench.accept(body=body, good=True)
    select = Selection(source="circleci")
    preview = await desk.repairing.replay(BulkReplay(select=select, routes="now"), WHO)
    assert isinstance(preview, Preview)
    assert preview.by_destination == {"chat": 1, "pager": 1}
    wanted = BulkReplay(
        select=select, routes="now", to=["chat"], dry_run=False, idempotency_key="12345678"
    )
    await desk.repairing.replay(wanted, WHO)
    await desk.running.work()
    assert [row["destination"] for row in bench.rows("SELECT destination FROM deliveries")] == [
        "chat"
    ]


async def test_destinations_are_paused_and_retried(desk: Desk, bench: Bench) -> None:
    """What the file pauses is not resumed by hand."""
    for _ in range(3):
        await bench.accept("chat")
    for claim in await bench.claim("chat"):
        await bench.settle(claim, AGAIN)
    await desk.repairing.pause("chat", Pause(why="deploy"), WHO)
    assert desk.dispatcher._paused == {"chat"}
    await desk.repairing.resume("chat", WHO)
    assert desk.dispatcher._paused == set()
    with pytest.raises(Conflict, match=r"relay\.yaml has it paused"):
        await desk.repairing.resume("pager", WHO)
    assert await desk.repairing.retry("chat", Retry(), WHO) == 3
    # Those that were due already are tried now as well.
    assert await desk.repairing.retry("chat", Retry(), WHO) == 3
    with pytest.raises(NotFound):
        await desk.repairing.retry("nowhere", Retry(), WHO)


async def test_a_bulk_replay_goes_out_by_itself(tmp_path: Path, clock: ManualClock) -> None:
    """From the request to the receiver: the runner is woken, and wakes the lanes."""
    there = Receiver([*[answer(410)] * 30, answer(200)])
    server = await asyncio.start_server(there.serve, "localhost", 0)
    there.port = server.sockets[0].getsockname()[1]
    async with delivering(tmp_path / "relay.db", clock) as relay, server:
        await relay.configure(chat={"url": there.url()})
        await asyncio.gather(*(relay.accept("chat") for _ in range(30)))
        await relay.watch.wait_for(30)
        desk = Desk(relay.store, clock, await asyncio.to_thread(loaded, tmp_path), relay.dispatcher)
        running = asyncio.create_task(desk.running.run())
        wanted = BulkReplay(
            select=Selection(state=State.DEAD), dry_run=False, idempotency_key="all-that-died"
        )
        await desk.repairing.replay(wanted, WHO)
        await relay.watch.wait_for(60)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        assert (await relay.store.backlog()) == {}
    told = Counter(request.headers["webhook-id"] for request in there.requests)
    assert set(told.values()) == {2}
