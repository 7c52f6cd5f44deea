"""The one writer of the process: gathers what waits, commits it together, answers each."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from circleci_relay.errors import StoreError, StoreUnavailable
from circleci_relay.model import SECOND
from circleci_relay.store.batch import Accepting, Batch, Claiming, Doing, Report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from concurrent.futures import ThreadPoolExecutor

    from circleci_relay.clock import Clock, Timer
    from circleci_relay.model import Claim, Micros, Settlement
    from circleci_relay.store.batch import Waiting
    from circleci_relay.store.lanes import Lanes, Watch

T = TypeVar("T")

#: So many that the event loop is not kept for more than some 10 ms.
_MOST_ACCEPTS = 64
_MOST_SETTLEMENTS = 512
_MOST_CLAIMS = 64
_MOST_STEPS = 8
_COMPANY = 0.01  #: seconds settlements wait for a commit that is made anyway
_ENOUGH = 64  #: settlements that make a commit worth its while
_QUIET = 0.5  #: seconds without work before the log is moved into the database
_HANGS = 3.0  #: seconds after which a transaction that does not end is an outage
_SEVERED = 20.0  #: seconds after which it is ended by force
_PARTING = 5.0  #: the same once told to stop: whoever waits for that has no more patience
_FIRST_PROBE = 0.05
_LAST_PROBE = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What a writer has done, and does not do itself."""

    begin: Callable[[Batch], None]  #: on the event loop: what a batch takes in and settles
    end: Callable[[Batch], Report]  #: in the thread: the rest, and the commit
    owes_charts: Callable[[], bool]  #: whether counts for the charts are still to be written
    tidy: Callable[[], None]  #: in the thread, when it is quiet, or the report says it presses
    sever: Callable[[], None]  #: ends by force what hangs in the thread


