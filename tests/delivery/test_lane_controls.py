"""What operators say of destinations, done by their lanes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

import pytest

from circleci_relay.delivery.lane import LaneState
from circleci_relay.model import SECOND
from circleci_relay.store.repair import controls
from support.delivering import Delivering, delivering
from support.gate import gate
from support.receiver import Receiver, answer
from support.repairing import WHO, do

if TYPE_CHECKING:
    from pathlib import Path

    from circleci_relay.clock import ManualClock

StartReceiver = Callable[..., Awaitable[Receiver]]


@pytest.fixture
async def relay(tmp_path: Path, clock: ManualClock) -> AsyncIterator[Delivering]:
    """A store and its lanes."""
    async with delivering(tmp_path / "relay.db", clock) as made:
        yield made


def paused(relay: Delivering) -> Any:
    """What the metric says of `chat`."""
    return relay.dispatcher._metrics.destination("chat").paused._value.get()


async def look(relay: Delivering) -> None:
    """Do what the runner does once a second."""
    found = await relay.store.look(controls.read)
    relay.dispatcher.control(found.paused, found.retried)


async def test_a_pause_outlives_a_restart(
    tmp_path: Path, clock: ManualClock, receiver: StartReceiver
) -> None:
    """Not one attempt slips out, however due; resumed, all goes out."""
    there = await receiver()
    async with delivering(tmp_path / "relay.db", clock) as relay:
        await relay.configure(chat={"url": there.url()})
        await do(relay.store, lambda unit: controls.pause(unit, "chat", why="x", who=WHO))
        await look(relay)
        assert relay.dispatcher.states()["chat"] == LaneState(
            paused=True, by_file=False, breaker_open=False, held_until=None, in_hand=0
        )
        for _ in range(3):
            await relay.accept("chat")
    async with delivering(tmp_path / "relay.db", clock) as relay:
        await look(relay)
        await relay.configure(chat={"url": there.url()})
        for _ in range(20):
            clock.advance(5)
            await asyncio.sleep(0)
        assert (await relay.pending("chat"), there.requests) == (3, [])
        assert paused(relay) == 1
        await relay.configure(chat={"url": there.url()})  # a reload changes nothing of it
        assert await do(relay.store, lambda unit: controls.resume(unit, "chat", who=WHO))
        await look(relay)
        await relay.watch.wait_for(3)
        assert paused(relay) == 0


async def test_a_pause_by_hand_and_by_file(relay: Delivering, receiver: StartReceiver) -> None:
    """Either is enough; only without both attempts begin."""
    there = await receiver()
    await relay.configure(chat={"url": there.url(), "paused": True})
    relay.dispatcher.control({"chat"}, {})
    relay.dispatcher.control(frozenset(), {})
    assert relay.dispatcher.states()["chat"].by_file
    assert paused(relay) == 1
    await relay.accept("chat")
    relay.dispatcher.control({"chat"}, {})
    await relay.configure(chat={"url": there.url()})
    assert not relay.dispatcher.states()["chat"].by_file
    assert (paused(relay), relay.dispatcher.states()["chat"].in_hand) == (1, 0)
    relay.dispatcher.control(frozenset(), {})
    await relay.watch.wait_for(1)


async def test_what_is_in_hand_when_it_is_paused_goes_back(
    relay: Delivering, receiver: StartReceiver
) -> None:
    """The attempt under way ends; those behind it are released, unattempted."""
    opened, hang = gate()
    there = await receiver(hang, answer(200))
    await relay.configure(chat={"url": there.url(), "concurrency": 1})
    await asyncio.gather(*(relay.accept("chat") for _ in range(3)))
    await there.wait_for(1)
    relay.dispatcher.control({"chat"}, {})
    opened.set()
    await relay.watch.wait_for(1)
    while relay.dispatcher.states()["chat"].in_hand:  # noqa: ASYNC110 - it is some turns away
        await asyncio.sleep(0)
    assert (await relay.pending("chat"), len(there.requests)) == (2, 1)
    relay.dispatcher.control(frozenset(), {})
    settlements = await relay.watch.wait_for(3)
    assert [each.claim.attempt for each in settlements] == [1, 1, 1]


@pytest.mark.parametrize("why", ["breaker", "hold"])
async def test_a_retry_forgets_breaker_and_hold(
    relay: Delivering, receiver: StartReceiver, why: str
) -> None:
    """Once for each time that it is asked for; what waits is due, and goes out at once."""
    refusal = answer(500) if why == "breaker" else answer(429, "retry-after: 600")
    there = await receiver(refusal, answer(200))
    retry = {"initial": "10m", "jitter": 0, "max_interval": "20m"}
    breaker = {"failures": 1, "pause": "1h"}
    await relay.configure(chat={"url": there.url(), "retry": retry, "breaker": breaker})
    await relay.accept("chat")
    await relay.watch.wait_for(1)
    state = relay.dispatcher.states()["chat"]
    assert (state.breaker_open, state.held_until is None) == (why == "breaker", why == "breaker")
    if state.held_until is not None:
        assert state.held_until == relay.clock.now() + 600 * SECOND
    await do(relay.store, lambda unit: controls.retry(unit, "chat", held=False, who=WHO))
    assert await relay.store.do(lambda unit: controls.hurry(unit, "chat", held=False)) == 1
    await look(relay)
    await relay.watch.wait_for(2)
    known = dict(relay.dispatcher._retried)
    relay.dispatcher.control(frozenset(), known)
    state = relay.dispatcher.states()["chat"]
    assert (state.breaker_open, state.held_until) == (False, None)
