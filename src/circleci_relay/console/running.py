"""In the background: steps of bulk jobs, and what operators said of destinations elsewhere."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from circleci_relay.circleci import payload
from circleci_relay.errors import Malformed, StoreError, StoreUnavailable
from circleci_relay.matching import Subject
from circleci_relay.model import SECOND, State
from circleci_relay.store.encode import facts_of
from circleci_relay.store.repair import controls, jobs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from circleci_relay.clock import Clock
    from circleci_relay.config.model import Config
    from circleci_relay.delivery.dispatcher import Dispatcher
    from circleci_relay.metrics import Metrics
    from circleci_relay.store import Store
    from circleci_relay.store.log.period import Stored
    from circleci_relay.store.repair.jobs import Stepped

log = structlog.get_logger()

LOOK = 1.0
"""Seconds between two looks at what other replicas' operators said."""

TURN = 0.1
"""Seconds to leave a job to the replica that has it in hand: asking at once again costs both."""


class Rerouting:
    """Says where the routes in force send an event that is stored."""

    def __init__(self, in_force: Callable[[], Config]) -> None:
        self._in_force = in_force

    def __call__(self, event: Stored) -> tuple[str, ...]:
        """Return the destinations, none for what is no source's; pure, in whatever thread."""
        config = self._in_force()
        if event.source not in config.sources:
            return ()
        try:
            parsed = payload.parse(event.body)
        except Malformed:
            return ()
        facts = facts_of(event.facts)
        subject = Subject(facts=facts, source=event.source, payload=parsed)
        return config.table.choose(subject, facts.change).destinations


class Running:
    """
    Works on jobs a step at a time, and looks once a second at what was said of destinations.

    Every replica does: a job's row is locked for the time of a step, so it does not matter
    which of them takes the next.
    """

    def __init__(
        self,
        store: Store,
        dispatcher: Dispatcher,
        *,
        clock: Clock,
        metrics: Metrics,
        choose: Callable[[Stored], tuple[str, ...]],
    ) -> None:
        self._store = store
        self._dispatcher = dispatcher
        self._clock = clock
        self._metrics = metrics
        self._choose = choose
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Look at once: there is a job, or there may be."""
        self._woken.set()

    async def look(self) -> controls.Controls:
        """
        Have the lanes do what operators said.

        To be called before lanes are opened, too: nothing slips out of one that is paused.
        """
        found = await self._store.look(controls.read)
        self._dispatcher.control(found.paused, found.retried)
        return found

    async def run(self) -> None:
        """Go on for ever; what the store cannot do now is done later."""
        while True:
            # Cleared before looking, or what comes during the look is lost.
            self._woken.clear()
            wait = LOOK
            try:
                found = await self.look()
                if found.next_job is not None:
                    wait = min(wait, (found.next_job - self._clock.now()) / SECOND)
                if wait <= 0:
                    if await self.work():
                        continue
                    wait = TURN
            except StoreUnavailable:
                wait = LOOK
            except StoreError as error:
                wait = LOOK
                log.error("job_step_refused", error=str(error))  # noqa: TRY400 - its words say it
            await self._pause(wait)

    async def work(self) -> bool:
        """Make steps until none is due, or it is time for another look; False: there was none."""
        until, worked = self._clock.monotonic() + LOOK, False
        while self._clock.monotonic() < until:
            stepped = await self._store.do(lambda unit: jobs.step(unit, self._choose))
            if stepped is None:
                return worked
            worked = True
            self._tell(stepped)
        return worked

    def _tell(self, stepped: Stepped) -> None:
        self._dispatcher.wake(stepped.woken)
        count_cancelled(self._metrics, stepped.cancelled)
        if stepped.fault is not None:
            log.error("job_failed", job=stepped.job, exc_info=stepped.fault)
        elif stepped.finished:
            log.info("job_ended", job=stepped.job, state=stepped.state)

    async def _pause(self, seconds: float) -> None:
        timer = self._clock.call_later(seconds, self._woken.set)
        try:
            await self._woken.wait()
        finally:
            timer.cancel()


def count_cancelled(metrics: Metrics, counts: Mapping[str, int]) -> None:
    """Count deliveries that were cancelled, by destination, once that is durable."""
    for name, count in counts.items():
        metrics.destination(name).deliveries[State.CANCELLED].inc(count)
