"""The time, as an argument: the real one, and one that moves when told."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from typing import TYPE_CHECKING, Protocol

from circleci_relay.model import SECOND, Micros

if TYPE_CHECKING:
    from collections.abc import Callable


class Clock(Protocol):
    """
    What every part asks for the time.

    `now` never runs backwards and never jumps: leases and retries are measured with it.
    `wall` is what the machine's clock says, for what leaves the process.
    """

    def now(self) -> Micros:
        """Microseconds since the epoch, counted monotonically from a start on the wall clock."""

    def monotonic(self) -> float:
        """Seconds from an arbitrary start."""

    def wall(self) -> float:
        """Seconds since the epoch by the machine's clock, whatever was done to it."""

    def agree(self, instant: Micros) -> None:
        """Let `now` be no earlier than *instant*, which others who share a store go by."""

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Timer:
        """Call *callback* on the running loop once *seconds* have passed on this clock."""

    async def sleep(self, seconds: float) -> None:
        """Return once *seconds* have passed on this clock."""


class Timer(Protocol):
    """A call that is still to come."""

    def cancel(self) -> None:
        """Make it not come."""


class SystemClock:
    """
    The machine's clock, sampled once and then counted.

    A wall clock stepped by an hour neither lets leases lapse nor floods with retries.
    """

    def __init__(self) -> None:
        self._offset = time.time_ns() // 1000 - time.monotonic_ns() // 1000

    def now(self) -> Micros:
        """See `Clock`."""
        return self._offset + time.monotonic_ns() // 1000

    def monotonic(self) -> float:
        """See `Clock`."""
        return time.monotonic()

    def wall(self) -> float:
        """See `Clock`."""
        return time.time()

    def agree(self, instant: Micros) -> None:
        """See `Clock`."""
        self._offset += max(0, instant - self.now())

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Timer:
        """See `Clock`."""
        return asyncio.get_running_loop().call_later(seconds, callback)

    async def sleep(self, seconds: float) -> None:
        """See `Clock`."""
        await asyncio.sleep(seconds)


class ManualClock:
    """A clock that moves when told, for tests and simulations."""

    def __init__(self, start: Micros = 1_772_442_900 * SECOND) -> None:
        self._now = start
        self._timers: list[tuple[Micros, int, _Call]] = []
        self._order = itertools.count()

    def now(self) -> Micros:
        """See `Clock`."""
        return self._now

    def monotonic(self) -> float:
        """See `Clock`."""
        return self._now / SECOND

    def wall(self) -> float:
        """See `Clock`."""
        return self._now / SECOND

    def agree(self, instant: Micros) -> None:
        """Stay: this clock moves only when told."""

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Timer:
        """See `Clock`."""
        call = _Call(callback)
        until = self._now + max(0, round(seconds * SECOND))
        heapq.heappush(self._timers, (until, next(self._order), call))
        if until <= self._now:
            asyncio.get_running_loop().call_soon(call)
        return call

    async def sleep(self, seconds: float) -> None:
        """See `Clock`."""
        done = asyncio.get_running_loop().create_future()

        def wake() -> None:
            if not done.done():
                done.set_result(None)

        self.call_later(seconds, wake)
        await done

    def advance(self, seconds: float) -> None:
        """Move on by *seconds*, making the calls whose time has come."""
        self._now += round(seconds * SECOND)
        while self._timers and self._timers[0][0] <= self._now:
            heapq.heappop(self._timers)[2]()

    @property
    def next_call(self) -> float | None:
        """Seconds until the earliest call still to come, if there is one."""
        waiting = [until for until, _, call in self._timers if call.pending]
        return (min(waiting) - self._now) / SECOND if waiting else None


class _Call:
    """A callback made at most once."""

    def __init__(self, callback: Callable[[], object]) -> None:
        self._callback: Callable[[], object] | None = callback

    @property
    def pending(self) -> bool:
        return self._callback is not None

    def cancel(self) -> None:
        self._callback = None

    def __call__(self) -> None:
        callback, self._callback = self._callback, None
        if callback is not None:
            callback()
