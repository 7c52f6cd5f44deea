"""A restart with a large backlog: soon ready, bounded memory, the oldest first."""

from __future__ import annotations

import json
import re
import sqlite3
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import pytest

from circleci_relay.model import SECOND
from support.gate import gate
from support.ledger import look
from support.program import Program, an_event, circleci, write_config
from support.receiver import Receiver, answer
from support.storing import opened

StartReceiver = Callable[..., Awaitable[Receiver]]

CONCURRENCY = 8
IN_HAND = 2 * CONCURRENCY
"""What one destination may have claimed at once, whatever its backlog."""

UNDER_WAY = 16
"""Deliveries that were under way when the process before this one died."""

DELIVERED = 600
MEMORY = 250  #: MiB
SIZE = 1_600
LEASE = 60 * SECOND


async def a_backlog(database: Path, pending: int) -> None:
    """Make a database in which *pending* deliveries wait, each due a little after the last."""
    body = json.dumps({"id": "event-1", "type": "ping", "padding": "x" * SIZE})
    async with opened(f"sqlite:///{database}") as bench:
        await bench.accept("there", id="event-1", body=body.encode())
    now = time.time_ns() // 1_000
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.executescript(f"""
            PRAGMA synchronous = OFF;
            UPDATE deliveries SET created_at = {now}, aged_from = {now};
            CREATE TEMP TABLE numbers AS
                WITH RECURSIVE count(i) AS
                    (SELECT 2 UNION ALL SELECT i + 1 FROM count WHERE i < {pending})
                SELECT i FROM count;
        """)  # noqa: S608 - made of numbers
        # Copies of what the store wrote itself, so that every column is as it writes it.
        number = "printf('%026d', numbers.i)"
        _copy(connection, "events", "key", public_id=number, id=number)
        _copy(
            connection,
            "bodies",
            "event",
            body="CAST(replace(body, 'event-1', 'event-' || numbers.i) AS BLOB)",
        )
        _copy(connection, "deliveries", "key", event="numbers.i")
        connection.executescript(f"""
            BEGIN;
            UPDATE deliveries SET due_at = {now} - ({pending} - key) * 1000;
            UPDATE deliveries SET token = key, attempts = 1, due_at = {now + LEASE}
                WHERE key <= {UNDER_WAY};
            UPDATE counters SET next = {2 * pending};
            INSERT INTO meta (name, value) VALUES ('max_lease', '{LEASE}');
            COMMIT;
        """)  # noqa: S608 - made of numbers


def _copy(connection: sqlite3.Connection, table: str, key: str, **changed: str) -> None:
    """Copy the first row of *table* once for each number, with these columns *changed*."""
    names = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
    values = ({name: name for name in names} | changed | {key: "numbers.i"}).values()
    connection.execute(
        f"INSERT INTO {table} SELECT {', '.join(values)} FROM {table}, numbers"  # noqa: S608
        f" WHERE {table}.{key} = 1"
    )


def memory(program: Program) -> float:
    """Return the most memory *program* ever held, in MiB."""
    status = Path(f"/proc/{program.process.pid}/status").read_text()
    [found] = re.findall(r"VmHWM:\s+(\d+) kB", status)
    return int(found) / 1024


@pytest.mark.parametrize("pending", [1_000, 100_000])
async def test_restart_with_a_backlog(
    tmp_path: Path, receiver: StartReceiver, pending: int
) -> None:
    """It starts with little in hand while the destination hangs, then sends in order."""
    database = tmp_path / "relay.db"
    await a_backlog(database, pending)
    opened, waiting = gate()
    there = await receiver(*[waiting] * CONCURRENCY, answer(200))
    config = write_config(
        tmp_path,
        destinations={"there": {"url": there.url(), "timeout": "25s", "concurrency": CONCURRENCY}},
        routes={"everything": {"to": "there"}},
    )
    began = time.monotonic()
    program = await Program.start(config)
    try:
        await program.ready()
        ready = time.monotonic() - began
        await there.wait_for(CONCURRENCY)
        async with circleci(program) as sender:
            assert (await sender.post(an_event()))[0] == 202
        in_hand = look(
            database,
            "SELECT count(*) FROM deliveries WHERE state = 'pending' AND token IS NOT NULL"
            " AND due_at > 1000000 * (5 + strftime('%s'))",
        )[0][0]
        hung = memory(program)
        opened.set()
        started = time.monotonic()
        arrived = (await there.wait_for(DELIVERED + CONCURRENCY))[:DELIVERED]
        rate = DELIVERED / (time.monotonic() - started)
        most = memory(program)
    finally:
        await program.kill()
    assert CONCURRENCY <= in_hand <= IN_HAND
    assert most < MEMORY
    # Those that were under way are due again from the start on, behind all that waited.
    for place, request in enumerate(arrived, start=UNDER_WAY + 1):
        number = int(json.loads(request.body)["id"].removeprefix("event-"))
        assert abs(number - place) <= IN_HAND, "the oldest come first"
    print(  # noqa: T201 - shown by -rP
        f"{pending} pending: ready in {ready:.2f} s, at most {hung:.0f} MiB while the destination"
        f" hangs with {in_hand} in hand, {most:.0f} MiB after {DELIVERED} more at {rate:.0f}/s"
    )
