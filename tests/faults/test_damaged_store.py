"""A database that is damaged, cut short or too new: refused, or 503 where it shows late."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from support.faults import FULL, SEED
from support.ledger import PATIENCE, Ledger, look
from support.program import Program, running, write_config
from support.receiver import Receiver
from support.storing import opened

if TYPE_CHECKING:
    from pathlib import Path

StartReceiver = Callable[..., Awaitable[Receiver]]

ROUTING = {"success": ("there",)}
PAGE = 4_096
EVENTS = 200

# What is done to the file


def rubbish(database: Path) -> None:
    """Another program's file under the name."""
    database.write_bytes(b"dear diary, today I was nearly a database" * 400)


def shortened(database: Path) -> None:
    """A copy that ran out of disk."""
    with database.open("r+b") as file:
        file.truncate(database.stat().st_size // 2)


def emptied_of_schema(database: Path) -> None:
    """Rubbish where the list of tables should be."""
    with database.open("r+b") as file:
        file.seek(100)
        file.write(b"\xff" * (PAGE - 100))


def newer(database: Path) -> None:
    """A version of the program that this one knows nothing of."""
    log = database.with_name(f"{database.name}-wal")
    kept = database.with_name("kept"), database.with_name("kept-wal")
    crashed = log.exists()
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("UPDATE meta SET value = '99' WHERE name = 'min_compatible'")
        connection.commit()
        if crashed:  # closing the last connection would put the log away
            shutil.copy(database, kept[0])
            shutil.copy(log, kept[1])
    if crashed:
        kept[0].replace(database)
        kept[1].replace(log)


def spoilt(database: Path, *names: str) -> None:
    """Overwrite the root pages of these tables and indexes."""
    with closing(sqlite3.connect(database)) as connection:
        pages = dict(connection.execute("SELECT name, rootpage FROM sqlite_master"))
    with database.open("r+b") as file:
        for name in names:
            file.seek((pages[name] - 1) * PAGE)
            file.write(b"\xff" * PAGE)


REFUSED = [
    ("rubbish", rubbish, False),
    ("cut short", shortened, False),
    ("cut short", shortened, True),
    ("no schema", emptied_of_schema, False),
    ("newer", newer, False),
    ("newer", newer, True),
]
SOME = [REFUSED[2], REFUSED[5]]


async def a_store(folder: Path, *, log: bool) -> Path:
    """Make a database with events in it; with *log* as a crash leaves it, else closed."""
    made = folder / "made" / "relay.db"
    database = folder / "relay.db"
    made.parent.mkdir()
    async with opened(f"sqlite:///{made}") as bench:
        for number in range(EVENTS // 2):
            await bench.accept("there", id=f"early-{number}", body=b"x" * 2_000)
    async with opened(f"sqlite:///{made}") as bench:
        for number in range(EVENTS // 2):
            await bench.accept("there", id=f"late-{number}", body=b"x" * 2_000)
        if log:
            for path in made.parent.glob("relay.db*"):
                if not path.name.endswith(("-shm", ".lock")):
                    shutil.copy(path, folder / path.name)
    if not log:
        shutil.copy(made, database)
    shutil.rmtree(made.parent)
    return database


def prints(database: Path) -> dict[str, str]:
    """Return a fingerprint of each file of *database*; those that only serve locking aside."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(database.parent.glob("relay.db*"))
        if not path.name.endswith(("-shm", ".lock"))
    }


@pytest.mark.parametrize(("name", "damage", "log"), REFUSED if FULL else SOME)
async def test_what_is_damaged_or_too_new_is_refused_untouched(
    tmp_path: Path, name: str, damage: Callable[[Path], None], *, log: bool
) -> None:
    """`serve` says so in one line, ends with 1, and leaves every byte as it was."""
    database = await a_store(tmp_path, log=log)
    assert database.with_name("relay.db-wal").exists() == log
    damage(database)
    config = write_config(tmp_path)
    before = prints(database)
    program = await Program.start(config)
    try:
        refused = await at_once(program)
    finally:
        await program.kill()
    print(f"{name}{', with a log' * log}: {''.join(program.raw)[:300].strip()}")  # noqa: T201 - -rP
    assert refused, "it started"
    assert program.raw[0].startswith(f"circleci-relay: {database}")
    assert prints(database) == before
    assert database.with_name("relay.db-wal").exists() == log


LATE = [
    "attempts",
    "bodies",
    "deliveries",
    "events",
    "ix_deliveries_event",
    "ix_deliveries_pending",
    "ix_events_received_at",
    "lines",
    "minutes",
    "sqlite_autoindex_events_1",
    "sqlite_autoindex_events_2",
]


@pytest.mark.parametrize("name", LATE if FULL else LATE[-1:])
async def test_damage_that_shows_late_is_an_outage(
    tmp_path: Path, receiver: StartReceiver, name: str
) -> None:
    """What cannot be stored is answered 503 and logged; the program neither dies nor lies."""
    database = tmp_path / "relay.db"
    there = await receiver()
    config = write_config(
        tmp_path,
        destinations={"there": {"url": there.url()}},
        routes={"everything": {"to": "there"}},
    )
    ledger = Ledger(SEED, ROUTING)
    async with running(config) as program:
        async with ledger.load(program, width=4):
            await ledger.more(EVENTS, 202)
        await ledger.arrived({"there": there})
        await ledger.emptied(program, database)
        assert await program.stop() == 0
    spoilt(database, name)
    program = await Program.start(config)
    try:
        if await at_once(program):
            print(f"{name}: {program.raw[0].strip()}")  # noqa: T201 - shown by -rP
            return
        async with ledger.load(program, width=2):
            await ledger.more(20, 200, 202, 503)
            if not program.logged("store_unavailable"):
                await ledger.more(200, 200, 202, 503)
        ended = program.process.returncode
        said = {line.get("error") for line in program.logged("store_unavailable")}
        flaps = len(program.logged("store_recovered"))
        status = await program.stop()
    finally:
        await program.kill()
    print(  # noqa: T201 - shown by -rP
        f"{name}: answers {dict(ledger.answers)}, said {said}, back for a moment {flaps} times,"
        f" stopped with {status}"
    )
    assert ended is None, "".join(program.raw[-20:])
    assert status == 0, "".join(program.raw[-20:])
    assert "Traceback" not in "".join(program.raw)
    assert set(ledger.answers) <= {200, 202, 503}
    if said:
        assert all("malformed" in str(each) for each in said)
    if "ix" in name or "autoindex" in name:
        await mended(database, config, ledger, there)


def recover(database: Path) -> None:
    """Make the file anew from its tables alone; every index is made anew too."""
    anew = database.with_name("anew.db")
    with closing(sqlite3.connect(anew, isolation_level=None)) as connection:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("ATTACH ? AS old", [str(database)])
        made = "SELECT name, sql FROM old.sqlite_master WHERE type = ? AND sql IS NOT NULL"
        for name, sql in connection.execute(made, ["table"]).fetchall():
            connection.execute(sql)
            # With a condition, or SQLite copies the pages of the indexes as they are.
            connection.execute(
                f"INSERT INTO main.{name} SELECT * FROM old.{name} NOT INDEXED WHERE 1"  # noqa: S608
            )
        for _, sql in connection.execute(made, ["index"]).fetchall():
            connection.execute(sql)
    anew.replace(database)


async def at_once(program: Program) -> bool:
    """Whether the damage is met at start already: then it must end with 1 and one line."""
    async with asyncio.timeout(PATIENCE), program.written:
        await program.written.wait_for(
            lambda: program.logged("started") or program.process.returncode is not None
        )
    if program.logged("started"):
        return False
    assert await program.ended() == 1
    assert len(program.raw) == 1, program.raw
    return True


async def mended(database: Path, config: Path, ledger: Ledger, there: Receiver) -> None:
    """An index can be made anew: then everything acknowledged must be there, and arrive."""
    recover(database)
    async with running(config) as program:
        await ledger.arrived({"there": there})
        await ledger.emptied(program, database)
        assert await program.stop() == 0
    assert look(database, "PRAGMA integrity_check") == [("ok",)]
    ledger.audit({"there": there})
