"""Several replicas on one PostgreSQL: killed, put to sleep, restarted in turn."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import pytest

from support.faults import FULL, SEED, scaled
from support.fleet import fleet, lapse, left_behind
from support.gate import gate
from support.ledger import PATIENCE, Ledger, look, until
from support.program import series, write_config
from support.receiver import Receiver, answer

if TYPE_CHECKING:
    import random
    from collections.abc import Mapping
    from pathlib import Path

    from support.postgres import Postgres
    from support.program import Program

StartReceiver = Callable[..., Awaitable[Receiver]]

KILLS = scaled(2, 60)
RESTARTS = scaled(2, 12)
"""How many times one of the three replicas is replaced in good order."""

WIDTH = 4
"""How many attempts are under way when a replica falls asleep."""

STOPS = 100
"""How often it is tried to stop one inside its transaction; about every seventh time does."""

SESSIONS = "FROM pg_stat_activity WHERE application_name = 'circleci-relay' AND xact_start"
INSIDE = (
    f"SELECT 1 {SESSIONS} < clock_timestamp() - interval '100ms' AND state = 'active'"
    " AND wait_event = 'ClientRead' AND datname = current_database()"
)
"""The server waits for the rest of what a replica was sending."""
OUTSIDE = f"SELECT 1 WHERE NOT EXISTS (SELECT 1 {SESSIONS} IS NOT NULL)"

LEASED = (
    "SELECT 1 FROM deliveries WHERE state = 'pending' AND token IS NOT NULL"
    " AND due_at > extract(epoch FROM clock_timestamp()) * 1000000 LIMIT 1"
)
TAKEN_OVER = (
    "SELECT key, token, due_at, attempts FROM deliveries WHERE destination = 'gated'"
    " AND state = 'pending' AND token IS NOT NULL AND attempts = 2 ORDER BY key"
)

ROUTING = {"success": ("healthy", "flaky"), "failed": ("healthy",)}


@pytest.fixture
def database(postgres: Postgres) -> str:
    """A database of the test's own."""
    return postgres.database()


def configured(
    folder: Path,
    database: str,
    receivers: Mapping[str, Receiver],
    *,
    linger: str = "0s",
    **more: Any,
) -> Path:
    """Write a relay.yaml that leads everything to the first, and what is green to the second."""
    first, second = receivers
    return write_config(
        folder,
        server={"shutdown": {"linger": linger, "drain": "5s"}},
        store={"url": database},
        destinations={
            name: {
                "url": there.url(),
                "timeout": "5s",
                "retry": {"initial": "20ms", "max_interval": "200ms"},
                "breaker": {"failures": 5, "pause": "100ms"},
                **more,
            }
            for name, there in receivers.items()
        },
        routes={
            "everything": {"to": first},
            "green": {"match": {"status": "success"}, "to": second},
        },
    )


async def test_a_random_one_is_killed_again_and_again(
    tmp_path: Path, database: str, receiver: StartReceiver
) -> None:
    """The others go on, and take over what it had once its leases end."""
    receivers = {
        "healthy": await receiver(),
        "flaky": await receiver(*[answer(500)] * 25, answer(200)),
    }
    ledger = Ledger(SEED, ROUTING)
    config = configured(tmp_path, database, receivers)
    async with fleet(config, 3, seed=SEED) as replicas:
        async with replicas.load(ledger, width=8):
            for turn in range(KILLS):
                await a_moment(replicas.random, ledger)
                await replicas.kill(replicas.victim())
                if turn + 1 < KILLS:
                    await replicas.add()
            await ledger.more(50, 200, 202)
        left = await left_behind(database, replicas.members[0])
        if not FULL:
            assert lapse(database) == left
        await replicas.add()
        await ledger.arrived(receivers)
        await ledger.emptied(replicas.members[0], database)
        await replicas.ready()
        await replicas.stop_all()
    repeats = ledger.audit(receivers)
    ledger.audit_store(database, receivers)
    healthy = look(
        database,
        "SELECT DISTINCT a.result FROM attempts a JOIN deliveries d ON d.key = a.delivery"
        " WHERE d.destination = 'healthy'",
    )
    assert {result for (result,) in healthy} <= {"ok", "lost"}, "only a crash repeats these"
    print(  # noqa: T201 - shown by -rP
        f"{KILLS} of three killed, seed {SEED}: {len(ledger.sent)} events, answers"
        f" {dict(ledger.answers)}, {len(ledger.acknowledged)} acknowledged, {left} left behind"
        f" by the last, repeats {dict(repeats)}"
    )


async def a_moment(chance: random.Random, ledger: Ledger) -> None:
    """Let a random number of acknowledgements pass."""
    await ledger.more(chance.randrange(1, 150), 200, 202)
    for _ in range(chance.randrange(50)):
        await asyncio.sleep(0)


