"""Lanes on a real store and real receivers: each destination on its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING

import pytest

from circleci_relay.errors import StoreUnavailable
from circleci_relay.model import Reason, Result, State
from support.delivering import Delivering, delivering
from support.receiver import Receiver, answer

if TYPE_CHECKING:
    from pathlib import Path

    from circleci_relay.clock import ManualClock

StartReceiver = Callable[..., Awaitable[Receiver]]


@pytest.fixture
async def relay(tmp_path: Path, clock: ManualClock) -> AsyncIterator[Delivering]:
    """A store and its lanes."""
    async with delivering(tmp_path / "relay.db", clock) as made:
        yield made


async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Say nothing until the other side gives up."""
    await reader.read()


async def test_a_receiver_that_fails_n_times_gets_n_plus_one_attempts(
    relay: Delivering, receiver: StartReceiver
) -> None:
    """All under one webhook-id, each numbered, each after its interval."""
    there = await receiver(answer(500), answer(500), answer(503), answer(200))
    await relay.configure(chat={"url": there.url(), "retry": {"jitter": 0}})
    event = await relay.accept("chat")
    for attempts, interval in ((1, 1), (2, 2), (3, 4)):
        settlements = await relay.watch.wait_for(attempts)
        assert settlements[-1].decision.delay == interval
        relay.clock.advance(interval)
    await relay.watch.wait_for(4)

    assert [request.headers["relay-attempt"] for request in there.requests] == ["1", "2", "3", "4"]
    assert {request.headers["webhook-id"] for request in there.requests} == {f"{event}-chat"}
    assert [each.decision.state for each in relay.watch.settlements] == [
        State.PENDING,
        State.PENDING,
        State.PENDING,
        State.DELIVERED,
    ]
    await relay.emptied("chat")


async def test_a_410_is_tried_once(relay: Delivering, receiver: StartReceiver) -> None:
    """Dead on the first attempt, and said why."""
    there = await receiver(answer(410))
    await relay.configure(chat={"url": there.url()})
    await relay.accept("chat")
    [settlement] = await relay.watch.wait_for(1)
    assert (settlement.decision.state, settlement.decision.reason) == (State.DEAD, Reason.REFUSED)
    assert len(there.requests) == 1
    assert (await relay.store.backlog())["chat"].dead == 1


async def test_a_hung_destination_holds_back_nobody_else(
    relay: Delivering, receiver: StartReceiver
) -> None:
    """A hundred events arrive at one destination while the other answers nothing."""
    dead, alive = await receiver(hang), await receiver()
    await relay.configure(hung={"url": dead.url(), "timeout": "30s"}, chat={"url": alive.url()})
    await asyncio.gather(*(relay.accept("hung", "chat") for _ in range(100)))
    await alive.wait_for(100)
    assert {each.claim.destination for each in await relay.watch.wait_for(100)} == {"chat"}
    assert await relay.pending("hung") == 100


async def test_concurrency_bounds_attempts_under_way(
    relay: Delivering, receiver: StartReceiver
) -> None:
    """With `concurrency: 3`, a hung destination sees three requests of fifty."""
    there = await receiver(hang)
    await relay.configure(chat={"url": there.url(), "timeout": "30s", "concurrency": 3})
    await asyncio.gather(*(relay.accept("chat") for _ in range(50)))
    await there.wait_for(3)
    await relay.store.flush()
    assert len(there.requests) == 3


async def test_a_rate_limit_is_kept_from_the_first_second(
    relay: Delivering, receiver: StartReceiver
) -> None:
    """At one an hour, a burst of twenty makes one attempt."""
    there, other = await receiver(), await receiver()
    await relay.configure(
        chat={"url": there.url(), "rate_limit": "1/h"}, other={"url": other.url()}
    )
    await asyncio.gather(*(relay.accept("chat", "other") for _ in range(20)))
    await other.wait_for(20)
    assert len(await there.wait_for(1)) == 1


async def test_a_rate_slower_than_the_leases_still_delivers(
    relay: Delivering, receiver: StartReceiver
) -> None:
    """What lost its lease waiting for its turn is dropped, counted, and goes at its next claim."""
    there = await receiver()
    await relay.configure(chat={"url": there.url(), "rate_limit": "2/s"})
    for _ in range(2):
        await relay.accept("chat")
    await there.wait_for(1)
    relay.clock.advance(60)
    await there.wait_for(2)
    await relay.emptied("chat")
    assert relay.watch.lost_leases() == 1


async def test_lowering_concurrency_leaves_someone_to_work(
    relay: Delivering, receiver: StartReceiver
) -> None:
    """Attempts that end together after the change do not all leave."""
    dead, alive = await receiver(hang), await receiver()
    settings = {"timeout": "300ms", "retry": {"initial": "1s", "jitter": 0}, "breaker": None}
    await relay.configure(chat={"url": dead.url(), "concurrency": 8, **settings})
    await asyncio.gather(*(relay.accept("chat") for _ in range(30)))
    await dead.wait_for(8)
    await relay.configure(chat={"url": alive.url(), "concurrency": 2, **settings})
    # All first attempts: on a slow disk more than eight of them went to the dead one.
    await relay.watch.wait_for(30)
    relay.clock.advance(2)
    await alive.wait_for(30)
    await relay.emptied("chat")


async def test_old_deliveries_are_not_starved_by_new_ones(
    relay: Delivering, receiver: StartReceiver
) -> None:
    """What waited while the destination was paused goes before what comes after."""
    there = await receiver()
    settings = {"url": there.url(), "concurrency": 1}
    await relay.configure(chat={**settings, "paused": True})
    old = [await relay.accept("chat") for _ in range(30)]
    relay.clock.advance(1)
    await relay.configure(chat=settings)
    new = await asyncio.gather(*(relay.accept("chat") for _ in range(30)))
    requests = await there.wait_for(60)
    order = [request.headers["webhook-id"].removesuffix("-chat") for request in requests]
    assert order[:30] == old
    assert sorted(order[30:]) == sorted(new)


