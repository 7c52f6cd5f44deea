"""What is only looked at: a connection of its own that cannot write, and its thread."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

import sqlalchemy as sa

from circleci_relay.errors import StoreUnavailable
from circleci_relay.model import Backlog, Micros
from circleci_relay.store.database import Nature

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from circleci_relay.store.database import Database
    from circleci_relay.store.statements import Statements

T = TypeVar("T")

_LONG = 20.0  #: seconds after which a read is cut off


class Reader:
    """Short reads, one after another, off the event loop."""

    def __init__(self, database: Database, statements: Statements) -> None:
        self._database = database
        self._statements = statements
        self._engine = database.reader()
        self._reading = 0  # reads that are under way or wait for the thread
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store-reader")

    async def backlog(self) -> Mapping[str, Backlog]:
        """What waits at each destination, and what is dead; counted, so not for every scrape."""
        return await self.look(self._backlog)

    def _backlog(self, connection: sa.Connection) -> Mapping[str, Backlog]:
        pending = {
            name: (count, oldest)
            for name, count, oldest in connection.execute(self._statements.count_pending)
        }
        dead = {row[0]: row[1] for row in connection.execute(self._statements.count_dead)}
        return {
            name: Backlog(
                pending=pending.get(name, (0, None))[0],
                oldest=pending.get(name, (0, None))[1],
                dead=dead.get(name, 0),
            )
            for name in sorted(pending.keys() | dead.keys())
        }

    async def next_due(self, destination: str) -> Micros | None:
        """When the next pending delivery of *destination* is due; None if there is none."""
        return await self.look(
            lambda connection: connection.execute(
                self._statements.next_due, {"whose": destination}
            ).scalar()
        )

    async def size(self) -> int:
        """Bytes on disk."""
        return await self.look(self._database.size)

    async def close(self) -> None:
        """Let go of the database; before the writer does, so that the writer closes last."""
        if self._reading:
            self._database.sever(readers=True)
        await self._run(self._engine.dispose)
        self._thread.shutdown(wait=False)

    async def look(self, work: Callable[[sa.Connection], T]) -> T:
        """Have *work* look at the database; `StoreUnavailable` where it cannot."""

        def run() -> T:
            with self._engine.begin() as connection:
                return work(connection)

        try:
            return await self._counted(run)
        except (sa.exc.DBAPIError, OSError) as error:
            raise StoreUnavailable("the store cannot be read now") from error
        except Exception as error:
            if self._database.nature_of(error) is Nature.OUTAGE:
                raise StoreUnavailable("the store cannot be read now") from error
            raise

    async def _counted(self, work: Callable[[], T]) -> T:
        """Run *work*; it counts, and is cut off, even if nobody waits for it any more."""
        loop = asyncio.get_running_loop()
        # A server that freezes would keep the thread for ever, and with it the end.
        cutting = loop.call_later(_LONG, self._cut)

        def end() -> None:
            self._reading -= 1
            cutting.cancel()

        def ended(_: object) -> None:
            with suppress(RuntimeError):  # the loop has ended before it
                loop.call_soon_threadsafe(end)

        self._reading += 1
        under_way = self._thread.submit(work)
        under_way.add_done_callback(ended)
        return await asyncio.wrap_future(under_way)

    def _cut(self) -> None:
        self._database.sever(readers=True)

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
