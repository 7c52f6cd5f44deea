"""The benchmark's databases with a past: what is multiplied there is as the store wrote it."""

from __future__ import annotations

from pathlib import Path

import pytest
from bench.databases import Database, Postgresql, Sqlite
from bench.requests import SHAPES
from bench.stock import multiply
from bench.wire import event_id

from circleci_relay.circleci import samples
from circleci_relay.model import SECOND
from support.storing import SQLITE, Open

COPIES = 40
SPAN = 1_000 * SECOND


@pytest.fixture
def database(url: str, request: pytest.FixtureRequest) -> Database:
    """The same database as the benchmark sees it."""
    if url.startswith(SQLITE):
        return Sqlite(Path(url.removeprefix(SQLITE)))
    return Postgresql(url, request.getfixturevalue("postgres"))


def body_of(number: int) -> bytes:
    """What is stored of event *number*."""
    return samples.with_id(samples.load(SHAPES[number % 2]), event_id(number).decode())


@pytest.fixture
def originals() -> list[bytes]:
    """The bodies of the events that the store takes in itself."""
    return [body_of(0), body_of(1)]


@pytest.fixture
async def multiplied(open_bench: Open, database: Database, originals: list[bytes]) -> Database:
    """A database in which one event was delivered and another waits, and their copies."""
    async with open_bench() as bench:
        for number, body in enumerate(originals):
            await bench.accept("there", id=event_id(number).decode(), body=body)
        [claim] = await bench.claim("there", limit=1)
        await bench.settle(claim)
    database.script(multiply(database, COPIES, span=SPAN))
    database.settle()
    return database


def test_copies_have_ids_of_their_own(multiplied: Database) -> None:
    """Each event has the id of its number, in its row and, nothing else changed, in its body."""
    found = {
        name: bytes(body)
        for name, body in multiplied.rows(
            "SELECT id, body FROM events JOIN bodies ON bodies.event = events.key"
        )
    }
    assert found == {
        event_id(number).decode(): body_of(number) for number in range(2 * (COPIES + 1))
    }


def test_every_copy_is_delivered_like_its_original(multiplied: Database) -> None:
    """Half of them wait, half were delivered by one attempt; each lies earlier than the next."""
    rows = multiplied.rows(
        "SELECT state, attempts.number, created_at - events.received_at, events.received_at"
        " FROM deliveries JOIN events ON events.key = deliveries.event"
        " LEFT JOIN attempts ON attempts.delivery = deliveries.key"
        " ORDER BY deliveries.created_at, deliveries.key"
    )
    assert len(rows) == 2 * (COPIES + 1)
    assert sum(row[:2] == ("delivered", 1) for row in rows) == COPIES + 1
    assert sum(row[:2] == ("pending", None) for row in rows) == COPIES + 1
    assert len({row[2] for row in rows}) == 1
    assert 0.9 * SPAN < max(row[3] for row in rows) - min(row[3] for row in rows) < SPAN


async def test_the_store_goes_on_with_them(open_bench: Open, multiplied: Database) -> None:
    """It claims the oldest copies first, gives no key twice, and knows the copies' ids."""
    async with open_bench() as bench:
        again = await bench.accept("there", id=event_id(7).decode())
        assert again.duplicate
        assert not (await bench.accept("there", id="another")).duplicate
        claims = await bench.claim("there", limit=1_000)
    assert len(claims) == COPIES + 2
    due = [claim.received_at for claim in claims]
    assert due == sorted(due)
    assert multiplied.sizes().keys() in ({"events", "bodies", "deliveries", "attempts"}, set())
