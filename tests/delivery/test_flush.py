"""Delivering what is pending before the end: what is waited for, and what is not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from structlog.testing import capture_logs

from circleci_relay.flush import LOOK, Flush
from circleci_relay.model import SECOND, Quiet
from circleci_relay.upkeep import Upkeep
from support.delivering import Delivering, delivering
from support.gate import gate
from support.receiver import Receiver, answer

if TYPE_CHECKING:
    from pathlib import Path

    from circleci_relay.clock import ManualClock
    from support.postgres import Postgres

StartReceiver = Callable[..., Awaitable[Receiver]]

SLOW = {"initial": "10m", "factor": 1, "jitter": 0}
FLUSH, SOON = 120.0, 8.0


@pytest.fixture(autouse=True)
def _log() -> None:
    """Write as a program does that was told nothing of its log."""
    structlog.reset_defaults()


@pytest.fixture
async def relay(tmp_path: Path, clock: ManualClock) -> AsyncIterator[Delivering]:
    """A store and its lanes."""
    async with delivering(tmp_path / "relay.db", clock) as made:
        yield made


async def flush(relay: Delivering, during: Callable[[], object] = lambda: None) -> float:
    """Stop with a flush, letting time pass; return how many seconds it took."""
    metrics = relay.dispatcher._metrics
    upkeep = Upkeep(store=relay.store, clock=relay.clock, metrics=metrics)
    work = Flush(
        store=relay.store,
        dispatcher=relay.dispatcher,
        upkeep=upkeep,
        clock=relay.clock,
        gentle=0,  # it looks as often however slow the machine is
    )
    began = relay.clock.monotonic()
    flushing = asyncio.ensure_future(work.run(FLUSH))
    async with asyncio.timeout(20):
        while not flushing.done():
            await asyncio.sleep(0)
            if (relay.clock.next_call or LOOK * 2) <= LOOK:  # it sleeps between two looks
                await relay.store.flush()
                relay.clock.advance(LOOK)
                during()
    flushing.result()
    return relay.clock.monotonic() - began


HELD: dict[str, Any] = {"quiet": Quiet(hold=600 * SECOND), "sample": "gh_oauth_workflow_failed"}
GATHERED: dict[str, Any] = {"quiet": Quiet(group="g", wait=600 * SECOND, most=9)}


async def test_all_that_waits_is_made_due_once(relay: Delivering, receiver: StartReceiver) -> None:
    """What waits for a retry or for a breaker; then it ends, long before."""
    assert await flush(relay) < 1, "nothing waits"
    mended = await receiver(answer(500), answer(200))
    breaker = {"failures": 1, "pause": "1h"}
    await relay.configure(mended={"url": mended.url(), "retry": SLOW, "breaker": breaker})
    await relay.accept("mended")
    await relay.watch.wait_for(1)
    assert await flush(relay) < 5
    assert (len(mended.requests), await relay.pending("mended")) == (2, 0)


async def test_what_is_held_or_gathers_is_told_early(
    relay: Delivering, receiver: StartReceiver
) -> None:
    """And waited for, also where nothing else waits: it was owed from later on, until then."""
    opened, hang = gate()
    chat = await receiver(hang)
    await relay.configure(chat={"url": chat.url(), "timeout": "10m"})
    for given in (HELD, GATHERED, GATHERED):
        await relay.accept("chat", **given)
    assert (chat.requests, await relay.pending("chat")) == ([], 3)
    moment = relay.clock.monotonic() + SOON

    def answer_in_the_end() -> None:
        if relay.clock.monotonic() >= moment:
            opened.set()

    took = await flush(relay, answer_in_the_end)
    assert SOON <= took < FLUSH - 1
    assert (len(chat.requests), await relay.pending("chat")) == (2, 0)


async def test_what_is_held_stays_held_where_others_go_on(
    clock: ManualClock, postgres: Postgres, receiver: StartReceiver
) -> None:
    """In a database that replicas share it is safe: a rolling update tells nothing early."""
    chat, mended = await receiver(), await receiver(answer(500), answer(200))
    async with delivering(postgres.database(), clock) as relay:
        await relay.configure(
            chat={"url": chat.url()}, mended={"url": mended.url(), "retry": SLOW, "breaker": None}
        )
        await relay.accept("chat", **HELD)
        await relay.accept("mended")
        await relay.watch.wait_for(1)
        await flush(relay)
        assert (chat.requests, await relay.pending("chat")) == ([], 1)
        assert (len(mended.requests), await relay.pending("mended")) == (2, 0)


async def test_what_cannot_be_made_in_time_is_not_waited_for(
    relay: Delivering, receiver: StartReceiver
) -> None:
    """What is paused, due or probed too late; what fails is tried once more and no more."""
    dead, paused = await receiver(answer(500)), await receiver()
    open_for_long = {"failures": 1, "pause": "1h"}
    await relay.configure(
        dead={"url": dead.url(), "retry": SLOW, "breaker": None},
        broken={"url": dead.url(), "breaker": open_for_long},
        paused={"url": paused.url(), "paused": True},
    )
    await relay.accept("dead", "broken", "paused")
    await relay.watch.wait_for(2)
    with capture_logs() as lines:
        assert await flush(relay) < FLUSH / 2
    assert (len(dead.requests), paused.requests) == (4, [])
    assert [line["event"] for line in lines if line["event"].startswith("flush")] == [
        "flush_begun",
        "flush_ended",
    ]
    assert lines[-1] == {
        "event": "flush_ended",
        "log_level": "warning",
        "left": {"dead": 1, "broken": 1},
        "paused_or_gone": {"paused": 1},
    }


async def test_an_operator_is_heard_meanwhile(relay: Delivering, receiver: StartReceiver) -> None:
    """What is paused is waited for no longer; what is resumed goes out, before the end."""
    opened, hang = gate()
    hung, there = await receiver(hang), await receiver()
    await relay.configure(hung={"url": hung.url(), "timeout": "10m"}, chat={"url": there.url()})
    relay.dispatcher.control({"chat"}, {})
    await relay.accept("hung", "chat")
    await hung.wait_for(1)
    moment = relay.clock.monotonic() + SOON

    def pause_one_and_resume_the_other() -> None:
        if relay.clock.monotonic() >= moment:
            relay.dispatcher.control({"hung"}, {})

    took = await flush(relay, pause_one_and_resume_the_other)
    assert SOON <= took < FLUSH - 1
    assert (len(there.requests), await relay.pending("chat")) == (1, 0)
    opened.set()


async def test_what_comes_meanwhile_is_not_waited_for(
    relay: Delivering, receiver: StartReceiver
) -> None:
    """By another replica, or a replay: it is delivered if there is time, and holds up nothing."""
    (opened, hang), (_, never) = gate(), gate()
    first, second = await receiver(hang), await receiver(never)
    await relay.configure(
        first={"url": first.url(), "timeout": "10m"}, second={"url": second.url(), "timeout": "10m"}
    )
    await relay.accept("first")
    await first.wait_for(1)
    began = relay.clock.now()
    flushing = asyncio.ensure_future(flush(relay))
    while relay.clock.now() == began:  # noqa: ASYNC110 - it has begun once the clock moves
        await asyncio.sleep(0)
    await relay.accept("second")
    await second.wait_for(1)
    opened.set()
    assert await flushing < FLUSH - 1
    assert (await relay.pending("first"), await relay.pending("second")) == (0, 1)