class Writer:
    """
    Group commit.

    A batch is begun on the event loop and ended in the thread. Meanwhile the next one
    gathers, so batches grow with the load and a lone event waits for nobody. Settlements
    and releases have no one waiting: they are kept, in order and before all else, until
    they are durable. A transaction that hangs counts as an outage until it ends.
    """

    def __init__(
        self,
        work: Work,
        *,
        thread: ThreadPoolExecutor,
        clock: Clock,
        lanes: Lanes,
        watch: Watch,
    ) -> None:
        self._begin = work.begin
        self._end = work.end
        self._owes_charts = work.owes_charts
        self._tidy = work.tidy
        self._sever = work.sever
        self._thread = thread
        self._clock = clock
        self._lanes = lanes
        self._watch = watch
        self._accepts: deque[Accepting] = deque()
        self._claims: deque[Claiming] = deque()
        self._steps: deque[Doing] = deque()
        self._settlements: deque[Settlement] = deque()
        self._releases: deque[Claim] = deque()
        self._work = asyncio.Event()
        self._alarm = asyncio.Event()
        self._stopping = False
        self._dirty = False
        self._charts_due = False  # it has been quiet, and there are counts to write
        self._overdue = False  # whether settlements go into a commit of their own
        self._company: asyncio.TimerHandle | None = None
        self._cutting: Timer | None = None  # set while a transaction is under way
        self._hung = False  # whether the transaction under way is what is in the way
        self._away_since: Micros = 0
        self.available = asyncio.Event()  #: set while the last commit succeeded
        self.available.set()

    # Handing work in

    def put(self, item: Waiting) -> None:
        """Queue what someone waits for; fails it at once while nothing can be written."""
        if not self.available.is_set() or self._stopping:
            item.future.set_exception(_unavailable())
            return
        match item:
            case Accepting():
                self._accepts.append(item)
            case Claiming():
                self._claims.append(item)
            case Doing():
                self._steps.append(item)
        self._work.set()

    def settle(self, settlement: Settlement) -> None:
        """Queue the end of an attempt: nobody waits for it, so it waits for company."""
        self._owe()
        self._settlements.append(settlement)

    def release(self, claims: Iterable[Claim]) -> None:
        """Queue deliveries that go back unattempted."""
        self._owe()
        self._releases.extend(claims)

    def _owe(self) -> None:
        if not self.owing:
            self._overdue = False
            if self._company is not None:
                self._company.cancel()  # it was set for others, which are written
            self._company = asyncio.get_running_loop().call_later(_COMPANY, self._press)
        elif len(self._settlements) == _ENOUGH:
            self._work.set()

    def _press(self) -> None:
        self._overdue = True
        self._work.set()

    @property
    def owing(self) -> bool:
        """Whether settlements or releases are not durable yet."""
        return bool(self._settlements or self._releases)

    def stop(self) -> None:
        """Take nothing more that someone waits for; `run` ends when the rest is written."""
        self._stopping = True
        self._work.set()
        self._alarm.set()
        if self._cutting is not None:
            self._cut_in(_PARTING)

    # Running

    async def run(self) -> None:
        """Commit what comes, until stopped. Raises only what is wrong with this program."""
        try:
            while await self._wait():
                batch = self._gather()
                if not (batch.size or batch.charts):
                    continue
                report = await self._run(batch)
                if report.outage is not None and not await self._recover(report.outage):
                    return
            if self._owes_charts():
                await self._run(Batch(charts=True))
        finally:
            self._stopping = True
            self._fail_waiting(_unavailable())

    async def _wait(self) -> bool:
        """Until there is work, tidying up when it is quiet; whether there is any."""
        while not self._has_work():
            if self._stopping:
                return self.owing
            self._work.clear()
            try:
                async with asyncio.timeout(_QUIET if self._dirty else None):
                    await self._work.wait()
            except TimeoutError:
                if self._owes_charts():
                    self._charts_due = True
                    return True
                self._dirty = False
                await self._in_thread(self._tidy)
        return True

    def _has_work(self) -> bool:
        if self._accepts or self._claims or self._steps:
            return True
        return self.owing and (self._overdue or len(self._settlements) > _ENOUGH)

    def _gather(self, *, probe: bool = False) -> Batch:
        batch = Batch(
            settlements=_take(self._settlements, _MOST_SETTLEMENTS),
            releases=_take(self._releases, _MOST_SETTLEMENTS),
            probe=probe,
            charts=self._charts_due,
        )
        self._charts_due = False
        if probe:
            return batch
        now = self._clock.monotonic()
        for item in _take(self._accepts, _MOST_ACCEPTS):
            if item.future.done():
                continue
            if item.deadline < now:
                item.future.set_exception(StoreUnavailable("the store took too long"))
                continue
            batch.accepts.append(item)
        batch.claims = [each for each in _take(self._claims, _MOST_CLAIMS) if _open(each)]
        batch.steps = [each for each in _take(self._steps, _MOST_STEPS) if _open(each)]
        return batch

    async def _run(self, batch: Batch) -> Report:
        if batch.accepts:
            batch.offer = self._lanes.offer()
            batch.room = {name: offer.room for name, offer in batch.offer.items()}
        try:
            self._begin(batch)
            report = await self._watched(self._in_thread(self._end, batch))
        except BaseException:
            # The program is wrong, or told to stop: the leases lapse, the senders hear of it.
            self._abandon(batch, _unavailable())
            raise
        self._dirty = True
        self._answer(batch, report)
        if report.pressing:
            await self._in_thread(self._tidy)
        return report

    async def _watched(self, running: asyncio.Future[Report]) -> Report:
        """Wait for a transaction; while it hangs nothing is promised and nothing attempted."""
        hanging = self._clock.call_later(_HANGS, self._hang)
        self._cut_in(_PARTING if self._stopping else _SEVERED)
        try:
            report = await running
        finally:
            hanging.cancel()
            self._cut_in(None)
        if self._hung and report.outage is None:
            self._hung = False
            self._back()
        return report

    def _cut_in(self, seconds: float | None) -> None:
        if self._cutting is not None:
            self._cutting.cancel()
        self._cutting = None if seconds is None else self._clock.call_later(seconds, self._cut)

    def _cut(self) -> None:
        # Over a new connection it may hang again.
        self._cut_in(_PARTING if self._stopping else _SEVERED)
        self._sever()

    def _hang(self) -> None:
        if self.available.is_set():
            self._hung = True
            self._away(TimeoutError(f"no answer for {_HANGS:g} s"))
            self._fail_waiting(_unavailable())

    def _away(self, error: Exception) -> None:
        self.available.clear()
        self._away_since = self._clock.now()
        self._watch.outage(error)

    def _back(self) -> None:
        self.available.set()
        self._watch.recovered((self._clock.now() - self._away_since) / SECOND)

    def _in_thread(self, function: Callable[..., Any], *arguments: Any) -> asyncio.Future[Any]:
        return asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)

    # Answering

    def _answer(self, batch: Batch, report: Report) -> None:
        if batch.accepts:
            if report.handed:
                self._lanes.take(report.handed)
            else:
                self._lanes.withdraw()
        for item, value in report.done:
            self._resolve(item, value)
        for item, error in report.failed:
            if not item.future.done():
                item.future.set_exception(_refused(error))
        if report.outage is not None:
            self._abandon(batch, _unavailable())
            self._keep(batch, report)
        if report.orphans:
            self.release(report.orphans)
        if report.waiting:
            self._lanes.wake(report.waiting)
        if report.expected:
            self._lanes.expect(report.expected)
        self._tell(report)

    def _resolve(self, item: Waiting, value: Any) -> None:
        if not item.future.done():
            item.future.set_result(value)
        elif isinstance(item, Claiming):
            self.release(value)  # whoever asked has gone

    def _abandon(self, batch: Batch, error: Exception) -> None:
        waiting: list[Waiting] = [*batch.accepts, *batch.claims, *batch.steps]
        for item in waiting:
            if not item.future.done():
                item.future.set_exception(error)

    def _keep(self, batch: Batch, report: Report) -> None:
        """What is not durable goes back to the head of its queue."""
        settled = {id(each) for each in (*report.held, *report.fenced)}
        settled |= {id(each) for each, _ in report.dropped}
        released = {id(each) for each in report.released}
        self._settlements.extendleft(
            each for each in reversed(batch.settlements) if id(each) not in settled
        )
        self._releases.extendleft(
            each for each in reversed(batch.releases) if id(each) not in released
        )

    def _tell(self, report: Report) -> None:
        for seconds, items in report.commits:
            self._watch.committed(seconds, items)
        if report.held or report.fenced:
            self._watch.settled(report.held, report.fenced)
        if report.lost:
            self._watch.lost(report.lost)
        if report.superseded:
            self._watch.superseded(report.superseded)
        for settlement, error in report.dropped:
            self._watch.dropped(settlement, error)

    # Outages

    async def _recover(self, error: Exception) -> bool:
        """
        Hold everything until a write succeeds, beginning with what is owed.

        Told to stop, it tries once more: False means that what is owed is left to the
        lapse of its leases, as after a crash.
        """
        if not self._hung:
            self._away(error)
        self._hung = False
        delay = _FIRST_PROBE
        while True:
            self._fail_waiting(_unavailable())
            last = self._stopping
            if not last:
                await self._pause(delay)
                delay = min(delay * 2, _LAST_PROBE)
            report = await self._run(self._gather(probe=True))
            if report.outage is None:
                self._back()
                return True
            if last:
                return False

    async def _pause(self, seconds: float) -> None:
        """Sleep, or until stopped."""
        self._alarm.clear()
        timer = self._clock.call_later(seconds, self._alarm.set)
        try:
            await self._alarm.wait()
        finally:
            timer.cancel()

    def _fail_waiting(self, error: Exception) -> None:
        waiting: list[Waiting] = [*self._accepts, *self._claims, *self._steps]
        self._accepts.clear()
        self._claims.clear()
        self._steps.clear()
        for item in waiting:
            if not item.future.done():
                item.future.set_exception(error)


def _take(queue: deque[T], most: int) -> list[T]:
    return [queue.popleft() for _ in range(min(most, len(queue)))]


def _open(item: Waiting) -> bool:
    return not item.future.done()


def _unavailable() -> StoreUnavailable:
    return StoreUnavailable("the store cannot take it now")


def _refused(error: Exception) -> StoreError:
    cause = error.__cause__ or error
    refused = StoreError(f"this item cannot be stored: {type(cause).__name__}")
    refused.__cause__ = error
    return refused
