"""`kill -9` at any moment: what was acknowledged arrives, and nothing that was not sent."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from support.faults import SEED, scaled
from support.ledger import Ledger, look, until
from support.program import Program, circleci, running, write_config
from support.receiver import Answer, Receiver, answer

if TYPE_CHECKING:
    from pathlib import Path

StartReceiver = Callable[..., Awaitable[Receiver]]

CRASHES = scaled(3, 200)

PATIENT = {"initial": "20ms", "max_interval": "200ms"}
ROUTING = {"success": ("healthy", "flaky"), "failed": ("healthy", "flaky", "forgetful")}


async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Take the request, and close the connection without a word."""
    writer.close()


async def three_receivers(receiver: StartReceiver, chance: random.Random) -> dict[str, Receiver]:
    """Start one that is healthy, one that fails at first, one that now and then hangs up."""
    forgetful: list[Answer] = [
        hang_up if chance.random() < 0.1 else answer(204) for _ in range(100 * CRASHES)
    ]
    return {
        "healthy": await receiver(),
        "flaky": await receiver(*[answer(500)] * 25, answer(200)),
        "forgetful": await receiver(*forgetful, answer(200)),
    }


def configured(folder: Path, receivers: dict[str, Receiver]) -> Path:
    """Write a relay.yaml that leads to all three."""
    breaker = {"failures": 5, "pause": "100ms"}
    return write_config(
        folder,
        destinations={
            name: {"url": there.url(), "retry": PATIENT, "breaker": breaker}
            for name, there in receivers.items()
        },
        routes={
            "everything": {"to": ["healthy", "flaky"]},
            "red": {"match": {"status": "failed"}, "to": ["forgetful", "healthy"]},
        },
    )


async def a_moment(chance: random.Random, ledger: Ledger, receivers: dict[str, Receiver]) -> None:
    """Let a random number of acknowledgements or arrivals pass."""
    some = chance.randrange(1, 150)
    if chance.random() < 0.5:
        await ledger.more(some, 200, 202)
    else:
        there = receivers[chance.choice(sorted(receivers))]
        await there.wait_for(len(there.requests) + some)
    for _ in range(chance.randrange(50)):
        await asyncio.sleep(0)


@asynccontextmanager
async def replaced(config: Path) -> AsyncIterator[Callable[[], Awaitable[Program]]]:
    """Yield what returns the next process to take hooks in, while another one is starting."""
    programs = [await Program.start(config)]

    async def following() -> Program:
        # Only then the one after it, or the two would race for the file.
        program = await programs[-1].ready()
        programs.append(await Program.start(config))
        return program

    try:
        yield following
    finally:
        for program in programs:
            await program.kill()


async def test_killed_under_load_again_and_again(tmp_path: Path, receiver: StartReceiver) -> None:
    """Whatever was acknowledged arrives everywhere it should, each under one webhook-id."""
    chance = random.Random(SEED)  # noqa: S311 - to be repeated, not to be secret
    receivers = await three_receivers(receiver, chance)
    ledger, database = Ledger(SEED, ROUTING), tmp_path / "relay.db"
    config = configured(tmp_path, receivers)
    # The next one waits for the file meanwhile: it takes over as soon as that can be.
    async with replaced(config) as following:
        for _ in range(CRASHES):
            program = await following()
            async with ledger.load(program):
                await a_moment(chance, ledger, receivers)
                await program.kill()
        program = await following()
        await ledger.arrived(receivers)
        await ledger.emptied(program, database)
        assert await program.stop() == 0
    repeats = ledger.audit(receivers)
    ledger.audit_store(database, receivers)
    lost = look(database, "SELECT count(*) FROM attempts WHERE result = 'lost'")[0][0]
    healthy = look(
        database,
        "SELECT DISTINCT a.result FROM attempts a JOIN deliveries d ON d.key = a.delivery"
        " WHERE d.destination = 'healthy'",
    )
    assert {result for (result,) in healthy} <= {"ok", "lost"}, "only a crash repeats these"
    print(  # noqa: T201 - shown by -rP
        f"{CRASHES} crashes, seed {SEED}: {len(ledger.sent)} events, answers"
        f" {dict(ledger.answers)}, {len(ledger.acknowledged)} acknowledged, repeats"
        f" {dict(repeats)}, attempts lost {lost}"
    )


async def test_killed_while_it_starts(tmp_path: Path, receiver: StartReceiver) -> None:
    """A start cut short, even in the middle of making the tables, leaves nothing in the way."""
    there = await receiver()
    config = write_config(
        tmp_path,
        destinations={"healthy": {"url": there.url()}},
        routes={"everything": {"to": "healthy"}},
    )
    for trace in ("relay.db.lock", "relay.db-wal"):
        program = await Program.start(config)
        await until(program, (tmp_path / trace).exists, every=0.002)
        await program.kill()
    ledger = Ledger(SEED, {"success": ("healthy",)})
    async with running(config) as program, circleci(program) as sender:
        assert await ledger.post(sender, ledger.draw()) == 202
        await ledger.arrived({"healthy": there})
        assert await program.stop() == 0
