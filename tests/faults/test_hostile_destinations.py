"""Destinations at their worst, all at once, beside healthy ones; and those that move away."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any

from support.faults import FULL, SEED, scaled
from support.hostile import KINDS, Crowd, crowd, peak_memory
from support.ledger import Ledger, Sent, look, until
from support.program import CircleCI, Program, an_event, circleci, running, write_config
from support.receiver import Receiver, answer

if TYPE_CHECKING:
    from pathlib import Path

StartReceiver = Callable[..., Awaitable[Receiver]]

HEALTHY = ("first", "second")
TRIES = 2
RATE = 40.0
"""Events a second: a small part of what one process can."""

PHASES = scaled(1, 7)
EVENTS = scaled(len(KINDS), 245)
"""In each phase."""
EACH = scaled(1, 3)
"""How many of them go to each of the hostile ones."""

NOISE = 20.0
"""Milliseconds that the machine's own doings put on a 99th percentile."""

MEMORY = 192 * 1024
"""KiB the relay may take at its peak; without hostile destinations it is about half."""

SETTINGS: dict[str, Any] = {
    "retry": {"initial": "20ms", "max_interval": "100ms", "max_attempts": TRIES},
    "breaker": None,
}
TIMEOUTS = {
    "says-nothing": "500ms",
    "never-reads": "500ms",
    "drips-head": "500ms",
    "drips-body": "1500ms",
    "fails-and-drips": "1500ms",
}
"""Where waiting is what happens; the last two must answer before."""


def configured(folder: Path, healthy: dict[str, Receiver], hostile: Crowd) -> Path:
    """Write a relay.yaml: everything to the healthy ones, each branch to the kind of its name."""
    destinations: dict[str, Any] = {name: {"url": each.url()} for name, each in healthy.items()}
    for kind in KINDS:
        timeout = TIMEOUTS.get(kind, "5s")
        destinations[kind] = {"url": hostile.url(kind), **SETTINGS, "timeout": timeout}
    destinations["other-name"]["tls"] = {"ca": str(hostile.ca)}
    routes: dict[str, Any] = {kind: {"match": {"branch": kind}, "to": kind} for kind in KINDS}
    routes["everything"] = {"to": list(HEALTHY)}
    return write_config(folder, destinations=destinations, routes=routes)


def an_event_for(ledger: Ledger, kind: str | None) -> str:
    """Return the id of a new event, for the healthy ones and perhaps one that is not."""
    number = len(ledger.sent)
    long = 300_000 if kind in {"never-reads", "answers-unasked"} else 500
    body = an_event(
        number,
        pipeline={"id": "p", "number": number, "vcs": {"branch": kind or "main"}},
        padding="x" * ledger.random.randrange(long),
    )
    name = str(json.loads(body)["id"])
    ledger.sent[name] = Sent(body, (*HEALTHY, kind) if kind else HEALTHY)
    return name


async def post_all(ledger: Ledger, sender: CircleCI, names: list[str]) -> None:
    """Post these at a steady rate, however long each takes to be answered."""
    loop = asyncio.get_running_loop()
    last = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:

        def begin(name: str) -> None:
            tasks.create_task(ledger.post(sender, name))
            if name == names[-1]:
                last.set()

        for index, name in enumerate(names):
            loop.call_later(index / RATE, begin, name)
        await last.wait()


def times(database: Path, names: list[str]) -> list[float]:
    """Return the milliseconds from receiving to delivery at the healthy ones."""
    wanted = set(names)
    return [
        took / 1000
        for event, took in look(
            database,
            "SELECT e.id, a.started_at + a.duration - e.received_at FROM attempts a"
            " JOIN deliveries d ON d.key = a.delivery JOIN events e ON e.key = d.event"
            " WHERE d.destination IN ('first', 'second') AND a.result = 'ok'",
        )
        if event in wanted
    ]


def p99(values: list[float]) -> float:
    """Return the 99th percentile."""
    return quantiles(values, n=100, method="inclusive")[98]


