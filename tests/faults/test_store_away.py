"""The store taken away under load: 503 meanwhile, no attempt repeated, recovery by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import aiohttp

from support.faults import SEED, scaled
from support.gate import gate
from support.ledger import Ledger, until
from support.program import Program, running, write_config
from support.receiver import Receiver, answer

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from support.shortage import FullDisk, Shortage

StartReceiver = Callable[..., Awaitable[Receiver]]

WIDTH = 4
"""How many attempts are under way at the gated destination when the store goes."""

PAGES = scaled(150, 2_000)
"""Pages of 4 KiB that the database may have: about 100 without any event."""

ROUTING = {"success": ("healthy",), "failed": ("healthy", "gated")}


def configured(
    folder: Path, store: Path, receivers: Mapping[str, Receiver], *, options: str = ""
) -> Path:
    """Write a relay.yaml that leads to a healthy and a gated destination."""
    return write_config(
        folder,
        store={"url": f"sqlite:///{store / 'relay.db'}{options}"},
        destinations={
            name: {"url": there.url(), "timeout": "25s", "concurrency": WIDTH}
            for name, there in receivers.items()
        },
        routes={
            "everything": {"to": "healthy"},
            "red": {"match": {"status": "failed"}, "to": "gated"},
        },
    )


async def probe(program: Program, path: str) -> tuple[int, dict[str, Any]]:
    """Ask as Kubernetes does."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(program.url("ops", path)) as response,
    ):
        return response.status, await response.json()


async def readiness(program: Program, wanted: int) -> None:
    """Wait until `/readyz` says *wanted*."""
    async with asyncio.timeout(20):
        while (await probe(program, "/readyz"))[0] != wanted:
            await program.moment()


async def test_the_store_goes_and_comes_back(
    tmp_path: Path, shortage: Shortage, receiver: StartReceiver
) -> None:
    """Full or broken under load: told by 503s; then all goes on, nothing is sent twice."""
    opened, waiting = gate()
    receivers = {
        "healthy": await receiver(),
        "gated": await receiver(*[waiting] * WIDTH, answer(200)),
    }
    gated, database = receivers["gated"], shortage.folder / "relay.db"
    ledger = Ledger(2, ROUTING)
    config = configured(tmp_path, shortage.folder, receivers)
    async with running(config) as program:
        async with ledger.load(program, width=8):
            await ledger.more(150, 202)
            await gated.wait_for(WIDTH)
            shortage.begin(program)
            [away] = await program.log("store_unavailable")
            await ledger.more(50, 503)
            status, said = await probe(program, "/readyz")
            alive, _ = await probe(program, "/healthz")
            # What was under way ends; that cannot be written down now, and nothing follows it.
            opened.set()
            await program.log("attempt", WIDTH, destination="gated", then="delivered")
            taken = sum(ledger.answers[each] for each in (200, 202))
            begun = len(gated.requests)
            await ledger.more(50, 503)
            assert (len(gated.requests), begun) == (WIDTH, WIDTH)
            assert sum(ledger.answers[each] for each in (200, 202)) == taken
            shortage.end(program)
            await program.log("store_recovered")
            await readiness(program, 200)
            await ledger.more(150, 202)
        await ledger.arrived(receivers)
        await ledger.emptied(program, database)
        assert await program.stop() == 0
    assert (status, alive) == (503, 200)
    assert said["reasons"] == ["the store cannot be written"]
    assert not {"SELECT", "INSERT", "UPDATE"} & set(str(away["error"]).split())
    assert set(ledger.answers) <= {200, 202, 503}
    assert not ledger.audit(receivers).total(), "an attempt was repeated"
    ledger.audit_store(database, receivers)


async def test_a_crash_on_a_full_disk(
    tmp_path: Path, full_disk: FullDisk, receiver: StartReceiver
) -> None:
    """It says so when it cannot start there, and delivers everything once there is room."""
    opened, waiting = gate()
    receivers = {
        "healthy": await receiver(),
        "gated": await receiver(*[waiting] * WIDTH, answer(200)),
    }
    ledger = Ledger(3, ROUTING)
    config = configured(tmp_path, full_disk.folder, receivers)
    async with running(config) as program, ledger.load(program, width=8):
        await ledger.more(100, 202)
        await receivers["gated"].wait_for(WIDTH)
        full_disk.begin(program)
        await ledger.more(20, 503)
        await program.kill()
    opened.set()
    refused = await Program.start(config)
    assert await refused.ended() == 1
    assert len(refused.raw) == 1, refused.raw
    full_disk.end(program)
    async with running(config) as program:
        await ledger.arrived(receivers)
        await ledger.emptied(program, full_disk.folder / "relay.db")
        assert await program.stop() == 0
    ledger.audit(receivers)
    ledger.audit_store(full_disk.folder / "relay.db", receivers)


async def test_no_more_pages_until_there_are(tmp_path: Path, receiver: StartReceiver) -> None:
    """`max_page_count` fills like a disk: 503, nothing delivered lost; a larger one ends it."""
    receivers = {"healthy": await receiver(), "gated": await receiver()}
    ledger, database = Ledger(SEED, ROUTING), tmp_path / "relay.db"
    config = configured(tmp_path, tmp_path, receivers, options=f"?max_page_count={PAGES}")
    async with running(config) as program:
        async with ledger.load(program, width=8):
            [away] = await program.log("store_unavailable")
            taken = ledger.answers[202]
            await ledger.more(50, 503)
            status, said = await probe(program, "/readyz")
            alive, _ = await probe(program, "/healthz")
        assert await program.stop() == 0
    refused = await Program.start(config)
    await until(refused, lambda: bool(refused.lines or refused.raw), every=0.05)
    early = len(refused.raw)
    await refused.kill()
    config = configured(tmp_path, tmp_path, receivers, options=f"?max_page_count={100 * PAGES}")
    async with running(config) as program:
        async with ledger.load(program, width=8):
            await ledger.more(50, 202)
        await ledger.arrived(receivers)
        await ledger.emptied(program, database)
        assert await program.stop() == 0
    repeats = ledger.audit(receivers)
    ledger.audit_store(database, receivers)
    print(  # noqa: T201 - shown by -rP
        f"full at {PAGES} pages after {taken} events ({away['error']}): answers"
        f" {dict(ledger.answers)}, repeats {dict(repeats)}, {early} line(s) of a start while full"
    )
    assert (status, alive) == (503, 200)
    assert said["reasons"] == ["the store cannot be written"]
    assert "full" in str(away["error"])
    assert set(ledger.answers) <= {200, 202, 503}
