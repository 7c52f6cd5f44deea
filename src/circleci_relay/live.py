"""What comes in and goes out, told to whoever listens at this moment."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

MOST = 500
"""Things a listener may be behind; what is older is dropped, and counted."""

CROWD = 50
"""How many may listen at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """One thing that happened; *about* holds plain JSON values, nothing secret."""

    kind: Literal["event", "attempt"]
    about: Mapping[str, Any]


class Crowded(Exception):  # noqa: N818 - it is an answer
    """Too many listen already."""


class Over(Exception):  # noqa: N818 - it is no fault
    """Nothing will be told any more: the program stops."""


@dataclass(slots=True)
class Listener:
    """Whoever listens; `next` returns what happened and is *wanted*, in order."""

    wanted: Callable[[Happening], bool] = lambda _: True
    dropped: int = 0  #: since `missed` was last asked
    over: bool = False
    _waiting: deque[Happening] = field(default_factory=deque)
    _woken: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, happening: Happening) -> None:
        """Let it hear of *happening*; never waits."""
        if not self.wanted(happening):
            return
        if len(self._waiting) >= MOST:
            self._waiting.popleft()
            self.dropped += 1
        self._waiting.append(happening)
        self._woken.set()

    def end(self) -> None:
        """Let it hear no more."""
        self.over = True
        self._woken.set()

    def wake(self) -> None:
        """Let `next` return, with nothing if there is nothing."""
        self._woken.set()

    def missed(self) -> int:
        """How many things it was too slow for, since this was last asked."""
        dropped, self.dropped = self.dropped, 0
        return dropped

    async def next(self) -> Happening | None:
        """Wait for the next thing, or for `wake`; raises `Over` at the end, at once."""
        if not self._waiting:
            await self._woken.wait()
        if self.over:
            raise Over
        if len(self._waiting) <= 1:
            self._woken.clear()
        return self._waiting.popleft() if self._waiting else None


class Hub:
    """
    Passes on what happens in this process, while it happens; keeps nothing.

    Ask `heard` first: making a `Happening` costs more than nobody's hearing of it is worth.
    """

    def __init__(self) -> None:
        self._listeners: dict[int, Listener] = {}
        self._over = False

    @property
    def heard(self) -> bool:
        """Whether anybody listens."""
        return bool(self._listeners)

    def tell(self, happening: Happening) -> None:
        """Tell everybody who listens."""
        for listener in self._listeners.values():
            listener.put(happening)

    @contextmanager
    def listening(self, wanted: Callable[[Happening], bool] = lambda _: True) -> Iterator[Listener]:
        """Listen for as long as it lasts; raises `Crowded` where too many do, `Over` at the end."""
        if self._over:
            raise Over
        if len(self._listeners) >= CROWD:
            raise Crowded
        listener = Listener(wanted)
        self._listeners[id(listener)] = listener
        try:
            yield listener
        finally:
            del self._listeners[id(listener)]

    def close(self) -> None:
        """End it for everybody: the program stops."""
        self._over = True
        for listener in self._listeners.values():
            listener.end()
