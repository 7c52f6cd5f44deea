"""Several replicas on one database, who gets the hooks, and which of them comes to harm."""

from __future__ import annotations

import asyncio
import random
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import aiohttp

from support.ledger import change, look, until
from support.program import HOOKS, CircleCI, Program

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from support.ledger import Ledger

PROBED_EVERY = 0.05
"""Seconds between two probes of a replica; Kubernetes takes its time, and longer to linger."""

PROBE = aiohttp.ClientTimeout(total=1)
"""A replica that takes longer to say that it is ready is not."""

GIVES_UP = 10.0
"""Seconds after which CircleCI waits for no answer any more."""


class Fleet:
    """
    Replicas that share a relay.yaml, and so a database.

    Hooks go to any that has started and has not ended; where readiness is *probed*, as
    behind a Kubernetes service, only to those that said they are ready.
    """

    def __init__(
        self, config: Path, session: aiohttp.ClientSession, *, seed: int, probed: bool, level: str
    ) -> None:
        self.members: list[Program] = []
        self.random = random.Random(seed)  # noqa: S311 - to be repeated, not to be secret
        self._config = config
        self._session = session
        self._probed = probed
        self._level = level
        self._urls: dict[Program, str] = {}  # who may get hooks, and where
        self._tasks: set[asyncio.Task[None]] = set()

    # Who there is

    async def add(self) -> Program:
        """Start one more, without waiting until it is ready."""
        program = await Program.start(self._config, "--log-level", self._level)
        self.members.append(program)
        task = asyncio.create_task(self._watch(program))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return program

    async def ready(self) -> None:
        """Wait until all take hooks in."""
        for program in self.members:
            await program.ready()
            await self.rotated(program)

    async def rotated(self, program: Program, *, wanted: bool = True) -> None:
        """Wait until *program* is in the rotation, or out of it."""
        await until(program, lambda: (program in self._urls) == wanted, every=PROBED_EVERY)

    def victim(self) -> Program:
        """Return one at random, however far it has come."""
        return self.random.choice(self.members)

    async def kill(self, program: Program) -> None:
        """End one at once."""
        self.members.remove(program)
        await program.kill()

    async def stop(self, program: Program) -> None:
        """End one as Kubernetes does."""
        self.members.remove(program)
        assert await program.stop() == 0

    async def stop_all(self) -> None:
        """End all in good order, side by side."""
        async with asyncio.TaskGroup() as tasks:
            for program in tuple(self.members):
                tasks.create_task(self.stop(program))

    async def end(self) -> None:
        """End whatever is left."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(self.kill(program) for program in tuple(self.members)))

    # Who gets hooks

    async def _watch(self, program: Program) -> None:
        """Have *program* in the rotation while hooks may be sent to it."""
        gone = asyncio.ensure_future(program.process.wait())
        url = ""
        try:
            while not gone.done():
                if not url:
                    with suppress(AssertionError, TimeoutError):
                        await program.ready()
                        url = program.url("listen", HOOKS)
                elif not self._probed or await self._says_ready(program):
                    self._urls[program] = url
                else:
                    self._urls.pop(program, None)
                await asyncio.wait({gone}, timeout=PROBED_EVERY)
        finally:
            self._urls.pop(program, None)
            gone.cancel()

    async def _says_ready(self, program: Program) -> bool:
        with suppress(aiohttp.ClientError, TimeoutError):
            async with self._session.get(program.url("ops", "/readyz"), timeout=PROBE) as response:
                return response.status == 200
        return False

    def sender(self, program: Program) -> CircleCI:
        """Return CircleCI, pointed at one of them."""
        return CircleCI(self._session, program.url("listen", HOOKS))

    @asynccontextmanager
    async def load(self, ledger: Ledger, *, width: int = 16) -> AsyncIterator[None]:
        """Post to replicas in turn as fast as *width* senders can, until the block ends."""
        ending = asyncio.Event()

        async def work() -> None:
            while not ending.is_set():
                if urls := list(self._urls.values()):
                    await ledger.post(
                        CircleCI(self._session, ledger.random.choice(urls)), ledger.draw()
                    )
                    continue
                with suppress(TimeoutError):
                    async with asyncio.timeout(PROBED_EVERY):
                        await ending.wait()

        async with asyncio.TaskGroup() as tasks:
            for _ in range(width):
                tasks.create_task(work())
            try:
                yield
            finally:
                ending.set()


@asynccontextmanager
async def fleet(
    config: Path, count: int, *, seed: int = 1, probed: bool = False, level: str = "info"
) -> AsyncIterator[Fleet]:
    """Run *count* replicas, and whatever is added, for as long as the block lasts."""
    async with aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=GIVES_UP),
        connector=aiohttp.TCPConnector(limit=200),
    ) as session:
        made = Fleet(config, session, seed=seed, probed=probed, level=level)
        try:
            for _ in range(count):
                await made.add()
            await made.ready()
            yield made
        finally:
            await made.end()


LEASED = (
    "SELECT key, token FROM deliveries WHERE state = 'pending' AND token IS NOT NULL ORDER BY key"
)
WAITING = "SELECT 1 FROM deliveries WHERE state = 'pending' AND token IS NULL LIMIT 1"
ENDED = (
    "UPDATE deliveries SET due_at = due_at - 3600000000"
    " WHERE state = 'pending' AND token IS NOT NULL RETURNING key"
)


async def left_behind(database: str, program: Program) -> int:
    """Wait until the living are done; return how many deliveries only the dead still hold."""
    seen: list[list[tuple[int, ...]]] = [[]]

    def quiet() -> bool:
        seen.append(look(database, LEASED))
        return not look(database, WAITING) and seen[-1] == seen[-2]

    await until(program, quiet, every=0.3)
    return len(seen[-1])


def lapse(database: str) -> int:
    """Let every lease end, as if its time had passed; return how many there were."""
    return len(change(database, ENDED))
