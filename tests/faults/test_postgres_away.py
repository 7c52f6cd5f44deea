"""PostgreSQL taken away under load: 503 meanwhile, no attempt repeated, recovery by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

import aiohttp
import pytest

from support.faults import SEED, scaled
from support.fleet import fleet
from support.ledger import PATIENCE, Ledger, look, until
from support.program import series, write_config
from support.receiver import Receiver, answer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from support.fleet import Fleet
    from support.postgres import Postgres
    from support.program import Program

StartReceiver = Callable[..., Awaitable[Receiver]]

FROZEN = scaled(1, 30)
"""Seconds without a sign of life, at least: it also lasts until that is noticed."""

ROUNDS = scaled(1, 3)
CUTS = scaled(6, 120)
HUNG = scaled(2, 20)
"""How often connections are cut while a COMMIT hangs on them."""

WIDTH = 4
"""How many attempts each replica has under way at the gated destination when it happens."""

ROUTING = {"success": ("healthy",), "failed": ("healthy", "gated")}


class Gate:
    """What a receiver waits for before it answers; it can be closed again."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.opened.set()
        self.waiting = 0  #: attempts that it holds

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer once it is open, unless the other side hangs up."""
        opened = asyncio.ensure_future(self.opened.wait())
        gone = asyncio.ensure_future(reader.read(1))
        self.waiting += 1
        try:
            await asyncio.wait({opened, gone}, return_when=asyncio.FIRST_COMPLETED)
            if opened.done():
                writer.write(answer(200, "connection: close"))
                await writer.drain()
        finally:
            self.waiting -= 1
            opened.cancel()
            gone.cancel()


class Scene(NamedTuple):
    """Two replicas, what they deliver to, and the server they store in."""

    postgres: Postgres
    database: str
    replicas: Fleet
    ledger: Ledger
    receivers: Mapping[str, Receiver]
    gate: Gate

    @property
    def begun(self) -> int:
        """How many attempts have begun so far."""
        return sum(len(each.requests) for each in self.receivers.values())

    async def said(self, event: str, times: int) -> None:
        """Wait until each replica has logged *event* so often."""
        for program in self.replicas.members:
            await program.log(event, times)


@pytest.fixture
async def scene(
    tmp_path: Path, postgres: Postgres, receiver: StartReceiver
) -> AsyncIterator[Scene]:
    """A scene in which all is well."""
    gate = Gate()
    receivers = {"healthy": await receiver(), "gated": await receiver(gate.answer)}
    database = postgres.database()
    config = write_config(
        tmp_path,
        store={"url": database},
        destinations={
            name: {"url": there.url(), "timeout": "25s", "concurrency": WIDTH}
            for name, there in receivers.items()
        },
        routes={
            "everything": {"to": "healthy"},
            "red": {"match": {"status": "failed"}, "to": "gated"},
        },
    )
    async with fleet(config, 2, seed=SEED) as replicas:
        yield Scene(postgres, database, replicas, Ledger(SEED, ROUTING), receivers, gate)


@asynccontextmanager
async def nothing_twice(scene: Scene) -> AsyncIterator[None]:
    """Put the replicas under load meanwhile; then all has arrived, and each once."""
    ledger, receivers, database = scene.ledger, scene.receivers, scene.database
    async with scene.replicas.load(ledger, width=6):
        await ledger.more(60, 202)
        yield
    scene.gate.opened.set()
    await ledger.arrived(receivers)
    await ledger.emptied(scene.replicas.members[0], database)
    for program in scene.replicas.members:
        assert not (await series(program))("settles_fenced_total")
    await scene.replicas.stop_all()
    assert set(ledger.answers) <= {200, 202, 503}, ledger.answers
    assert look(database, "SELECT DISTINCT result FROM attempts") == [("ok",)]
    assert not ledger.audit(receivers).total(), "an attempt was repeated"
    ledger.audit_store(database, receivers)


async def killed(scene: Scene) -> AsyncIterator[None]:
    """All its processes at once, as when its machine goes."""
    await asyncio.to_thread(scene.postgres.kill)
    yield
    await asyncio.to_thread(scene.postgres.start)


async def frozen(scene: Scene) -> AsyncIterator[None]:
    """It answers nothing, and its connections stay."""
    await asyncio.to_thread(scene.postgres.freeze)
    thawing = asyncio.get_running_loop().time() + FROZEN
    yield
    async with asyncio.timeout_at(thawing + PATIENCE):
        while asyncio.get_running_loop().time() < thawing:
            await scene.ledger.more(1, 503)
    await asyncio.to_thread(scene.postgres.thaw)


async def read_only(scene: Scene) -> AsyncIterator[None]:
    """As where another one has been made the primary."""
    await asyncio.to_thread(scene.postgres.read_only, on=True)
    yield
    await asyncio.to_thread(scene.postgres.read_only, on=False)


async def test_it_goes_and_comes_back(scene: Scene) -> None:
    """Killed, frozen or made read-only: no attempt begins until it is back, none is repeated."""
    ledger, times = scene.ledger, 0
    async with nothing_twice(scene):
        for way in (killed, frozen, read_only) * ROUNDS:
            times += 1
            await gone_and_back(scene, asynccontextmanager(way)(scene), times)
    print(  # noqa: T201 - shown by -rP
        f"away {times} times, frozen for {FROZEN} s: answers {dict(ledger.answers)}, none took"
        f" more than {ledger.slowest:.1f} s, {scene.begun} attempts, none repeated"
    )


async def gone_and_back(scene: Scene, away: AbstractAsyncContextManager[None], times: int) -> None:
    """Take it away while attempts are under way, for the time in this order of *times*."""
    ledger, gated = scene.ledger, scene.receivers["gated"]
    scene.gate.opened.clear()
    held = len(scene.replicas.members) * WIDTH
    await until(scene.replicas.members[0], lambda: scene.gate.waiting == held, every=0.01)
    async with away:
        await scene.said("store_unavailable", times)
        assert await probed(scene, "/readyz") == [503, 503]
        assert await probed(scene, "/healthz") == [200, 200]
        taken = ledger.answers[202]
        # What was under way ends; that cannot be written down now, and nothing follows it.
        begun = len(gated.requests)
        scene.gate.opened.set()
        await ledger.more(20, 503)
        settled = scene.begun
        await ledger.more(30, 503)
        assert len(gated.requests) == begun
        assert scene.begun == settled, "an attempt began while the store was away"
        assert ledger.answers[202] == taken
    await scene.said("store_recovered", times)
    await ready(scene)
    await ledger.more(60, 202)


async def probed(scene: Scene, path: str) -> list[int]:
    """Ask each replica as Kubernetes does; return the statuses."""
    statuses = []
    async with aiohttp.ClientSession() as session:
        for program in scene.replicas.members:
            async with session.get(program.url("ops", path)) as response:
                statuses.append(response.status)
    return statuses


async def ready(scene: Scene) -> None:
    """Wait until all are."""
    async with asyncio.timeout(PATIENCE):
        while await probed(scene, "/readyz") != [200, 200]:
            pass


async def test_its_connections_are_cut(scene: Scene) -> None:
    """Again and again, also in the middle of COMMIT: its fate is found out, nothing is repeated."""
    postgres, ledger, database = scene.postgres, scene.ledger, scene.database
    cut = undecided = 0
    async with nothing_twice(scene):
        for _ in range(CUTS):
            await ledger.more(scene.replicas.random.randrange(1, 40), 200, 202)
            cut += await asyncio.to_thread(postgres.terminate_backends, database)
        for _ in range(HUNG):
            await ledger.more(20, 202)
            # No such standby: a COMMIT is durable here, and then waits for ever to say so.
            await asyncio.to_thread(postgres.set, "synchronous_standby_names", "nobody")
            try:
                undecided += await cut_in_commit(postgres, database, scene.replicas.members[0])
            finally:
                await asyncio.to_thread(postgres.set, "synchronous_standby_names", None)
    print(  # noqa: T201 - shown by -rP
        f"{cut} connections cut, {undecided} more in the middle of COMMIT: answers"
        f" {dict(ledger.answers)}, {scene.begun} attempts, none repeated"
    )


async def cut_in_commit(postgres: Postgres, database: str, program: Program) -> int:
    """Cut the connections on which a COMMIT hangs, once there are any; return how many."""
    hangs = "FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'SyncRep'"
    cut = f"SELECT pg_terminate_backend(pid) {hangs}"
    done: list[int] = []

    def some() -> bool:
        done.append(len(postgres.query(database, cut)))
        return sum(done) > 0

    await until(program, some, every=0.01)
    return sum(done)
