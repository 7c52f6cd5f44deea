"""Stopping in good order, at once, and before it has begun: each with the status it should."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from support.gate import gate
from support.ledger import Ledger, look
from support.program import Program, an_event, circleci, running, write_config
from support.receiver import Receiver, answer

StartReceiver = Callable[..., Awaitable[Receiver]]

WIDTH = 16
SIGNALS = [signal.SIGTERM, signal.SIGINT]
FREE = (
    "SELECT count(*) FROM deliveries"
    " WHERE state = 'pending' AND token IS NULL AND due_at <= 1000000 * (1 + strftime('%s'))"
)


def configured(folder: Path, there: Receiver, *, concurrency: int = 1, **shutdown: str) -> Path:
    """Write a relay.yaml that leads to *there*, one delivery at a time."""
    return write_config(
        folder,
        server={"shutdown": {"linger": "0s", "drain": "20s"} | shutdown},
        destinations={"there": {"url": there.url(), "concurrency": concurrency}},
        routes={"everything": {"to": "there"}},
    )


async def readiness(program: Program) -> tuple[int, Any]:
    """Ask once whether hooks may come."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(program.url("ops", "/readyz")) as response,
    ):
        return response.status, (await response.json())["reasons"]


def due(database: Path) -> int:
    """Return how many deliveries are free for the next process to take, now."""
    [(count,)] = look(database, FREE)
    return int(count)


@pytest.mark.parametrize("number", SIGNALS, ids=lambda each: each.name)
async def test_a_signal_ends_it_in_good_order(
    tmp_path: Path, receiver: StartReceiver, number: signal.Signals
) -> None:
    """Unready at once, hooks through `linger`, what is under way ends, the rest is kept."""
    opened, waiting = gate()
    there = await receiver(waiting)
    config = configured(tmp_path, there, linger="500ms")
    ledger = Ledger(4, {"success": ("there",)})
    async with running(config) as program:
        async with ledger.load(program, width=WIDTH):
            await ledger.more(20, 202)
            await there.wait_for(1)
            assert await readiness(program) == (200, [])
            program.signal(number)
            await program.log("stopping")
            assert await readiness(program) == (503, ["stopping"])
            await ledger.more(20, 202)  # while it lingers
            await ledger.more(WIDTH, 0)  # until the listener is closed
        # Hooks are closed, an attempt is under way: probes and metrics are still answered.
        assert await readiness(program) == (503, ["stopping"])
        opened.set()
        assert await program.ended() == 0
    database = tmp_path / "relay.db"
    stored = {name for (name,) in look(database, "SELECT id FROM events")}
    assert stored == ledger.acknowledged.keys(), "whatever was taken is answered"
    assert set(ledger.answers) == {202, 200, 0}
    delivered = "SELECT last_result, attempts FROM deliveries WHERE state = 'delivered'"
    assert look(database, delivered) == [("ok", 1)]
    assert due(database) == len(stored) - 1
    assert len(there.requests) == 1
    assert program.logged("stopped")


async def test_what_outlasts_drain_is_cut_off_and_counted(
    tmp_path: Path, receiver: StartReceiver
) -> None:
    """An attempt that does not end within `drain` is recorded as lost and due again."""
    _, waiting = gate()
    there = await receiver(waiting)
    config = configured(tmp_path, there, drain="200ms")
    async with running(config) as program, circleci(program) as sender:
        await sender.post(an_event(1))
        await sender.post(an_event(2))
        await there.wait_for(1)
        assert await program.stop() == 0
    database = tmp_path / "relay.db"
    assert look(database, "SELECT result FROM attempts") == [("lost",)]
    assert look(database, "SELECT attempts FROM deliveries ORDER BY key") == [(1,), (0,)]
    assert due(database) == 2