def check_healthy(ledger: Ledger, database: Path) -> None:
    """Check that all that was acknowledged is stored, and went to the healthy ones at once."""
    stored = look(database, "SELECT id, public_id FROM events")
    assert len(stored) == len(dict(stored)) == len(ledger.sent)
    assert all(ledger.sent[name].relay_ids == {relay_id} for name, relay_id in stored)
    found = look(
        database,
        "SELECT destination, state, attempts, last_result, count(*) FROM deliveries"
        " WHERE destination IN ('first', 'second') GROUP BY 1, 2, 3, 4",
    )
    assert found == [(name, "delivered", 1, "ok", len(stored)) for name in HEALTHY]


def check_hostile(ledger: Ledger, database: Path) -> Counter[str]:
    """Check that each got exactly what the rules say; return how many attempts ended how."""
    results: Counter[str] = Counter()
    sent = Counter(each.to[-1] for each in ledger.sent.values())
    ended, attempts = Counter[Any](), Counter[Any]()
    for kind, *end, count in look(
        database,
        "SELECT destination, state, reason, attempts, count(*) FROM deliveries"
        " WHERE destination NOT IN ('first', 'second') GROUP BY 1, 2, 3, 4",
    ):
        ended[kind, *end] += count
    for kind, result, count in look(
        database,
        "SELECT d.destination, a.result, count(*) FROM attempts a JOIN deliveries d"
        " ON d.key = a.delivery WHERE d.destination NOT IN ('first', 'second') GROUP BY 1, 2",
    ):
        attempts[kind, result] += count
    ends, made = Counter[Any](), Counter[Any]()
    for kind, expected in KINDS.items():
        tries = 1 if expected.delivered else TRIES
        state = ("delivered", None) if expected.delivered else ("dead", "max_attempts")
        ends[kind, *state, tries] = sent[kind]
        made[kind, expected.result] = sent[kind] * tries
        results[str(expected.result)] += sent[kind] * tries
    assert ended == ends
    assert attempts == made
    return results


async def test_the_worst_destinations_beside_healthy_ones(
    tmp_path: Path, receiver: StartReceiver
) -> None:
    """The healthy ones notice nothing; each other's end is recorded as what it was."""
    healthy = {name: await receiver() for name in HEALTHY}
    elsewhere = await receiver()
    ledger, database = Ledger(SEED, {}), tmp_path / "relay.db"
    alone, beside = [], []
    async with crowd(tmp_path, elsewhere.port) as hostile:
        config = configured(tmp_path, healthy, hostile)
        async with running(config) as program, circleci(program) as sender:
            for _ in range(PHASES):
                names = [an_event_for(ledger, None) for _ in range(EVENTS)]
                await post_all(ledger, sender, names)
                await ledger.emptied(program, database)
                alone.append(p99(times(database, names)))
                kinds: list[str | None] = [*KINDS] * EACH
                kinds += [None] * (EVENTS - len(kinds))
                ledger.random.shuffle(kinds)
                names = [an_event_for(ledger, kind) for kind in kinds]
                await post_all(ledger, sender, names)
                await ledger.emptied(program, database)
                beside.append(p99(times(database, names)))
            await ledger.arrived(healthy)
            peak = peak_memory(program)
            assert await program.stop() == 0
    assert not ledger.audit(healthy).total()
    assert ledger.answers.keys() == {202}
    check_healthy(ledger, database)
    results = check_hostile(ledger, database)
    assert elsewhere.requests == []
    assert not program.logged("request_failed")
    print(  # noqa: T201 - shown by -rP
        f"{len(KINDS)} hostile destinations, seed {SEED}: {len(ledger.sent)} events at"
        f" {RATE:.0f}/s, attempts {dict(results)}; delivery p99 at the healthy ones, ms, without"
        f" {median(alone):.1f} ({min(alone):.1f} to {max(alone):.1f}), with {median(beside):.1f}"
        f" ({min(beside):.1f} to {max(beside):.1f}); peak memory {peak // 1024} MiB"
    )
    assert peak < MEMORY
    if FULL:
        assert median(beside) <= 1.5 * max(NOISE, median(alone))


