"""What goes on beside the flow: counting what waits, ageing out, keeping times sane."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import structlog

from circleci_relay.config.model import Rejects
from circleci_relay.errors import StoreUnavailable
from circleci_relay.model import SECOND, State
from circleci_relay.store.log.rejects import sources
from circleci_relay.store.log.standings import filled
from circleci_relay.store.repair.rejects import forget

if TYPE_CHECKING:
    from collections.abc import Mapping

    from circleci_relay.clock import Clock
    from circleci_relay.config.model import Config
    from circleci_relay.metrics import Metrics
    from circleci_relay.model import Backlog, Micros
    from circleci_relay.store import Store

log = structlog.get_logger()

GAUGES = 5.0
"""Seconds between two counts of what waits."""

FRESH = SECOND
"""A count older than this, in microseconds, is made anew for whoever looks; see `QUICK`."""

QUICK = 0.02
"""Seconds; where the last count took longer, whoever looks is told of that one."""

AGE_OUT = 60.0
"""Seconds between two rounds of ageing out."""

STEP = 500
"""Rows one transaction of ageing out touches, so that nothing waits long behind it."""

AHEAD = 86_400.0
"""Seconds beyond the longest interval at which a due time can only be a clock's mistake."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Census:
    """What was counted of all that waits."""

    at: Micros
    backlogs: Mapping[str, Backlog]  #: by destination; those that hold nothing are left out
    size: int  #: bytes on disk
    took: float  #: seconds


class Upkeep:
    """The store's housekeeping, in steps so small that the flow does not notice."""

    def __init__(self, *, store: Store, clock: Clock, metrics: Metrics) -> None:
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._config: Config | None = None
        self._census: Census | None = None

    def configure(self, config: Config) -> None:
        """Go on with *config*."""
        self._config = config

    async def gauge(self) -> None:
        """Count what waits, for ever."""
        while True:
            with suppress(StoreUnavailable):
                await self.count()
            await self._clock.sleep(GAUGES)

    async def census(self) -> Census:
        """What was counted just now, or, where counting takes long, some seconds ago."""
        last = self._census
        if last is None:
            return await self.count()
        if last.took < QUICK and self._clock.now() - last.at > FRESH:
            with suppress(StoreUnavailable):
                return await self.count()
        return last

    async def age_out(self) -> None:
        """End what waited too long and forget what is old, for ever."""
        while True:
            await self._clock.sleep(AGE_OUT)
            try:
                await self._store.agree()
                await self.round()
            except StoreUnavailable:
                log.info("age_out_postponed")

    async def round(self) -> None:
        """Do one whole round of ageing out."""
        config = self._config
        if config is None:
            return
        keep = round(config.store.keep * SECOND)
        step = await self._store.age_out(keep=keep, cursor=None, limit=STEP)
        pruned = step.pruned
        self._note(step.expired)
        while step.cursor is not None:
            step = await self._store.age_out(keep=keep, cursor=step.cursor, limit=STEP)
            pruned += step.pruned
            self._note(step.expired)
        if pruned:
            log.info("events_aged_out", count=pruned)
            while await self._store.vacuum(pages=STEP):
                pass
        longest = max((d.retry.max_interval for d in config.destinations.values()), default=0.0)
        await self._forget_rejects(config)
        await self._store.unlead()
        await self._store.clamp(ahead=round((longest + AHEAD) * SECOND), limit=STEP)

    async def _forget_rejects(self, config: Config) -> None:
        """Let go of what was turned away long ago, or is more than is kept."""
        for name in await self._store.look(sources):
            # Of a source that is gone, as long as it would be kept by default.
            source = config.sources.get(name)
            kept = Rejects() if source is None else source.rejects
            step = partial(forget, source=name, keep=round(kept.keep * SECOND), most=kept.max)
            while await self._store.do(step):
                pass

    def _note(self, expired: Mapping[str, int]) -> None:
        for destination, count in expired.items():
            self._metrics.destination(destination).deliveries[State.DEAD].inc(count)
            log.error("deliveries_expired", destination=destination, count=count)

    async def count(self) -> Census:
        """Count what waits now."""
        now, began = self._clock.now(), time.monotonic()
        backlogs, size = await self._store.backlog(), await self._store.size()
        used = await self._store.look(filled)
        took = time.monotonic() - began
        census = Census(at=now, backlogs=backlogs, size=size, took=took)
        self._census = census
        self._metrics.set_backlogs(census.backlogs, now=self._clock.now())
        self._metrics.store_size_bytes.set(census.size)
        self._metrics.store_filled_ratio.set(used or 0.0)
        return census
