"""How PostgreSQL finds what it is asked for: by index, whatever the tables hold."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

from circleci_relay.store.query import Hot, HotAnyOf
from circleci_relay.store.statements import Statements
from support.postgres import name_in
from support.storing import rows_in

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from support.postgres import Postgres

COUNTS = {
    "count_pending",
    "count_dead",
    "all_destinations",
    "lock_destinations",
    "unfinished_jobs",
}
"""What reads all there is, in the background or of tables that stay small."""

SMALL = ("configs", "destinations")

_FILL = """
INSERT INTO events SELECT n, 'p' || n, 'circleci', 'e' || n, 't', n, '', '{}', '[]', 2
FROM generate_series(1, 4000) n;
INSERT INTO bodies SELECT n, '', '[]' FROM generate_series(1, 4000) n;
INSERT INTO deliveries (key, event, destination, state, due_at, created_at, aged_from)
SELECT n, n / 2 + 1, CASE n % 2 WHEN 0 THEN 'chat' ELSE 'other' END,
CASE WHEN n < 6000 THEN 'delivered' ELSE 'pending' END, n, n, n
FROM generate_series(1, 7800) n;
INSERT INTO attempts SELECT n, 1, n, 1, 'ok' FROM generate_series(1, 6000) n;
INSERT INTO lines SELECT n::text::bytea, 's', 'p' || n, 'w', '', 'main', true, 1, n, n, n
FROM generate_series(1, 2000) n;
INSERT INTO minutes SELECT n, 'events', 'circleci', 'accepted', 1 FROM generate_series(1, 2000) n;
ANALYZE;
"""


@pytest.fixture(scope="module")
def filled(postgres: Postgres, migrated: str) -> Iterator[str]:
    """A store with a past and a backlog, and the statistics of both."""
    url = postgres.database(template=name_in(migrated))
    rows_in(url, _FILL)
    yield url
    postgres.drop(url)


@pytest.fixture(scope="module")
def rested(postgres: Postgres, migrated: str) -> Iterator[str]:
    """The same while nothing has waited for long: the statistics know of nothing pending."""
    url = postgres.database(template=name_in(migrated))
    rows_in(url, _FILL.replace("'pending'", "'delivered'"))
    yield url
    postgres.drop(url)


def _texts(statements: Statements) -> dict[str, str]:
    texts = {}
    for name, statement in vars(statements).items():
        if isinstance(statement, Hot):
            texts[name] = statement._text
        elif isinstance(statement, HotAnyOf):
            texts[name] = statement._of(4)._text
        elif isinstance(statement, sa.ClauseElement):
            texts[name] = str(statement.compile(dialect=statements._dialect))
    return {name: _numbered(text) for name, text in texts.items()}


def _numbered(text: str) -> str:
    """Write parameters as the server knows them; a list of values has some values."""
    numbers = itertools.count(1)
    text = re.sub(r"__\[POSTCOMPILE_(?:line|gathering)_keys\w*\]", "'1', '2', '3'", text)
    text = re.sub(r"__\[POSTCOMPILE_\w+\]", "1, 2, 3", text)
    return re.sub(r"%s", lambda _: f"${next(numbers)}", text)


TEXTS = _texts(
    Statements(PGDialect_psycopg(paramstyle="format"))  # type: ignore[no-untyped-call]
)


def _plan(url: str, text: str) -> str:
    return _plans(url, {"it": text})["it"]


def _plans(url: str, texts: Mapping[str, str], *, before: str = "") -> dict[str, str]:
    found = {}
    with psycopg.connect(url, autocommit=True) as server:
        server.execute(before.encode())
        for name, text in texts.items():
            # The plan a statement gets once it is prepared: for no values in particular.
            rows = server.execute(f"EXPLAIN (GENERIC_PLAN) {text}".encode())
            found[name] = "\n".join(row[0] for row in rows)
    return found


def test_no_statement_has_to_read_a_whole_table(filled: str) -> None:
    """Each has an index to go by, when reading all costs too much."""
    texts = {name: text for name, text in TEXTS.items() if name not in COUNTS}
    assert len(texts) > 50
    plans = _plans(filled, texts, before="SET enable_seqscan = off")
    scanned = {name: {*re.findall(r"Seq Scan on (\w+)", plan)} for name, plan in plans.items()}
    assert {name: plans[name] for name, tables in scanned.items() if tables - {*SMALL}} == {}


@pytest.mark.parametrize("name", ["find_due", "next_due"])
def test_what_lanes_ask_goes_by_the_partial_index(filled: str, name: str) -> None:
    """In the order it stands there, so that what is due later is not even looked at."""
    plan = _plan(filled, TEXTS[name])
    assert "ix_deliveries_pending" in plan
    assert "Limit" in plan
    assert "Seq Scan" not in plan
    assert "Sort" not in plan, plan


BY_KEY = sorted(
    name
    for name, text in TEXTS.items()
    if re.search(r"deliveries\.(key|leader) (=|IN) [$(]|leaders\.key =", text)
    and "'pending'" in text
)


def test_some_find_what_is_pending_by_its_key() -> None:
    """Those that the next test is about."""
    assert {"settle", "release", "cancel", "expire", "lock_pending", "unlead"} <= {*BY_KEY}


def test_one_row_is_not_looked_for_among_all_that_is_pending(rested: str) -> None:
    """Though statistics from before a backlog say that nothing is."""
    plans = _plans(rested, {name: TEXTS[name] for name in BY_KEY})
    # What is chosen within it, at one destination, does go by that index.
    assert {
        name: plan
        for name, plan in plans.items()
        if plan.count("ix_deliveries_pending") > TEXTS[name].count("(SELECT")
    } == {}


def test_everything_can_be_planned(filled: str) -> None:
    """Nothing that only SQLite knows has crept in."""
    plans = _plans(filled, {name: TEXTS[name] for name in COUNTS})
    assert [name for name, plan in plans.items() if "Scan" not in plan] == []
    assert "FOR UPDATE OF deliveries SKIP LOCKED" in TEXTS["find_due"]
    assert "ON CONFLICT (source, id) DO NOTHING" in TEXTS["add_events"]