# Names

NAMES = '''
"""Look names up in files: the one with the name's own holds its address, once it is there."""
import pathlib, socket, time

known, folder = socket.getaddrinfo, pathlib.Path(__file__).parent

def look_up(host, *rest, **options):
    if isinstance(host, str) and host.endswith(".test"):
        (folder / f"{host}.asked").touch()
        while not (folder / host).exists():
            time.sleep(0.01)
        host = (folder / host).read_text()
    return known(host, *rest, **options)

socket.getaddrinfo = look_up
'''
"""What stands in for a name server, within the program; one without an answer never ends."""

QUICK = {"retry": {"initial": "20ms", "max_interval": "100ms"}, "breaker": None}


def name_server(folder: Path) -> dict[str, str]:
    """Return the environment of a program that asks us for names."""
    (folder / "sitecustomize.py").write_text(NAMES)
    return {"PYTHONPATH": str(folder)}


def asked(folder: Path) -> int:
    """Return how many lookups hang."""
    return len([*folder.glob("hangs*.asked")])


@asynccontextmanager
async def listening(address: str, port: int = 0) -> AsyncIterator[Receiver]:
    """Receive at *address*; at the end it is gone, with all its connections."""
    made, writers = Receiver([answer(200)]), []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        await made.serve(reader, writer)

    server = await asyncio.start_server(serve, address, port)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()


async def test_a_destination_that_changes_its_address(tmp_path: Path) -> None:
    """It is found where its name leads by then, without a reload; meanwhile all waits."""
    ledger = Ledger(SEED, {"success": ("moves",)})
    name = tmp_path / "moves.test"
    name.write_text("127.0.0.1")
    async with listening("127.0.0.1") as before:
        config = write_config(
            tmp_path,
            destinations={"moves": {"url": f"http://moves.test:{before.port}/", **QUICK}},
            routes={"everything": {"to": "moves"}},
        )
        program = await Program.start(config, env=name_server(tmp_path))
        await program.ready()
        async with circleci(program) as sender:
            for _ in range(20):
                await ledger.post(sender, ledger.draw())
            await ledger.arrived({"moves": before})
    try:
        async with circleci(program) as sender:
            for _ in range(20):
                await ledger.post(sender, ledger.draw())
            await program.log("attempt", 20, result="connection")
            async with listening("127.0.0.2", before.port) as after:
                name.write_text("127.0.0.2")
                await ledger.emptied(program, tmp_path / "relay.db")
                assert await program.stop() == 0
    finally:
        await program.kill()
    after.requests += before.requests
    assert not ledger.audit({"moves": after}).total()
    ledger.audit_store(tmp_path / "relay.db", {"moves": after})


async def test_names_that_nobody_answers_for(tmp_path: Path, receiver: StartReceiver) -> None:
    """However many lookups hang, others are looked up, and the end does not wait for them."""
    there = await receiver()
    hanging = [f"hangs-{number}" for number in range(12)]
    (tmp_path / "healthy.test").write_text("127.0.0.1")
    config = write_config(
        tmp_path,
        server={"shutdown": {"drain": "100ms"}},
        destinations={
            "healthy": {"url": f"http://healthy.test:{there.port}/"},
            **{name: {"url": f"http://{name}.test/"} for name in hanging},
        },
        routes={
            "red": {"match": {"status": "failed"}, "to": hanging},
            "green": {"match": {"status": "success"}, "to": "healthy"},
        },
    )
    ledger = Ledger(SEED, {"success": ("healthy",)})
    async with running(config, env=name_server(tmp_path)) as program, circleci(program) as sender:
        failed = an_event(999, workflow={"id": "f", "name": "build", "status": "failed"})
        assert (await sender.post(failed))[0] == 202
        await until(program, lambda: asked(tmp_path) > 3, every=0.01)
        await ledger.post(sender, ledger.draw())
        await there.wait_for(1)
        await until(program, lambda: asked(tmp_path) == len(hanging), every=0.01)
        assert await program.stop() == 0
