"""One connection that several messages share, and what becomes of it when it is in doubt."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from circleci_relay.delivery.queues.faults import Lost, only_own_cancellation

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

CLOSING_PATIENCE = 2.0
"""Seconds for a connection's proper end; then it is cut off."""

CUT_PATIENCE = 0.1
"""Seconds for the end of one that was cut off before it was of use: others wait for the next."""


class Connection(Protocol):
    """What a broker's library has for one, made simple."""

    @property
    def alive(self) -> bool:
        """Whether it can take another message."""

    async def close(self) -> None:
        """End it in order, however long that takes."""

    def cut(self) -> None:
        """End it at once."""


C = TypeVar("C", bound=Connection)


@dataclass(eq=False, slots=True)
class _Use(Generic[C]):
    connection: C
    users: int = 0
    given_up: bool = False
    ended: bool = False


class Link(Generic[C]):
    """
    The connection of a transport, made by *connect* when there is none that is alive.

    A message that fails for want of an answer may be answered later, or never, since nobody
    is there any more. Either way the next one gets a connection of its own: those who still
    wait on the old one go on waiting there, and the last of them ends it. So an answer can
    only ever be one to the message it is taken for.
    """

    def __init__(self, connect: Callable[[], Awaitable[C]]) -> None:
        self._connect = connect
        self._current: _Use[C] | None = None
        self._connecting = asyncio.Lock()
        self._closed = asyncio.Event()
        self._ending: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def use(self) -> AsyncIterator[C]:
        """Give a connection to send one message over."""
        use = await self._take()
        try:
            with only_own_cancellation():
                yield use.connection
        except (asyncio.CancelledError, Lost):
            self._give_up(use)
            raise
        finally:
            use.users -= 1
            self._end_if_idle(use)

    async def close(self) -> None:
        """End everything; whoever still waits for an answer gets none."""
        self._closed.set()
        if self._current is not None:
            use = self._current
            self._give_up(use)
            self._end(use)
        if self._ending:
            await asyncio.wait(set(self._ending))

    async def _take(self) -> _Use[C]:
        async with self._connecting:
            current = self._current
            if current is not None and not current.connection.alive:
                self._give_up(current)
                self._end_if_idle(current)
                current = None
            if current is None:
                current = await self._new()
            current.users += 1
            return current

    async def _new(self) -> _Use[C]:
        if self._closed.is_set():
            raise Lost
        with only_own_cancellation():
            made = self._current = _Use(await self._connect())
        if self._closed.is_set():
            self._end(made)
            raise Lost
        return made

    def _give_up(self, use: _Use[C]) -> None:
        use.given_up = True
        if self._current is use:
            self._current = None

    def _end_if_idle(self, use: _Use[C]) -> None:
        if use.given_up and not use.users:
            self._end(use)

    def _end(self, use: _Use[C]) -> None:
        if use.ended:
            return
        use.ended = True
        task = asyncio.create_task(_ended(use.connection), name="end of a broker's connection")
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)


async def _ended(connection: Connection) -> None:
    try:
        with contextlib.suppress(Exception):
            async with asyncio.timeout(CLOSING_PATIENCE):
                await connection.close()
    finally:
        connection.cut()
