"""How bulk jobs find what they concern: by index, whatever the tables hold."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from circleci_relay.store.log import jobs as job_log
from circleci_relay.store.log.chosen import chosen
from circleci_relay.store.repair import controls
from circleci_relay.store.repair.selection import Bounds, Selection, walk_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from circleci_relay.store.repair.selection import Walk
    from support.storing import Bench

SMALL = {"destinations", "jobs"}
"""Tables that stay small; of jobs only those that run are read, which an index has."""

FILTERS: dict[str, Any] = {"status": 500, "error": "x", "source": "s", "project": "p", "since": 1}
SELECTIONS = [
    Selection(deliveries=(1, 2, 3), **FILTERS),
    Selection(destination="chat", **FILTERS),
    Selection(state="dead", **FILTERS),
    Selection(state="delivered", destination="chat", **FILTERS),
    Selection(state="pending", destination="chat", **FILTERS),
]
POSITIONS: list[dict[str, Any] | None] = [
    None,
    {"key": 1, "floor": 0, "name": "chat", "at": 1},
]


def looks() -> Iterator[Callable[[sa.Connection], object]]:
    """All that is asked of whatever is selected."""
    bounds = Bounds(at=9, ceiling=9, job="01J")
    for selection in SELECTIONS:
        for by_event in (False, True):
            walk = walk_of(selection, bounds, by_event=by_event)
            for position in POSITIONS:
                yield partial(_walked, walk, position)
    yield controls.read
    yield lambda connection: chosen(connection, [1, 2])
    yield lambda connection: job_log.job_of(connection, "01J")
    yield lambda connection: job_log.jobs_of(connection, state=None, before="01J", limit=5)


def _walked(walk: Walk, position: dict[str, Any] | None, connection: sa.Connection) -> object:
    return walk(connection, position, 5)


def scans(connection: sa.Connection) -> list[str]:
    """Tables that any look reads as a whole."""
    asked: list[tuple[str, Any]] = []

    def note(_conn: Any, _cursor: Any, statement: str, values: Any, *_: Any) -> None:
        asked.append((statement, values))

    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
    sa.event.listen(connection, "before_cursor_execute", note)
    for look in looks():
        look(connection)
    sa.event.remove(connection, "before_cursor_execute", note)
    found = []
    for statement, values in asked:
        explain = "EXPLAIN QUERY PLAN" if connection.dialect.name == "sqlite" else "EXPLAIN"
        rows = connection.exec_driver_sql(f"{explain} {statement}", values).all()
        plan = "\n".join(str(row[-1]) for row in rows)
        ordered = "ORDER BY" in statement and "B-TREE FOR ORDER BY" not in plan
        names = re.findall(r"^(?:SCAN|.*Seq Scan on) (\w+)", plan, re.MULTILINE)
        if not (ordered and "LIMIT" in statement and "SCAN" in plan):
            found += [f"{name}: {statement}" for name in names if name not in SMALL]
    assert len(asked) > 2 * len(SELECTIONS)
    return found


async def test_nothing_selected_reads_a_whole_table(bench: Bench) -> None:
    """A job among a million deliveries must not hold up who takes one in."""
    assert await bench.store.look(scans) == []
