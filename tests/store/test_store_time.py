"""The store's own time: it goes on where it was, whatever was done to the clock."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from circleci_relay.clock import ManualClock, SystemClock
from circleci_relay.model import SECOND, Decision, State
from support.storing import HOUR

if TYPE_CHECKING:
    from circleci_relay.model import Micros
    from support.storing import Open

START: Micros = 1_900_000_000 * SECOND  # ahead of any server's clock, so that it decides nothing
AGAIN = Decision(state=State.PENDING, delay=60.0)


class AgreeingClock(ManualClock):
    """One that moves when told, and when a store knows better."""

    def agree(self, instant: Micros) -> None:
        """Move on to *instant*."""
        self.advance(max(0, instant - self.now()) / SECOND)


async def test_a_clock_set_back_between_two_runs_delays_nothing(open_bench: Open) -> None:
    """A retry due in a minute is due in about a minute, not in an hour and a minute."""
    async with open_bench(clock=AgreeingClock(START)) as bench:
        await bench.accept("chat")
        [claim] = await bench.claim("chat")
        await bench.settle(claim, AGAIN)
    async with open_bench(clock=AgreeingClock(START - HOUR)) as bench:
        assert bench.clock.now() <= START
        bench.clock.advance(60 + 1)  # what is on record is written once a second
        assert len(await bench.claim("chat")) == 1


async def test_a_clock_ahead_by_days_is_taken_for_a_mistake(open_bench: Open) -> None:
    """Time that once stood in another year must not stay there for ever."""
    async with open_bench(clock=AgreeingClock(START + 48 * HOUR)) as bench:
        await bench.accept("chat")
        await bench.store.flush()
    async with open_bench(clock=AgreeingClock(START)) as bench:
        assert bench.clock.now() == START


@pytest.mark.parametrize("ahead", [0, 5 * SECOND, HOUR])
def test_the_real_clock_moves_forward_only(ahead: Micros) -> None:
    """It agrees with who is ahead of it, and never runs backwards for who is behind."""
    clock = SystemClock()
    seen = [clock.now()]
    for instant in (seen[0] + ahead, seen[0] - HOUR, 0):
        clock.agree(instant)
        seen.append(clock.now())
    assert all(earlier <= later for earlier, later in itertools.pairwise(seen))
    assert ahead <= seen[-1] - seen[0] < ahead + 60 * SECOND