@pytest.mark.parametrize("number", SIGNALS, ids=lambda each: each.name)
async def test_a_second_signal_ends_it_at_once(
    tmp_path: Path, receiver: StartReceiver, number: signal.Signals
) -> None:
    """The first's echo changes nothing; one that comes later does not wait for anything."""
    _, waiting = gate()
    there = await receiver(waiting)
    config = configured(tmp_path, there, linger="60s", drain="60s")
    async with running(config) as program, circleci(program) as sender:
        await sender.post(an_event())
        await there.wait_for(1)
        program.signal(number)
        program.signal(number)
        await program.log("stopping")
        assert await readiness(program) == (503, ["stopping"]), "an echo is no second signal"
        async with asyncio.timeout(20):
            with suppress(aiohttp.ClientConnectionError):
                while True:
                    await readiness(program)
                    program.signal(number)
        assert await program.ended() == 128 + number
    # As after a crash: the next process finds it all.
    assert look(tmp_path / "relay.db", "SELECT state, attempts FROM deliveries") == [("pending", 1)]


async def test_the_next_process_takes_over(tmp_path: Path, receiver: StartReceiver) -> None:
    """As in a rolling restart: it waits for the database, saying so, then delivers the rest."""
    opened, waiting = gate()
    there = await receiver(waiting, answer(200))
    config = configured(tmp_path, there)
    async with running(config) as first:
        async with circleci(first) as sender:
            for event in range(5):
                await sender.post(an_event(event))
            await there.wait_for(1)
        second = await Program.start(config)
        try:
            await second.log("store_waiting")
            opened.set()
            first.signal(signal.SIGTERM)
            assert await first.ended() == 0
            await second.ready()
            await there.wait_for(5)
            assert await second.stop() == 0
        finally:
            await second.kill()
    assert len({request.headers["webhook-id"] for request in there.requests}) == 5
    assert len(there.requests) == 5, "a restart in good order repeats nothing"


def a_port_in_use(folder: Path, taken: int) -> str:
    """Let someone else have the port."""
    write_config(folder, server={"listen": f"127.0.0.1:{taken}"})
    return f"server.listen: 127.0.0.1:{taken} is already in use"


def no_directory(folder: Path, _: int) -> str:
    """Name a database in a directory that does not exist."""
    write_config(folder, store={"url": f"sqlite:///{folder}/nowhere/relay.db"})
    return "does not exist"


def an_unwritable_directory(folder: Path, _: int) -> str:
    """Name a database in a directory where nobody can make a file, not even root."""
    place = folder / "theirs"
    place.mkdir(mode=0o500)
    if os.geteuid() == 0:
        place = Path("/proc")
    write_config(folder, store={"url": f"sqlite:///{place}/relay.db"})
    return f"{place}/relay.db"


def no_database(folder: Path, _: int) -> str:
    """Put something else where the database should be."""
    (folder / "relay.db").write_bytes(b"Dear diary, " * 100)
    write_config(folder)
    return "is not a SQLite database"


def another_database(folder: Path, _: int) -> str:
    """Put another program's database there."""
    with closing(sqlite3.connect(folder / "relay.db")) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    write_config(folder)
    return "holds another program's tables"


@pytest.mark.parametrize(
    "obstacle",
    [a_port_in_use, no_directory, an_unwritable_directory, no_database, another_database],
)
async def test_what_keeps_it_from_starting_is_said_in_one_line(
    tmp_path: Path, obstacle: Callable[[Path, int], str]
) -> None:
    """Status 1, one clear line, no traceback."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        words = obstacle(tmp_path, other.getsockname()[1])
        program = await Program.start(tmp_path / "relay.yaml")
        assert await program.ended() == 1
    [line] = program.raw
    assert line.startswith("circleci-relay: ")
    assert words in line


async def test_faults_are_all_said_a_line_each(tmp_path: Path) -> None:
    """A faulty relay.yaml: status 1, every fault with its place, no traceback."""
    config = write_config(
        tmp_path,
        destinations={"there": {"url": "http://127.0.0.1:1/", "timeout": 10}},
        routes={
            "everything": {"to": "their"},
            "other": {"match": {"branch": "/(/"}, "to": "there"},
        },
    )
    program = await Program.start(config)
    assert await program.ended() == 1
    *lines, last = program.raw
    assert "3 faults" in last
    assert len(lines) == 3
    for path in ("destinations.there.timeout", "routes.everything.to", "routes.other.match.branch"):
        [line] = [line for line in lines if f": {path}" in line]
        assert line.startswith(str(config))
