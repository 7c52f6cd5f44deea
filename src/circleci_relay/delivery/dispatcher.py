"""All the lanes: what the store hands work to, and what a reload changes."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from circleci_relay.delivery.lane import Lane, LaneState
from circleci_relay.delivery.sender import Sender
from circleci_relay.store.lanes import Offer

if TYPE_CHECKING:
    from collections.abc import Collection, Coroutine, Iterable, Mapping, Sequence

    from circleci_relay.clock import Clock
    from circleci_relay.config.model import Destination
    from circleci_relay.delivery.compose import Surroundings
    from circleci_relay.metrics import Metrics
    from circleci_relay.model import Claim, Micros
    from circleci_relay.redaction import Redact
    from circleci_relay.store import Store


class Dispatcher:
    """One lane per configured destination, so that none can slow another."""

    def __init__(self, *, clock: Clock, metrics: Metrics, redact: Redact) -> None:
        self._clock = clock
        self._metrics = metrics
        self._redact = redact
        self._lanes: dict[str, Lane] = {}
        self._senders: dict[str, Sender] = {}
        self._offered: tuple[Lane, ...] = ()
        self._retiring: set[asyncio.Task[None]] = set()  # lanes of destinations that are gone
        self._outlived: set[asyncio.Task[None]] = set()  # senders that were replaced
        self._stopped = False
        self._paused: Collection[str] = frozenset()  # by hand
        self._retried: dict[str, Micros] = {}
        self._begun: tuple[Store, asyncio.TaskGroup] | None = None

    def begin(self, store: Store, tasks: asyncio.TaskGroup) -> None:
        """Let lanes work on *store*, in *tasks*: one that dies takes the program with it."""
        self._begun = store, tasks

    def prepare(self, destinations: Mapping[str, Destination]) -> dict[str, Sender]:
        """
        Make a sender for each destination that is new or changed; nothing is put to use yet.

        A certificate that does not load raises StartupError here, before a reload has
        changed anything.
        """
        senders: dict[str, Sender] = {}
        for name, destination in destinations.items():
            if name not in self._lanes or self._lanes[name].destination != destination:
                senders[name] = Sender(destination, clock=self._clock, redact=self._redact)
        return senders

    def configure(
        self,
        destinations: Mapping[str, Destination],
        senders: Mapping[str, Sender],
        stopped: Mapping[str, Micros],
        surroundings: Surroundings,
    ) -> None:
        """
        Go on with *destinations*, over the *senders* that `prepare` made for them.

        All of them tell of the *surroundings* from here on.
        Lanes keep what they have in hand; what waits for a destination that is gone goes
        back to the store and waits there.
        """
        for name in self._lanes.keys() - destinations.keys():
            lane = self._lanes.pop(name)
            self._spawn(self._retire(lane, self._senders.pop(name)), self._retiring)
        for name, lane in self._lanes.items():
            lane.stopped = stopped.get(name, 0)
        for name, sender in senders.items():
            if name in self._lanes:
                lane = self._lanes[name]
                outlive = self._outlive(self._senders[name], lane.destination.timeout)
                self._spawn(outlive, self._outlived)
                lane.update(destinations[name], sender)
            else:
                self._lanes[name] = self._open(destinations[name], sender, stopped.get(name, 0))
            self._senders[name] = sender
        for sender in self._senders.values():
            sender.surround(surroundings)

    # What operators say

    def control(self, paused: Collection[str], retried: Mapping[str, Micros]) -> None:
        """
        Let exactly *paused* be paused by hand; try anew what was *retried* since last told.

        To be told before `configure`, too: nothing must slip out at what is paused.
        """
        self._paused = paused
        for name, lane in self._lanes.items():
            lane.pause(name in paused)
            if retried.get(name, 0) != self._retried.get(name, 0):  # clocks of replicas differ
                lane.retry()
        self._retried.update(retried)

    def retry(self, name: str) -> None:
        """Try *name* anew, in this process, whatever kept it waiting."""
        lane = self._lanes.get(name)
        if lane is not None:
            lane.retry()

    def states(self) -> Mapping[str, LaneState]:
        """How each configured destination stands in this process."""
        return {name: lane.state for name, lane in self._lanes.items()}

    async def stop(self, drain: float) -> None:
        """Begin no attempt; give those under way *drain* seconds; the rest stays in the store."""
        self._stopped = True
        retiring = tuple(self._retiring)
        await asyncio.gather(
            *(lane.close(drain) for lane in self._lanes.values()),
            *(asyncio.wait({task}, timeout=drain) for task in retiring),
        )
        closing = (*retiring, *self._outlived)
        for task in closing:
            task.cancel()
        await asyncio.gather(*closing, return_exceptions=True)

    async def disconnect(self) -> None:
        """Close the connections of all destinations; safe whatever has been begun."""
        for sender in self._senders.values():
            await sender.close()

    # What the store asks of the lanes

    def offer(self) -> dict[str, Offer]:
        """See `store.lanes.Lanes`."""
        offers = {}
        for name, lane in self._lanes.items():
            if room := lane.offer():
                offers[name] = Offer(room=room, lease=lane.lease)
        self._offered = tuple(self._lanes[name] for name in offers)
        return offers

    def take(self, claims: Sequence[Claim]) -> None:
        """See `store.lanes.Lanes`."""
        by_lane: defaultdict[str, list[Claim]] = defaultdict(list)
        for claim in claims:
            by_lane[claim.destination].append(claim)
        offered, self._offered = self._offered, ()
        for lane in offered:
            lane.take(by_lane.get(lane.name, []))

    def withdraw(self) -> None:
        """See `store.lanes.Lanes`."""
        self.take(())

    def wake(self, destinations: Iterable[str]) -> None:
        """See `store.lanes.Lanes`."""
        for name in destinations:
            lane = self._lanes.get(name)
            if lane is not None:
                lane.wake()

    def expect(self, due: Mapping[str, Micros]) -> None:
        """See `store.lanes.Lanes`."""
        for name, instant in due.items():
            lane = self._lanes.get(name)
            if lane is not None:
                lane.expect(instant)

    # Lanes that come and go

    def _open(self, destination: Destination, sender: Sender, stopped: Micros) -> Lane:
        store, tasks = self._work
        lane = Lane(
            destination,
            sender,
            store=store,
            clock=self._clock,
            metrics=self._metrics,
            stopped=stopped,
            spawn=tasks.create_task,
        )
        lane.pause(destination.name in self._paused)  # before its feeder runs at all
        return lane

    def _spawn(self, closing: Coroutine[Any, Any, None], among: set[asyncio.Task[None]]) -> None:
        task = self._work[1].create_task(closing)
        among.add(task)
        task.add_done_callback(among.discard)

    @property
    def _work(self) -> tuple[Store, asyncio.TaskGroup]:
        if self._begun is None:
            raise RuntimeError("begin comes before configure")
        return self._begun

    async def _retire(self, lane: Lane, sender: Sender) -> None:
        try:
            await lane.close(lane.destination.timeout)
        finally:
            await sender.close()

    async def _outlive(self, sender: Sender, seconds: float) -> None:
        """Close *sender* once the attempts that began over it have ended."""
        try:
            await self._clock.sleep(seconds)
        finally:
            await sender.close()
