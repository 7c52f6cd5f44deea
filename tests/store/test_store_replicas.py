"""Several stores on one database: each takes in and delivers, and none gets in another's way."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import psycopg
import pytest

from circleci_relay.clock import ManualClock
from circleci_relay.model import SECOND, Change, Quiet
from support.postgres import name_in
from support.storing import FOREVER, MAIN, opened, until_session

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from circleci_relay.model import Claim
    from support.postgres import Postgres
    from support.storing import Bench


@pytest.fixture
def url(postgresql_url: str) -> str:
    """Of this kind alone."""
    return postgresql_url


@pytest.fixture
async def pair(url: str) -> AsyncIterator[tuple[Bench, Bench]]:
    """Two that have it open, by one clock."""
    clock = ManualClock()
    async with AsyncExitStack() as stack:
        yield (
            await stack.enter_async_context(opened(url, clock=clock)),
            await stack.enter_async_context(opened(url, clock=clock)),
        )


async def test_each_takes_in_and_delivers(pair: tuple[Bench, Bench]) -> None:
    """What one took in the other delivers; keys, charts and backlog are shared."""
    one, two = pair
    for bench in (one, two, one, two):
        await bench.accept("chat")
    for bench in (two, one):
        for claim in await bench.claim("chat", limit=2):
            await bench.settle(claim)

    assert one.watch.fenced == two.watch.fenced == []
    assert len(one.rows("SELECT * FROM events")) == 4
    found = one.rows("SELECT state, attempts FROM deliveries")
    assert found == [{"state": "delivered", "attempts": 1}] * 4
    for bench in pair:
        await bench.store.flush()
    counted = one.row("SELECT sum(count) AS n FROM minutes WHERE kind = 'deliveries'")
    assert counted == {"n": 4}


async def test_the_same_id_at_both_at_once_is_one_event(pair: tuple[Bench, Bench]) -> None:
    """A sender's retry that reaches another replica is known there in the same instant."""
    for n in range(30):
        answers = await asyncio.gather(*(bench.accept("chat", id=f"{n}") for bench in pair * 2))
        assert sum(not answer.duplicate for answer in answers) == 1
        assert len({answer.event for answer in answers}) == 1
    assert len(pair[0].rows("SELECT * FROM deliveries")) == 30
    assert pair[0].row("SELECT sum(duplicates) AS n FROM events") == {"n": 90}


async def test_ids_and_lines_in_opposite_order_hold_nobody_up(pair: tuple[Bench, Bench]) -> None:
    """Batches that overlap, each begun from its own end, neither deadlock nor lose anything."""
    lines = [MAIN, type(MAIN)(source="circleci", project="a", workflow="b", job="", branch="c")]

    async def take_in(bench: Bench, turn: int, *, backwards: bool) -> Counter[bool]:
        intakes = [
            bench.intake("chat", "other", id=f"{turn}-{n // 2}", line=lines[n % 2], good=True)
            for n in range(60)
        ]
        answers = await asyncio.gather(
            *(
                bench.store.accept(intake, deadline=FOREVER)
                for intake in (reversed(intakes) if backwards else intakes)
            )
        )
        return Counter(answer.duplicate for answer in answers)

    for turn in range(5):
        counts = await asyncio.gather(
            take_in(pair[0], turn, backwards=False), take_in(pair[1], turn, backwards=True)
        )
        assert sum(counts, Counter()) == {False: 30, True: 90}
    assert [bench.watch.outages for bench in pair] == [[], []]
    assert len(pair[0].rows("SELECT * FROM events")) == 150
    assert len(pair[0].rows("SELECT * FROM deliveries")) == 300


async def test_what_is_told_once_or_together_is_so_of_both(pair: tuple[Bench, Bench]) -> None:
    """Two that begin the same gathering in the same instant begin one."""
    one, two = pair
    for turn in range(10):
        once = Quiet(once=f"run-{turn}", wait=SECOND)
        group = Quiet(group=f"run-{turn}", wait=SECOND, most=100)
        await asyncio.gather(
            *(
                bench.accept(name, quiet=quiet)
                for _ in range(5)
                for bench in pair
                for name, quiet in (("chat", once), ("mail", group))
            )
        )
    one.clock.advance(1)
    assert len(await one.claim("chat", limit=100)) == 10
    claims = await two.claim("mail", limit=100)
    assert [len(claim.told) for claim in claims] == [10] * 10
    assert one.watch.needless + two.watch.needless == {"chat": 90}
    assert [bench.watch.outages for bench in pair] == [[], []]


async def test_what_another_crossed_is_run_again(url: str, postgres: Postgres) -> None:
    """A deadlock costs a turn, not an outage: nobody hears of it."""
    postgres.query(url, f"ALTER DATABASE {name_in(url)} SET deadlock_timeout = '50ms'")
    async with opened(url) as bench, AsyncExitStack() as stack:
        for name in ("a", "b"):
            await bench.accept("chat", id=name)
        reached = await psycopg.AsyncConnection.connect(postgres.superuser(url))
        other = await stack.enter_async_context(reached)
        await other.execute("SET deadlock_timeout = '1min'")  # it is not this one that gives way
        touch = "UPDATE events SET facts = facts WHERE id = '{}'"
        await other.execute(touch.format("b"))
        repeats = asyncio.gather(*(bench.accept("chat", id=name) for name in ("a", "b")))
        await until_session(postgres, url, "wait_event_type = 'Lock'")
        await other.execute(touch.format("a"))
        await other.commit()
        assert [answer.duplicate for answer in await repeats] == [True, True]
        assert bench.watch.outages == []
        assert bench.rows("SELECT DISTINCT duplicates FROM events") == [{"duplicates": 1}]


