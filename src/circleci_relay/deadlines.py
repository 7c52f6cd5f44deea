"""An end for whatever takes too long: one timer for all that is under way."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

_TICK = 0.001
"""Seconds by which a timer may come early: uvloop counts whole milliseconds."""


class Deadlines:
    """
    The deadlines of many short blocks, almost none of which ever passes.

    `asyncio.timeout` sets and cancels a timer for each block, which costs as much as the
    rest of an attempt does here. One timer for the earliest will do: blocks that are left
    in time leave it alone, and it looks for the next when it comes.
    """

    def __init__(self) -> None:
        self._under_way: dict[Deadline, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._next = 0.0  # when it comes

    def within(self, seconds: float) -> Deadline:
        """Return a block that raises TimeoutError unless it is left in *seconds* from now."""
        return Deadline(self, seconds)

    def enter(self, deadline: Deadline, loop: asyncio.AbstractEventLoop) -> None:
        """Let *deadline* come."""
        self._under_way[deadline] = None
        if self._timer is None or deadline.at < self._next:
            self._arm(deadline.at, loop)

    def leave(self, deadline: Deadline) -> None:
        """Let *deadline* pass without effect."""
        self._under_way.pop(deadline, None)

    def _arm(self, at: float, loop: asyncio.AbstractEventLoop) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_at(at, self._look, loop)
        self._next = at

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        now = loop.time() + _TICK
        for deadline in [each for each in self._under_way if each.at <= now]:
            del self._under_way[deadline]
            deadline.come()
        if self._under_way:
            self._arm(min(each.at for each in self._under_way), loop)


class Deadline:
    """A block of one task, with an end; what `asyncio.timeout` does, it does."""

    __slots__ = ("_cancelling", "_come", "_deadlines", "_seconds", "_task", "at")

    def __init__(self, deadlines: Deadlines, seconds: float) -> None:
        self._deadlines = deadlines
        self._seconds = seconds
        self._come = False
        self.at = 0.0  #: on the event loop's clock

    def __enter__(self) -> Self:
        loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        if task is None:
            raise RuntimeError("only a task can be given a deadline")
        self._task = task
        self._cancelling = task.cancelling()
        self.at = loop.time() + self._seconds
        self._deadlines.enter(self, loop)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._come:
            self._deadlines.leave(self)
        elif self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            # Nobody else asked for it.
            raise TimeoutError from fault

    def come(self) -> None:
        """End the block: its task waits for something inside it."""
        self._come = True
        self._task.cancel()