async def test_a_paused_destination_gets_nothing_and_loses_nothing(
    relay: Delivering, receiver: StartReceiver
) -> None:
    """It waits, and goes out when the pause ends."""
    there = await receiver()
    await relay.configure(chat={"url": there.url(), "paused": True})
    await relay.accept("chat")
    assert await relay.pending("chat") == 1
    assert there.requests == []
    await relay.configure(chat={"url": there.url()})
    await there.wait_for(1)


async def test_the_breaker_stops_attempts_and_one_probe_reopens(
    relay: Delivering, receiver: StartReceiver
) -> None:
    """Three failures open it; after the pause one probe closes it and all the rest follows."""
    there = await receiver(answer(500), answer(500), answer(500), answer(200))
    await relay.configure(
        chat={
            "url": there.url(),
            "concurrency": 1,
            "retry": {"initial": "600s"},
            "breaker": {"failures": 3, "pause": "30s"},
        }
    )
    for _ in range(10):
        await relay.accept("chat")
    await relay.watch.wait_for(3)
    await relay.store.flush()
    assert len(there.requests) == 3
    relay.clock.advance(30)
    await there.wait_for(13 - 3)
    # Those that failed were due only in ten minutes: closing made them due at once.
    await there.wait_for(3 + 10)
    await relay.emptied("chat")


async def test_retry_after_holds_the_whole_destination(
    relay: Delivering, receiver: StartReceiver
) -> None:
    """After a 429 with 60 s nothing is sent for 60 s, then everything."""
    there = await receiver(answer(429, "retry-after: 60"), answer(200))
    await relay.configure(chat={"url": there.url(), "concurrency": 1})
    await relay.accept("chat")
    await relay.watch.wait_for(1)
    for _ in range(5):
        await relay.accept("chat")
    relay.clock.advance(59)
    await relay.store.flush()
    assert len(there.requests) == 1
    relay.clock.advance(1)
    await there.wait_for(7)


async def test_a_removed_destination_keeps_what_waits_and_its_age_stops(
    relay: Delivering, receiver: StartReceiver
) -> None:
    """Ten days out of the file do not age a delivery past its max_age of three."""
    failing, there = await receiver(answer(500)), await receiver()
    await relay.configure(chat={"url": failing.url(), "retry": {"initial": "60s", "jitter": 0}})
    await relay.accept("chat")
    await relay.watch.wait_for(1)
    await relay.configure(other={"url": there.url()})
    relay.clock.advance(10 * 86_400)
    assert await relay.pending("chat") == 1
    await relay.configure(chat={"url": failing.url(), "retry": {"initial": "60s", "jitter": 0}})
    settlements = await relay.watch.wait_for(2)
    assert settlements[-1].decision.state is State.PENDING


async def test_a_changed_url_is_used_for_what_waits(
    relay: Delivering, receiver: StartReceiver
) -> None:
    """Deliveries follow their destination's name."""
    wrong, right = await receiver(answer(500)), await receiver()
    await relay.configure(chat={"url": wrong.url(), "retry": {"initial": "1s", "jitter": 0}})
    await relay.accept("chat")
    await relay.watch.wait_for(1)
    await relay.configure(chat={"url": right.url()})
    relay.clock.advance(1)
    await right.wait_for(1)
    assert len(wrong.requests) == 1


async def test_stopping_gives_back_what_was_not_attempted(
    tmp_path: Path, clock: ManualClock, receiver: StartReceiver
) -> None:
    """At the end of the drain a hung attempt counts as lost, the rest as never made."""
    there = await receiver(hang)
    async with delivering(tmp_path / "relay.db", clock) as relay:
        await relay.configure(chat={"url": there.url(), "timeout": "20s", "concurrency": 1})
        for _ in range(3):
            await relay.accept("chat")
        await there.wait_for(1)
    [settlement] = relay.watch.settlements
    assert settlement.outcome.result is Result.LOST

    good = await receiver()
    async with delivering(tmp_path / "relay.db", clock) as relay:
        await relay.configure(chat={"url": good.url(), "timeout": "20s", "concurrency": 1})
        requests = await good.wait_for(3)
    assert sorted(request.headers["relay-attempt"] for request in requests) == ["1", "1", "2"]


async def test_while_the_store_is_away_no_attempt_is_repeated(
    relay: Delivering, receiver: StartReceiver
) -> None:
    """A full disk stops attempts; once there is room all goes on, each delivery sent once."""
    there = await receiver()
    await relay.configure(chat={"url": there.url()})
    accepted = [await relay.accept("chat") for _ in range(20)]
    await relay.limit_pages(1)
    with pytest.raises(StoreUnavailable):  # noqa: PT012 - how many fit is not the point
        while True:
            accepted.append(await relay.accept("chat"))
    assert not relay.store.available.is_set()
    for _ in range(5):
        # Leases lapse meanwhile: nothing is taken up again for that.
        relay.clock.advance(20)
        await asyncio.sleep(0)
    sent = len(there.requests)
    assert sent <= len(accepted)
    await relay.limit_pages(1_000_000)
    while not relay.store.available.is_set():
        relay.clock.advance(1)
        await asyncio.sleep(0)
    accepted.append(await relay.accept("chat"))
    await there.wait_for(len(accepted))
    await relay.emptied("chat")
    arrived = [request.headers["webhook-id"] for request in there.requests]
    assert sorted(arrived) == sorted(f"{event}-chat" for event in accepted)
