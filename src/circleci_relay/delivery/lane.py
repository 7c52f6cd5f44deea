"""One destination's bounds: room, concurrency, rate, breaker and hold; and its attempts."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog
from aiolimiter import AsyncLimiter

from circleci_relay.delivery.breaker import Breaker
from circleci_relay.delivery.pace import SOON, Pace
from circleci_relay.delivery.report import report
from circleci_relay.errors import StoreUnavailable
from circleci_relay.model import SECOND, Decision, Micros, Outcome, Result, Settlement, State
from circleci_relay.retry import Policy

if TYPE_CHECKING:
    from circleci_relay.clock import Clock
    from circleci_relay.config.model import Destination
    from circleci_relay.delivery.sender import Sender
    from circleci_relay.metrics import Metrics
    from circleci_relay.model import Claim
    from circleci_relay.store import Store

LEASE_MARGIN = 30.0
"""Seconds a lease outlasts the timeout."""

POLL = 5.0
"""Seconds between two looks for what nothing announced: the lapsed leases of another process."""

AHEAD = 512
AHEAD_BYTES = 8 << 20
"""How many deliveries, and bytes of bodies, a lane may have waiting beside those under way."""

AWAY = 0.5
"""Seconds between two looks whether the store is back."""

STEP = 500
"""How many waiting deliveries one transaction makes due when a breaker closes."""

Spawn = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneState:
    """How one destination stands in this process."""

    paused: bool  #: by whatever
    by_file: bool  #: relay.yaml says so
    breaker_open: bool
    held_until: Micros | None  #: it asked for a pause until then (Retry-After)
    in_hand: int  #: claimed: under way, or about to be
    probe_at: Micros | None = None  #: while its breaker is open: when the next probe may go


class Lane:
    """
    Everything between one destination's due deliveries and their settlements.

    A feeder claims what is due when there is room; workers, as many as `concurrency`,
    attempt what is in hand. The dispatcher also hands over what was just accepted
    (see `offer`), so that the common path needs no claim.
    """

    def __init__(
        self,
        destination: Destination,
        sender: Sender,
        *,
        store: Store,
        clock: Clock,
        metrics: Metrics,
        stopped: Micros,
        spawn: Spawn,
        spread: Callable[[], float] = lambda: random.uniform(-1, 1),  # noqa: S311 - jitter
    ) -> None:
        self.name = destination.name
        self.stopped = stopped  #: how long the destination's own clock has stood still
        self._store = store
        self._clock = clock
        self._series = metrics.destination(destination.name)
        self._leases_lost = metrics.leases_lost_total
        self._spawn = spawn
        self._spread = spread
        self._queue: asyncio.Queue[Claim] = asyncio.Queue()
        self._workers: set[asyncio.Task[None]] = set()
        self._stranded: set[asyncio.Task[None]] = set()  # workers that wait for the store
        self._idle = 0
        self._pace = Pace()
        self._in_hand = 0  # claimed: in the queue or under way
        self._reserved = 0  # room promised to a claim on its way, or to an offer
        self._offered = 0
        self._backlog = True  # until a claim has shown that nothing waits
        self._next_due: Micros | None = None
        self._paused = False  # by hand; the configuration may say so too
        self._held_until = 0.0
        self._credit = 0  # turns at the rate limit that were taken and not used
        self._probe: Claim | None = None
        self._expedite = False
        self._closing = False
        self._wake = asyncio.Event()
        self.update(destination, sender)
        self._feeder = spawn(self._feed())

    def update(self, destination: Destination, sender: Sender) -> None:
        """Go on under new settings; what is under way ends under the old ones."""
        self.destination = destination
        self._sender = sender
        self._policy = Policy(
            initial=destination.retry.initial,
            factor=destination.retry.factor,
            max_interval=destination.retry.max_interval,
            jitter=destination.retry.jitter,
            max_age=destination.retry.max_age,
            max_attempts=destination.retry.max_attempts,
            dead_on=frozenset(destination.retry.dead_on),
        )
        rate = destination.rate_limit
        self._limiter = AsyncLimiter(rate.burst, rate.burst / rate.rate) if rate else None
        self._credit = 0
        self._staff()
        self._forget()

    # What operators say

    @property
    def state(self) -> LaneState:
        """How it stands."""
        by_file = self.destination.paused
        monotonic, now = self._clock.monotonic(), self._clock.now()
        left = self._held_until - monotonic if self._held_until else 0.0
        probe_at = None
        if self._breaker and self._breaker.open:
            probe_at = now + round(self._breaker.wait(monotonic) * SECOND)
        return LaneState(
            paused=by_file or self._paused,
            by_file=by_file,
            breaker_open=probe_at is not None,
            held_until=now + round(left * SECOND) if left > 0 else None,
            in_hand=self._in_hand,
            probe_at=probe_at,
        )

    def pause(self, paused: bool) -> None:  # noqa: FBT001 - says it all
        """Begin nothing from here on, or again, unless the configuration pauses it too."""
        if paused != self._paused:
            self._paused = paused
            log.info(
                "destination_paused" if paused else "destination_resumed",
                by="operator",
                destination=self.name,
            )
            self._show()
            self._wake.set()

    def retry(self) -> None:
        """Forget what kept it waiting: somebody says that it works again."""
        self._forget()
        self._backlog = True

    def _forget(self) -> None:
        """Begin with a closed breaker and no hold."""
        breaker = self.destination.breaker
        self._breaker = Breaker(breaker.failures, breaker.pause) if breaker else None
        self._held_until = 0.0
        self._probe = None
        self._show()
        self._wake.set()

    # Room

    @property
    def lease(self) -> Micros:
        """How long a claim made now is held."""
        return round((self.destination.timeout + LEASE_MARGIN) * SECOND)

    @property
    def _depth(self) -> int:
        """
        How many deliveries may be in hand: those under way, and what follows them soon.

        No more than can begin within a few seconds at the pace attempts have had, or
        leases would run out in the queue; and few enough that their bodies stay small.
        """
        width = self.destination.concurrency
        ahead = min(width * SOON / self._pace.seconds, AHEAD, AHEAD_BYTES / self._pace.size)
        rate = self.destination.rate_limit
        if rate is None:
            return width + int(ahead)
        return max(1, min(width + int(ahead), int(rate.rate * SOON)))

    def _blocked(self) -> bool:
        """Whether no attempt may begin for now, whatever waits."""
        if self._held_until and self._clock.monotonic() >= self._held_until:
            self._held_until = 0.0
        return (
            self._closing
            or self._paused
            or self.destination.paused
            or self._held_until > 0
            or not self._store.available.is_set()
        )

    def _room(self) -> int:
        if self._blocked():
            return 0
        if self._breaker and self._breaker.open:
            free = self._probe is None and self._breaker.wait(self._clock.monotonic()) == 0
            return int(free and self._in_hand + self._reserved == 0)
        return max(0, self._depth - self._in_hand - self._reserved)

    def offer(self) -> int:
        """
        Reserve room for deliveries about to be accepted and return how much.

        None while older deliveries wait, or they would starve.
        """
        if self._is_due() or (self._breaker and self._breaker.open):
            return 0
        self._offered = self._room()
        self._reserved += self._offered
        return self._offered

    def take(self, claims: list[Claim]) -> None:
        """End the offer; *claims* are what it was used for."""
        self._reserved -= self._offered
        self._offered = 0
        if self._is_due():
            self._wake.set()  # the feeder found no room while the offer stood
        if self._closing:
            self._store.release(claims)
        else:
            self._put(claims)

    def wake(self) -> None:
        """Look again: something is due that nobody handed over."""
        self._backlog = True
        self._wake.set()

    def expect(self, due: Micros) -> None:
        """Something that nobody handed over is due at *due*."""
        if self._next_due is None or due < self._next_due:
            self._next_due = due
            self._wake.set()

    def _put(self, claims: list[Claim]) -> None:
        for claim in claims:
            self._queue.put_nowait(claim)
        self._in_hand += len(claims)
        self._staff()

    def _staff(self) -> None:
        """Have as many workers as the queue can use and `concurrency` allows."""
        wanted = self._queue.qsize() - self._idle
        for _ in range(min(wanted, self.destination.concurrency - len(self._workers))):
            worker = self._spawn(self._work())
            self._workers.add(worker)

    # The feeder

    async def _feed(self) -> None:
        while not self._closing:
            # Cleared before looking, or what comes during the look is lost.
            self._wake.clear()
            try:
                if self._expedite and self._store.available.is_set():
                    self._expedite = await self._store.expedite(self.name, limit=STEP) >= STEP
                    self._backlog = True
                elif (due := self._is_due()) and (room := self._room()):
                    await self._claim(room)
                else:
                    await self._pause(due=due)
            except StoreUnavailable:
                await self._pause(due=True, longest=AWAY)

    def _is_due(self) -> bool:
        return self._backlog or (self._next_due is not None and self._next_due <= self._clock.now())

    async def _claim(self, room: int) -> None:
        self._reserved += room
        # What is settled from here on announces its own time; the look below sees the rest.
        self._next_due = None
        self._backlog = False
        try:
            claims = await self._store.claim(self.name, limit=room, lease=self.lease)
        except BaseException:
            self._backlog = True
            raise
        finally:
            self._reserved -= room
        if self._closing:
            self._store.release(claims)
            return
        self._put(claims)
        if len(claims) == room:
            self._backlog = True
        elif not self._backlog:
            await self._look()

    async def _look(self) -> None:
        """Ask the store when the next delivery is due."""
        try:
            due = await self._store.next_due(self.name)
        except StoreUnavailable:
            self._backlog = True  # not known: look again once it can be
            return
        if due is not None and (self._next_due is None or due < self._next_due):
            self._next_due = due

    async def _pause(self, *, due: bool, longest: float = POLL) -> None:
        """
        Wait until woken, or until time has changed what can be done.

        *due* is what the caller saw: asked again here, time may have made it true in
        between, and nobody would wake us.
        """
        now = self._clock.monotonic()
        waits = [longest]
        if not due and self._next_due is not None:
            waits.append((self._next_due - self._clock.now()) / SECOND)
        if self._held_until:
            waits.append(self._held_until - now)
        if due and self._breaker and self._breaker.open and not self._in_hand:
            waits.append(self._breaker.wait(now))
        if not self._store.available.is_set():
            waits.append(AWAY)
        shortest = min(waits)
        timer = self._clock.call_later(max(0.0, shortest), self._wake.set)
        try:
            await self._wake.wait()
        finally:
            timer.cancel()
        if shortest == POLL and not self._is_due() and not self._closing:
            await self._look()

    # The workers

    async def _work(self) -> None:
        try:
            while len(self._workers) <= self.destination.concurrency:
                self._idle += 1
                try:
                    claim = await self._queue.get()
                finally:
                    self._idle -= 1
                if len(self._workers) > self.destination.concurrency:
                    self._queue.put_nowait(claim)  # lowered while it waited
                    break
                try:
                    await self._turn(claim)
                finally:
                    self._in_hand -= 1
                    if self._is_due() or self._closing:
                        self._wake.set()
        finally:
            # At once: those that end together must each see that the others have.
            if (me := asyncio.current_task()) is not None:
                self._workers.discard(me)

    async def _turn(self, claim: Claim) -> None:
        try:
            begin = await self._may_begin(claim)
        except asyncio.CancelledError:
            self._store.release([claim])
            raise
        if begin:
            await self._attempt(claim)
        else:
            self._store.release([claim])
            self._backlog = True

    async def _may_begin(self, claim: Claim) -> bool:
        """Wait for what may pass soon; say whether *claim* is still ours to begin then."""
        while not self._store.available.is_set():
            # While the store is away nothing can be settled, and what is attempted
            # would be attempted again.
            await self._until_available()
        if self._limiter:
            if self._credit:
                self._credit -= 1
            else:
                await self._limiter.acquire()
        if self._is_ours(claim):
            return True
        # Whoever is claimed next may use the turn, or a rate slower than the leases are
        # long would drop each of them after its wait.
        self._credit += self._limiter is not None
        return False

    async def _until_available(self) -> None:
        """Wait for the store; `close` cancels who does, since nothing begins any more."""
        me = asyncio.current_task()
        if self._closing or me is None:
            raise asyncio.CancelledError
        self._stranded.add(me)
        try:
            await self._store.available.wait()
        finally:
            self._stranded.discard(me)

    def _is_ours(self, claim: Claim) -> bool:
        if self._blocked():
            return False
        timeout = round(self.destination.timeout * SECOND)
        if self._clock.now() + timeout > claim.lease_until:
            self._leases_lost.inc()
            return False
        if self._breaker and self._breaker.open:
            if self._probe or self._breaker.wait(self._clock.monotonic()) > 0:
                return False
            self._probe = claim
        return True

    async def _attempt(self, claim: Claim) -> None:
        started = self._clock.now()
        try:
            outcome = await self._sender.attempt(claim)
        except asyncio.CancelledError:
            # It may have arrived. It counts as an attempt, and is due again at once.
            outcome = Outcome(
                result=Result.LOST,
                started_at=started,
                duration=self._clock.now() - started,
                error="the relay stopped before an answer came",
            )
            self._settle(claim, outcome, Decision(state=State.PENDING))
            raise
        finally:
            if self._probe is claim:
                self._probe = None
        age = (self._clock.now() - self.stopped - claim.aged_from) / SECOND
        decision = self._policy.decide(claim.attempt, outcome, age=age, spread=self._spread)
        self._settle(claim, outcome, decision)
        self._learn(outcome)

    def _settle(self, claim: Claim, outcome: Outcome, decision: Decision) -> None:
        self._store.settle(Settlement(claim=claim, outcome=outcome, decision=decision))
        if decision.state is State.PENDING:
            self.expect(self._clock.now() + round(decision.delay * SECOND))
        self._pace.note(outcome.duration / SECOND, claim.size)
        self._series.attempts[outcome.result].inc()
        self._series.attempt_duration.observe(outcome.duration / SECOND)
        report(claim, outcome, decision)

    def _learn(self, outcome: Outcome) -> None:
        """Let breaker and hold see how it went."""
        now = self._clock.monotonic()
        if hold := self._policy.hold(outcome):
            self._held_until = max(self._held_until, now + hold)
            self._backlog = True
            log.warning("destination_held", destination=self.name, seconds=round(hold, 3))
        if self._breaker and self._breaker.record(outcome.result, now):
            self._show()
            if self._breaker.open:
                log.warning("breaker_opened", destination=self.name)
            else:
                log.info("breaker_closed", destination=self.name)
                self._expedite = True
            self._wake.set()

    def _show(self) -> None:
        self._series.breaker_open.set(bool(self._breaker and self._breaker.open))
        self._series.paused.set(self._paused or self.destination.paused)

    # The end

    async def close(self, drain: float) -> None:
        """Begin nothing more; give what is under way *drain* seconds, the rest to the store."""
        self._closing = True
        waiting = []
        while not self._queue.empty():
            waiting.append(self._queue.get_nowait())
        self._in_hand -= len(waiting)
        self._store.release(waiting)
        for worker in tuple(self._stranded):
            worker.cancel()
        self._wake.set()
        self._feeder.add_done_callback(lambda _: self._wake.set())
        timer = self._clock.call_later(drain, self._cancel)
        try:
            while self._in_hand or not self._feeder.done():
                self._wake.clear()
                await self._wake.wait()
        finally:
            timer.cancel()
            self._cancel()
            await asyncio.gather(self._feeder, *self._workers, return_exceptions=True)

    def _cancel(self) -> None:
        for task in (self._feeder, *self._workers):
            task.cancel()