async def test_one_that_slept_longer_than_its_lease_is_fenced(
    tmp_path: Path, postgres: Postgres, database: str, receiver: StartReceiver
) -> None:
    """What it had is taken over meanwhile; what it then tries to settle is refused and counted."""
    asleep, taken = gate(), gate()
    gated = await receiver(*[asleep[1]] * WIDTH, *[taken[1]] * WIDTH, answer(200))
    receivers = {"healthy": await receiver(), "gated": gated}
    ledger = Ledger(SEED, {"success": ("healthy", "gated")})
    config = configured(tmp_path, database, receivers, concurrency=WIDTH, timeout="20s")
    async with fleet(config, 1, probed=True) as replicas:
        [sleeper] = replicas.members
        async with replicas.load(ledger, width=8):
            await gated.wait_for(WIDTH)
            await ledger.more(30, 202)
            await stopped(postgres, database, sleeper, ledger, when=OUTSIDE)
            await overslept(database, sleeper)
            holder = await replicas.add()
            await replicas.rotated(sleeper, wanted=False)
            await replicas.rotated(holder)
            async with replicas.load(ledger, width=4):
                # The holder has all it may have under way there, so nothing changes by itself.
                await gated.wait_for(2 * WIDTH)
                await ledger.more(10, 202)
                theirs = look(database, TAKEN_OVER)
                assert len(theirs) >= WIDTH
                asleep[0].set()
                sleeper.signal(signal.SIGCONT)
                fenced = await counted(sleeper, "settles_fenced_total", WIDTH)
                await replicas.rotated(sleeper)
                assert look(database, TAKEN_OVER) == theirs, "it changed what another one holds"
                taken[0].set()
                await ledger.more(30, 202)
        await ledger.arrived(receivers)
        await ledger.emptied(holder, database)
        dropped = await counted(sleeper, "leases_lost_total", int(FULL))
        assert not (await series(holder))("settles_fenced_total")
        await replicas.stop_all()
    repeats = ledger.audit(receivers)
    ledger.audit_store(database, receivers)
    print(  # noqa: T201 - shown by -rP
        f"{len(theirs)} of a sleeper's taken over: {fenced:.0f} settlements fenced at once,"
        f" {dropped:.0f} not begun, {len(ledger.acknowledged)} acknowledged, answers"
        f" {dict(ledger.answers)}, repeats {dict(repeats)}"
    )


async def overslept(database: str, sleeper: Program) -> None:
    """Let the leases of *sleeper* end: in the long form, by waiting."""
    if FULL:
        await until(sleeper, lambda: not look(database, LEASED), every=0.1)
    lapse(database)  # in both, so that what it had is first in the line


async def counted(program: Program, name: str, least: int) -> float:
    """Return what *program* says of a series, once it is that much."""
    async with asyncio.timeout(PATIENCE):
        while (value := (await series(program))(name)) < least:
            await program.moment()
    return value


@pytest.mark.skipif(not FULL, reason="takes as long as the server has patience")
async def test_one_asleep_inside_its_transaction_is_cut_off(
    tmp_path: Path, postgres: Postgres, database: str, receiver: StartReceiver
) -> None:
    """What it has locked is let go of; the others go on meanwhile, and it does once woken."""
    receivers = {"healthy": await receiver(), "other": await receiver()}
    ledger = Ledger(SEED, {"success": ("healthy", "other")})
    config = configured(tmp_path, database, receivers)
    async with fleet(config, 2, seed=SEED, probed=True) as replicas:
        [sleeper, other] = replicas.members
        async with replicas.load(ledger, width=8):
            stops = await stopped(postgres, database, sleeper, ledger, when=INSIDE)
            await replicas.rotated(sleeper, wanted=False)
            async with replicas.load(ledger, width=4):
                began = time.monotonic()
                await until(other, lambda: not postgres.query(database, INSIDE), every=0.2)
                took = time.monotonic() - began
                await ledger.more(100, 202)
                sleeper.signal(signal.SIGCONT)
                await replicas.rotated(sleeper)
                await ledger.more(30, 202)
        await ledger.arrived(receivers)
        await ledger.emptied(other, database)
        await replicas.stop_all()
    repeats = ledger.audit(receivers)
    ledger.audit_store(database, receivers)
    print(  # noqa: T201 - shown by -rP
        f"asleep inside a transaction at stop {stops}, cut off after {took:.1f} s: answers"
        f" {dict(ledger.answers)}, repeats {dict(repeats)}"
    )


async def stopped(
    postgres: Postgres, database: str, sleeper: Program, ledger: Ledger, *, when: str
) -> int:
    """Stop *sleeper* again and again under load, until *when* finds it so; return how often."""
    for attempt in range(1, STOPS):
        await ledger.more(ledger.random.randrange(1, 20), 200, 202)
        sleeper.signal(signal.SIGSTOP)
        await asyncio.to_thread(postgres.query, database, "SELECT pg_sleep(0.15)")
        if postgres.query(database, when):
            return attempt
        sleeper.signal(signal.SIGCONT)
    raise AssertionError("it never was so")


async def test_restarted_in_turn(tmp_path: Path, database: str, receiver: StartReceiver) -> None:
    """As Kubernetes does it, behind readiness and with `linger`: no hook refused, no repeat."""
    receivers = {"healthy": await receiver(), "other": await receiver()}
    ledger = Ledger(SEED, {"success": ("healthy", "other"), "failed": ("healthy",)})
    config = configured(tmp_path, database, receivers, linger="1s")
    async with fleet(config, 3, seed=SEED, probed=True) as replicas:
        async with replicas.load(ledger, width=3):
            for _ in range(RESTARTS):
                await ledger.more(30, 202)
                await replicas.stop(replicas.members[0])
                # It finds at once what that one gave back; the others look every five seconds.
                await replicas.rotated(await replicas.add())
        await ledger.arrived(receivers)
        await ledger.emptied(replicas.members[0], database)
    assert set(ledger.answers) == {200, 202}, ledger.answers
    assert not ledger.audit(receivers).total()
    ledger.audit_store(database, receivers)
    assert look(database, "SELECT DISTINCT result FROM attempts") == [("ok",)]
    print(  # noqa: T201 - shown by -rP
        f"of three replicas {RESTARTS} replaced in turn: answers {dict(ledger.answers)}, none took"
        f" more than {ledger.slowest:.2f} s, {len(receivers['healthy'].requests)} arrivals, no"
        " repeat"
    )
