"""Delivering what is pending before the end, for as long as `server.shutdown.flush` allows."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import structlog

from circleci_relay.errors import StoreError
from circleci_relay.model import SECOND
from circleci_relay.store.repair import controls

if TYPE_CHECKING:
    from collections.abc import Mapping

    from circleci_relay.clock import Clock
    from circleci_relay.delivery.dispatcher import Dispatcher
    from circleci_relay.model import Backlog, Micros
    from circleci_relay.store import Store
    from circleci_relay.upkeep import Upkeep

LOOK = 0.2
"""Seconds between two counts of what is left."""

GENTLE = 5
"""How many times as long as a count took is waited before the next: lanes read there, too."""

SURE = 2
"""How many looks in a row must find that nothing more can be delivered in time."""

SAY = 5.0
"""Seconds between two lines in the log that say how many are left."""

LAST = 3.0
"""Seconds the last count may take: the end does not wait for a database that hangs."""

log = structlog.get_logger()


@dataclass(kw_only=True)
class Flush:
    """
    Waits for what is pending when nothing is taken in any more; the lanes deliver it.

    Counted is what was there when it began, at destinations that take something: none that
    is paused or gone. What other replicas take in meanwhile is theirs, as is what they have
    under way. A delivery whose next attempt lies past the end is not waited for either.
    """

    store: Store
    dispatcher: Dispatcher
    upkeep: Upkeep
    clock: Clock
    gentle: float = GENTLE
    _hurried: dict[str, Micros] = field(default_factory=dict)
    """When all that waited was made due, by destination."""
    _backlogs: Mapping[str, Backlog] = field(default_factory=dict)

    async def run(self, seconds: float) -> None:
        """Return once nothing is left that could be delivered, after *seconds* at most."""
        waiting = asyncio.ensure_future(self._wait(self.clock.monotonic() + seconds))
        # So that a database that hangs does not hold up the end.
        timer = self.clock.call_later(seconds, waiting.cancel)
        try:
            await asyncio.wait({waiting})
        finally:
            timer.cancel()
            waiting.cancel()
        if not waiting.cancelled():
            waiting.result()
        with suppress(StoreError, TimeoutError):  # then it tells of the count before
            async with asyncio.timeout(LAST):
                await self.store.flush()
                self._backlogs = (await self.upkeep.count()).backlogs
        self._tell()

    async def _wait(self, until: float) -> None:
        calm = 0
        said: float | None = None
        while True:
            pause = LOOK
            with suppress(StoreError):  # it may come back before the time is out
                pause = await self._look()
                now = self.clock.monotonic()
                if said is None or now - said >= SAY:
                    event = "flush_begun" if said is None else "flush_under_way"
                    log.info(event, pending=self._owing(), seconds_left=round(until - now, 1))
                    said = now
                if await self._hurry():
                    continue  # to be counted anew: what was held is owed from just now on
                pending = await self._count(until)
                # What was claimed just then looks, for a moment, as if it were due too late.
                calm = 0 if pending else calm + 1
                if calm >= SURE or not any(map(self._holds, self._taking())):
                    return
            await self.clock.sleep(pause)

    async def _look(self) -> float:
        """Count what waits; return how long to wait before the next look."""
        census = await self.upkeep.count()
        self._backlogs = census.backlogs
        return max(LOOK, self.gentle * census.took)

    def _owing(self) -> int:
        return sum(self._backlogs[name].pending for name in filter(self._holds, self._taking()))

    async def _hurry(self) -> bool:
        """
        Make due what waits, and forget what kept it waiting: once at each destination.

        Returns whether there was a destination left to do so at.
        """
        slow = sorted(self._taking() - self._hurried.keys())
        for name in slow:
            # In a database that others share, what is held on purpose is in no danger.
            step = partial(controls.hurry, name=name, held=not self.store.shared)
            last = await self.store.do(step)
            self.dispatcher.retry(name)
            while last >= controls.STEP:
                last = await self.store.do(step)
                self.dispatcher.wake([name])
            self._hurried[name] = self.clock.now()
        return bool(slow)

    def _taking(self) -> set[str]:
        """Return the destinations that something can be delivered to."""
        states = self.dispatcher.states()
        return {name for name, state in states.items() if not state.paused}

    async def _count(self, until: float) -> int:
        """How many deliveries may still be made before *until*."""
        count = 0
        for name in self._taking():
            if self._holds(name) and await self._may_go_on(name, until):
                count += self._backlogs[name].pending
        return count

    def _holds(self, name: str) -> bool:
        """Whether something waits at *name* that did so when it began."""
        backlog, since = self._backlogs.get(name), self._hurried.get(name)
        if backlog is None or backlog.oldest is None:
            return False
        return since is None or backlog.oldest <= since

    async def _may_go_on(self, name: str, until: float) -> bool:
        due = await self.store.next_due(name)
        left = round((until - self.clock.monotonic()) * SECOND)
        state = self.dispatcher.states().get(name)
        if due is None or state is None or state.in_hand:
            return due is not None
        begins = max(due, state.probe_at or 0, state.held_until or 0)
        return begins <= self.clock.now() + left

    def _tell(self) -> None:
        """Say what stays in the store, for the next start or for another replica."""
        waiting = {name: each.pending for name, each in self._backlogs.items() if each.pending}
        taking = self._taking()
        left = {name: waiting[name] for name in waiting.keys() & taking if self._holds(name)}
        aside = {name: waiting[name] for name in waiting.keys() - taking}
        tell = log.warning if left else log.info
        tell("flush_ended", left=left, paused_or_gone=aside)
