"""How the log's lists find what they show: by index, whatever the tables hold."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from circleci_relay.store.log.audit import entries_of
from circleci_relay.store.log.dead import dead_groups
from circleci_relay.store.log.deliveries import (
    DeliveriesSought,
    list_deliveries,
    whole_delivery,
)
from circleci_relay.store.log.events import body_of, list_events, whole_event
from circleci_relay.store.log.sought import Sought
from support.logbook import Written, hasty, tables, write

if TYPE_CHECKING:
    from collections.abc import Sequence

    from circleci_relay.store.log.events import Place
    from support.storing import Bench

SMALL = ("destinations", "sources", "names", "looked", "CONSTANT")
"""Tables that stay small, and what a statement has gathered itself."""

Look = Callable[[sa.Connection], object]


def listed(query: dict[str, Any], before: Place | None) -> Look:
    """Look at a list of events."""
    return lambda connection: list_events(
        connection, Sought(**query), before=before, limit=2, pace=hasty(window=2)
    )


def owed(query: dict[str, Any], before: int | None) -> Look:
    """Look at a list of deliveries."""
    return lambda connection: list_deliveries(
        connection, DeliveriesSought(**query), before=before, limit=2, pace=hasty(window=2)
    )


EVENTS: list[dict[str, Any]] = [
    {},
    {"source": "circleci"},
    {"exactly": {"branch": "main"}},
    {"text": "main", "since": 1, "until": 9},
    {"outcome": "unmatched"},
    {"outcome": "unmatched", "since": 1, "until": 9},
    {"outcome": "conflict", "until": 9},
    {"outcome": "delivered", "destination": "chat"},
    {"outcome": "pending"},
    {"outcome": "dead", "destination": "chat"},
    {"destination": "chat"},
    {"id": "id-1"},
    {"id": f"{1:026d}"},
]
DELIVERIES: list[dict[str, Any]] = [
    {},
    {"destination": "chat"},
    {"state": "dead", "replayed": False},
    {"state": "dead", "replayed": True},
    {"state": "pending", "destination": "chat"},
    {"job": "01J"},
    {"error": "boom", "since": 1, "until": 9},
]
LOOKS: dict[str, Look] = {
    **{f"events {query}": listed(query, (5, 5)) for query in EVENTS},
    **{f"first events {query}": listed(query, None) for query in EVENTS[:5]},
    **{f"deliveries {query}": owed(query, 300) for query in DELIVERIES},
    **{f"first deliveries {query}": owed(query, None) for query in DELIVERIES[:2]},
    "an event": lambda connection: whole_event(connection, "id-1"),
    "a body": lambda connection: body_of(connection, "id-1"),
    "a delivery": lambda connection: whole_delivery(connection, 100),
    "dead": dead_groups,
    "dead of a time": lambda connection: dead_groups(
        connection, destination="chat", since=1, until=9
    ),
    "deeds": lambda connection: entries_of(connection, before=(1, "A"), limit=5),
}

ROWS = [
    Written(received_at=n, facts={"type": "ping", "branch": "main"}, to=[("chat", state)])
    for n, state in enumerate(["dead", "delivered", "pending", "dead", "cancelled", "delivered"])
]


def said(connection: sa.Connection, look: Callable[[sa.Connection], object]) -> list[Any]:
    """Run a look; all that it asked the database, with the values."""
    asked: list[Any] = []

    def note(_conn: Any, _cursor: Any, statement: str, values: Any, *_: Any) -> None:
        asked.append((statement, values))

    sa.event.listen(connection, "before_cursor_execute", note)
    try:
        look(connection)
    finally:
        sa.event.remove(connection, "before_cursor_execute", note)
    return asked


def sqlite_scans(connection: sa.Connection, statement: str, values: Any) -> Sequence[str]:
    """Tables that are read as a whole."""
    plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values).all()
    steps = [str(row[3]) for row in plan]
    if "LIMIT" in statement and not any("B-TREE FOR ORDER BY" in step for step in steps):
        return []  # in the order wanted, and no further than the limit
    return [found[1] for step in steps if (found := re.match(r"SCAN (\w+)", step))]


def postgresql_scans(connection: sa.Connection, statement: str, values: Any) -> Sequence[str]:
    """Tables that are read as a whole though that costs too much."""
    rows = connection.exec_driver_sql(f"EXPLAIN {statement}", values).scalars().all()
    return re.findall(r"Seq Scan on (\w+)", "\n".join(rows))


@pytest.fixture
async def plans(bench: Bench) -> dict[str, list[str]]:
    """By each look, the tables that a statement of it reads as a whole."""

    def fill(unit: Any) -> None:
        write(unit.connection, ROWS)

    await bench.store.do(fill)

    def looked(connection: sa.Connection) -> dict[str, list[str]]:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        scans = sqlite_scans if connection.dialect.name == "sqlite" else postgresql_scans
        found: dict[str, list[str]] = {}
        for name, look in LOOKS.items():
            asked = said(connection, look)
            assert asked, name
            found[name] = [
                f"{table}: {statement}"
                for statement, values in asked
                for table in scans(connection, statement, values)
                if table not in SMALL
            ]
        return found

    return await bench.store.look(looked)


def test_no_look_reads_a_whole_table(plans: dict[str, list[str]]) -> None:
    """A million events must not slow down who asks for fifty."""
    assert {name: each for name, each in plans.items() if each} == {}


@pytest.mark.parametrize(
    ("outcome", "index"),
    [
        ("unmatched", "ix_events_unmatched"),
        ("conflict", "ix_events_duplicated"),
        ("pending", "ix_deliveries_pending"),
        ("dead", "ix_deliveries_dead"),
        ("delivered", "ix_events_received_at"),
    ],
)
def test_what_is_rare_is_found_by_its_own_index(outcome: str, index: str) -> None:
    """Not by walking through all that is common; nor is what is common sorted."""
    with tables() as engine, engine.connect() as connection:
        write(connection, ROWS)
        plans = [
            str(row[3])
            for statement, values in said(connection, listed({"outcome": outcome}, None))
            for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
        ]
    assert any(index in step for step in plans), plans
    assert not any("autoindex_events" in step for step in plans), plans