async def test_claims_never_overlap(pair: tuple[Bench, Bench]) -> None:
    """However they interleave, each delivery is in one hand; no one waits for the other."""
    await asyncio.gather(*(pair[0].accept("chat") for _ in range(200)))
    taken: list[Claim] = []

    async def work(bench: Bench) -> None:
        while claims := await bench.claim("chat", limit=7):
            taken.extend(claims)
            for claim in claims:
                bench.store.settle(bench.settlement(claim))
        await bench.store.flush()

    await asyncio.gather(*(work(bench) for bench in pair))
    # What the one has locked for a moment the other passes over; it is there the next time.
    await work(pair[0])
    assert len(taken) == 200 == len({claim.delivery for claim in taken})
    assert len({claim.token for claim in taken}) == 200
    assert pair[0].watch.fenced == pair[1].watch.fenced == []
    assert pair[0].row("SELECT DISTINCT state FROM deliveries") == {"state": "delivered"}


async def test_a_lapsed_lease_is_taken_over_and_the_late_settle_fenced(
    pair: tuple[Bench, Bench],
) -> None:
    """One that was asleep for longer than its lease no longer decides; both attempts stand."""
    asleep, awake = pair
    await asleep.accept("chat")
    [late] = await asleep.claim("chat")
    assert await awake.claim("chat") == []
    awake.clock.advance(40)
    [held] = await awake.claim("chat")
    assert held.attempt == 2
    assert awake.watch.losses == {"chat": 1}

    fenced = await asleep.settle(late)
    assert asleep.watch.fenced == [fenced]
    assert awake.row("SELECT state FROM deliveries") == {"state": "pending"}
    await awake.settle(held)
    assert awake.watch.fenced == []
    assert awake.row("SELECT state, attempts FROM deliveries") == {
        "state": "delivered",
        "attempts": 2,
    }


async def test_a_start_voids_nobodys_lease(url: str) -> None:
    """A replica that joins or comes back leaves what others have under way with them."""
    clock = ManualClock()
    async with opened(url, clock=clock) as first:
        await first.store.reconcile(["chat"])
        await first.accept("chat")
        [claim] = await first.claim("chat")
        async with opened(url, clock=clock) as second:
            assert await second.claim("chat") == []
            await second.store.reconcile(["chat"])
        await first.settle(claim)
        assert [each.claim for each in first.watch.held] == [claim]


async def test_what_a_dead_replica_had_is_taken_over_when_its_lease_ends(url: str) -> None:
    """Not before: it might only be slow."""
    clock = ManualClock()
    async with opened(url, clock=clock) as dead:
        await dead.accept("chat", body=b"under way")
        await dead.claim("chat")
    async with opened(url, clock=clock) as bench:
        assert await bench.claim("chat") == []
        clock.advance(40)
        [claim] = await bench.claim("chat")
        assert (claim.body, claim.attempt) == (b"under way", 2)
        assert bench.watch.losses == {"chat": 1}


async def test_change_is_told_across_replicas(pair: tuple[Bench, Bench]) -> None:
    """A line is one line, whoever of them takes its events in."""
    one, two = pair
    answers = [
        await bench.accept(line=MAIN, good=good, number=number)
        for number, (bench, good) in enumerate(
            [(one, True), (two, False), (one, False), (two, True)]
        )
    ]
    assert [answer.change for answer in answers] == [
        None,
        Change.BROKEN,
        Change.STILL_BROKEN,
        Change.FIXED,
    ]


async def test_many_turns_of_a_line_at_once_are_told_in_some_order(
    pair: tuple[Bench, Bench],
) -> None:
    """Each turn is told exactly once, however two replicas race for it."""
    await pair[0].accept(line=MAIN, good=True, number=1)
    answers = await asyncio.gather(
        *(
            pair[n % 2].accept(line=MAIN, good=False, number=2, id=f"same-line-{n}")
            for n in range(40)
        )
    )
    assert Counter(answer.change for answer in answers) == {
        Change.BROKEN: 1,
        Change.STILL_BROKEN: 39,
    }


async def test_reconciled_by_both_at_once(pair: tuple[Bench, Bench]) -> None:
    """Replicas that reload together agree, and none fails for the other."""
    await pair[0].store.reconcile(["a", "b"])
    for names in (["b", "c"], ["a", "c"], ["c", "b", "a"]):
        pair[0].clock.advance(60)
        standing = await asyncio.gather(*(bench.store.reconcile(names) for bench in pair))
        assert standing[0] == standing[1]
    assert [bench.watch.outages for bench in pair] == [[], []]
