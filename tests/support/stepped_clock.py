"""
A clock that is stepped when told, and the program on it; the machine's is let be.

Run as a file it is `circleci-relay serve` on such a clock.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from circleci_relay import app
from circleci_relay.clock import SystemClock
from circleci_relay.model import SECOND, Micros

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(eq=False)
class _Timer:
    """A call that is still to come, on the stepped clock."""

    clock: SteppedClock
    due: float
    callback: Callable[[], object]
    handle: asyncio.TimerHandle | None = None

    def arm(self) -> None:
        left = max(0.0, self.due - self.clock.monotonic())
        self.handle = asyncio.get_running_loop().call_later(left, self._call)

    def _call(self) -> None:
        self.clock.timers.discard(self)
        self.callback()

    def cancel(self) -> None:
        """See `circleci_relay.clock.Timer`."""
        self.clock.timers.discard(self)
        if self.handle is not None:
            self.handle.cancel()


@dataclass(eq=False)
class SteppedClock(SystemClock):
    """The machine's clock, and as far ahead of it as it was told; timers move with it."""

    ahead: float = 0.0
    timers: set[_Timer] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__()

    def now(self) -> Micros:
        """See `circleci_relay.clock.Clock`."""
        return super().now() + round(self.ahead * SECOND)

    def monotonic(self) -> float:
        """See `circleci_relay.clock.Clock`."""
        return super().monotonic() + self.ahead

    def wall(self) -> float:
        """See `circleci_relay.clock.Clock`."""
        return super().wall() + self.ahead

    def call_later(self, seconds: float, callback: Callable[[], object]) -> _Timer:
        """See `circleci_relay.clock.Clock`."""
        timer = _Timer(self, self.monotonic() + max(0.0, seconds), callback)
        self.timers.add(timer)
        timer.arm()
        return timer

    async def sleep(self, seconds: float) -> None:
        """See `circleci_relay.clock.Clock`."""
        done = asyncio.get_running_loop().create_future()
        timer = self.call_later(seconds, partial(_resolve, done))
        try:
            await done
        finally:
            timer.cancel()

    def step(self, seconds: float) -> None:
        """Be so much further ahead; what has come due meanwhile is called."""
        self.ahead += seconds
        for timer in tuple(self.timers):
            if timer.handle is not None:
                timer.handle.cancel()
            timer.arm()


def _resolve(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)


def serve(config: Path, ahead: float) -> int:
    """Serve on *config*, and step the clock by each number of seconds that standard input says."""
    clock = SteppedClock(ahead=ahead)

    def listen(loop: asyncio.AbstractEventLoop) -> None:
        for line in sys.stdin:
            loop.call_soon_threadsafe(clock.step, float(line))

    made = app.new_event_loop

    def new_event_loop() -> asyncio.AbstractEventLoop:
        loop = made()
        threading.Thread(target=listen, args=(loop,), daemon=True).start()
        return loop

    app.new_event_loop = new_event_loop
    return app.run([config], log_level="debug", log_format="json", clock=clock)


if __name__ == "__main__":
    sys.exit(serve(Path(sys.argv[1]), float(sys.argv[2])))
