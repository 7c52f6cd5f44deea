"""What waits, where events come close together, late, or by way of several replicas."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from circleci_relay.clock import ManualClock
from circleci_relay.model import SECOND, Quiet
from support.postgres import name_in
from support.storing import FOREVER, MAIN, Bench, opened

if TYPE_CHECKING:
    from circleci_relay.model import Intake
    from support.postgres import Postgres

HOLD = Quiet(hold=600 * SECOND)
GROUP = Quiet(group="run", wait=30 * SECOND, most=50)
JOBS = [
    type(MAIN)(source="circleci", project="p", workflow="w", job=job, branch="b") for job in "abcd"
]


async def together(bench: Bench, *intakes: Intake) -> list[str]:
    """Take them in by one transaction; their public ids."""
    answers = await asyncio.gather(
        *(bench.store.accept(intake, deadline=FOREVER) for intake in intakes)
    )
    return [answer.event for answer in answers]


async def test_a_late_success_takes_nothing_back(bench: Bench) -> None:
    """An earlier pipeline's: the line is still as broken as the later one left it."""
    await bench.accept(line=MAIN, good=True, number=7)
    broken = await bench.accept("chat", line=MAIN, good=False, number=8, quiet=HOLD)
    bench.clock.advance(60)
    late = await bench.accept("chat", line=MAIN, good=True, number=7, quiet=HOLD)
    [claim] = await bench.claim("chat")
    assert claim.event == late.event
    await bench.settle(claim)
    bench.clock.advance(600)
    assert [claim.event for claim in await bench.claim("chat")] == [broken.event]


async def test_a_success_just_before_says_nothing_of_what_follows(bench: Bench) -> None:
    """Though it is written in the same transaction, later than the other was received."""
    good = bench.intake(line=MAIN, good=True)
    bench.clock.advance(0.001)
    unsure = bench.intake("chat", line=MAIN, good=None, quiet=HOLD)
    bench.clock.advance(0.001)
    _, held = await together(bench, good, unsure)
    bench.clock.advance(600)
    assert [claim.event for claim in await bench.claim("chat")] == [held]


async def test_a_success_in_between_is_seen_though_all_is_broken_again(bench: Bench) -> None:
    """Also by what says nothing of the line itself, such as a cancelled run."""
    await bench.accept(line=MAIN, good=False)
    bench.clock.advance(1)
    await bench.accept("chat", line=MAIN, good=None, quiet=HOLD)
    for good in (True, False):
        bench.clock.advance(1)
        await bench.accept(line=MAIN, good=good)
    bench.clock.advance(600)
    assert await bench.claim("chat") == []


async def test_a_clock_behind_hides_no_failure(bench: Bench) -> None:
    """Of two in a row, the second of which was received by a clock that is late."""
    bench.clock.advance(10)
    first = bench.intake("chat", line=MAIN, good=False, quiet=HOLD)
    bench.clock.advance(-5)
    second = bench.intake("chat", line=MAIN, good=False, quiet=HOLD)
    bench.clock.advance(5)
    for intake in (first, second):
        await bench.store.accept(intake, deadline=FOREVER)
    bench.clock.advance(600)
    assert len(await bench.claim("chat")) == 2


async def test_events_are_told_in_the_order_they_came(postgresql_url: str) -> None:
    """By way of whichever replica: the newest is the last of them."""
    clock = ManualClock()
    async with (
        opened(postgresql_url, clock=clock) as one,
        opened(postgresql_url, clock=clock) as two,
    ):
        events = []
        for bench in (two, one, two, one, one, two):
            events.append((await bench.accept("chat", quiet=GROUP)).event)
            clock.advance(1)
        clock.advance(30)
        [claim] = await one.claim("chat")
        assert [told.event for told in claim.told] == events


async def test_replicas_wait_for_each_other_and_never_both(
    postgres: Postgres, postgresql_url: str
) -> None:
    """Jobs of the same runs, broken and mended at both at once; a deadlock costs a second."""
    clock = ManualClock()
    async with AsyncExitStack() as stack:
        pair = [
            await stack.enter_async_context(opened(postgresql_url, clock=clock)) for _ in range(2)
        ]
        one, two = pair
        for turn in range(20):
            both = Quiet(hold=600 * SECOND, once=f"run-{turn}", wait=SECOND)
            await one.accept("chat", line=JOBS[0], good=False, quiet=both)
            mended = [one.intake("chat", line=JOBS[0], good=True, quiet=both) for _ in range(3)]
            others = [two.intake("chat", line=job, good=True, quiet=both) for job in JOBS[1:]]
            await asyncio.gather(together(one, *mended), together(two, *others))
        assert [bench.watch.outages for bench in pair] == [[], []]
    found = postgres.query(
        "postgres",
        "SELECT deadlocks FROM pg_stat_database WHERE datname = %s",
        name_in(postgresql_url),
    )
    assert found == [{"deadlocks": 0}]


async def test_an_id_that_is_no_text_is_one_as_well(bench: Bench) -> None:
    """A payload may name its run by half a character; that is still the same run."""
    quiet = Quiet(once="\ud800", wait=SECOND)
    for _ in range(2):
        last = await bench.accept("chat", quiet=quiet)
    bench.clock.advance(1)
    assert [claim.event for claim in await bench.claim("chat")] == [last.event]
