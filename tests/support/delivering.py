"""Store and lanes at work, without the doors: for tests of delivering."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from circleci_relay.config.model import Destination
from circleci_relay.delivery.compose import Surroundings
from circleci_relay.delivery.dispatcher import Dispatcher
from circleci_relay.delivery.tally import Tally
from circleci_relay.metrics import Metrics
from circleci_relay.redaction import Redaction
from circleci_relay.store import Store
from support.build import an_intake

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from circleci_relay.clock import Clock, ManualClock
    from circleci_relay.model import Quiet, Settlement


class Watcher(Tally):
    """Counts as the program does, and lets a test wait for settlements."""

    def __init__(self, metrics: Metrics) -> None:
        super().__init__(metrics)
        self.settlements: list[Settlement] = []
        self.fenced: list[Settlement] = []
        self._changed = asyncio.Condition()
        self._notices: set[asyncio.Task[None]] = set()

    def settled(self, held: Sequence[Settlement], fenced: Sequence[Settlement]) -> None:
        """See `Tally`."""
        super().settled(held, fenced)
        self.settlements += held
        self.fenced += fenced
        notice = asyncio.get_running_loop().create_task(self._notify())
        self._notices.add(notice)
        notice.add_done_callback(self._notices.discard)

    def lost_leases(self) -> float:
        """How many deliveries were dropped because their lease would run out."""
        [sample] = [
            sample
            for metric in self._metrics.leases_lost_total.collect()
            for sample in metric.samples
            if sample.name.endswith("_total")
        ]
        return float(sample.value)

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def wait_for(self, count: int) -> list[Settlement]:
        """Return the settlements once *count* of them are durable."""
        async with asyncio.timeout(10), self._changed:
            await self._changed.wait_for(lambda: len(self.settlements) >= count)
        return self.settlements


class Delivering:
    """A store and its lanes."""

    def __init__(self, store: Store, dispatcher: Dispatcher, watch: Watcher) -> None:
        self.store = store
        self.dispatcher = dispatcher
        self.watch = watch
        self.clock: ManualClock = dispatcher._clock  # type: ignore[assignment]
        self._number = 0
        self.surroundings = Surroundings()

    async def configure(self, **settings: dict[str, Any]) -> None:
        """Deliver to these destinations from here on."""
        destinations = {
            name: Destination.model_validate(each).named(name) for name, each in settings.items()
        }
        senders = self.dispatcher.prepare(destinations)
        stopped = await self.store.reconcile(tuple(destinations))
        self.dispatcher.configure(destinations, senders, stopped, self.surroundings)

    async def accept(self, *destinations: str, quiet: Quiet | None = None, **given: Any) -> str:
        """Take in one event for *destinations*; return the relay's id of it."""
        self._number += 1
        intake = an_intake(self.clock, self._number, *destinations, quiet=quiet, **given)
        accepted = await self.store.accept(intake, deadline=self.clock.monotonic() + 5)
        return accepted.event

    async def emptied(self, destination: str) -> None:
        """Return once nothing waits at *destination*."""
        async with asyncio.timeout(10):
            while await self.pending(destination):  # noqa: ASYNC110 - the database tells
                await asyncio.sleep(0)

    async def limit_pages(self, pages: int) -> None:
        """Let the file grow to so many pages: as if a disk filled up, or had room again."""
        driver = self.store._link.connection.connection.driver_connection
        assert driver is not None
        await self.store._in_thread(driver.execute, f"PRAGMA max_page_count={pages}")

    async def pending(self, destination: str) -> int:
        """How many deliveries wait at *destination*."""
        await self.store.flush()
        backlog = (await self.store.backlog()).get(destination)
        return backlog.pending if backlog else 0


@asynccontextmanager
async def delivering(
    path: Path | str, clock: Clock, options: str = ""
) -> AsyncIterator[Delivering]:
    """Run a store at *path*, or at a URL, and its lanes for as long as the block lasts."""
    metrics = Metrics(process=False)
    dispatcher = Dispatcher(clock=clock, metrics=metrics, redact=Redaction())
    watch = Watcher(metrics)
    url = path if isinstance(path, str) else f"sqlite:///{path}{options}"
    store = await Store.open(url, clock=clock, lanes=dispatcher, watch=watch)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(store.run())
        dispatcher.begin(store, tasks)
        try:
            yield Delivering(store, dispatcher, watch)
        finally:
            await dispatcher.stop(0.0)
            await dispatcher.disconnect()
            await store.close()
