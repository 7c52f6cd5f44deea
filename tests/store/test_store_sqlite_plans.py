"""How SQLite finds what it is asked for: by index, whatever the tables hold."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from circleci_relay.store.query import Hot, HotAnyOf
from circleci_relay.store.statements import Statements

if TYPE_CHECKING:
    from support.storing import Bench


@pytest.fixture
def url(sqlite_url: str) -> str:
    """Of this kind alone."""
    return sqlite_url


COUNTS = {"count_pending", "count_dead", "all_destinations", "unfinished_jobs"}
"""What reads all there is, in the background or of tables that stay small."""

SMALL = ("configs", "configs_1", "destinations", "destinations_1")


def _texts(statements: Statements) -> dict[str, str]:
    texts = {}
    for name, statement in vars(statements).items():
        if isinstance(statement, Hot):
            texts[name] = statement._text
        elif isinstance(statement, HotAnyOf):
            texts[name] = statement._of(4)._text
        elif isinstance(statement, sa.ClauseElement):
            text = str(statement.compile(dialect=statements._dialect))
            texts[name] = re.sub(r"__\[POSTCOMPILE_\w+\]", "NULL", text)  # a list of values
    return texts


TEXTS = _texts(Statements(sqlite.dialect()))


async def test_no_statement_reads_a_whole_table(bench: Bench) -> None:
    """A backlog of a million must not slow down who asks for ten."""
    reading = {}
    with closing(sqlite3.connect(bench.path)) as connection:
        for name in TEXTS.keys() - COUNTS:
            scans = [step for step in _plan(connection, name) if step.startswith("SCAN")]
            reading[name] = [
                scan for scan in scans if not scan.endswith(SMALL) and "CONSTANT" not in scan
            ]
    assert len(reading) > 50
    assert {name: scans for name, scans in reading.items() if scans} == {}


@pytest.mark.parametrize("name", ["count_pending", "count_dead"])
async def test_counting_a_backlog_goes_by_its_index(bench: Bench, name: str) -> None:
    """The gauges look at all that is pending, and at nothing that is done."""
    with closing(sqlite3.connect(bench.path)) as connection:
        plan = _plan(connection, name)
    index = f"ix_deliveries_{name.removeprefix('count_')}"
    # Newer versions of SQLite read the index alone, older ones the rows as well.
    assert [step.replace("COVERING ", "") for step in plan] == [
        f"SCAN deliveries USING INDEX {index}"
    ]


def _plan(connection: sqlite3.Connection, name: str) -> list[str]:
    text = TEXTS[name]
    steps = connection.execute("EXPLAIN QUERY PLAN " + text, [None] * text.count("?"))
    return [step[3] for step in steps]
