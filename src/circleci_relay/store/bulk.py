"""Whole tables, read, written and compared in the order of their keys, in bounded memory."""

from __future__ import annotations

import hashlib
import marshal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from circleci_relay.store.schema import (
    alerts,
    attempts,
    audit,
    bodies,
    configs,
    counters,
    deliveries,
    destinations,
    events,
    gatherings,
    jobs,
    lines,
    minutes,
    quarters,
    rejects,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

Row = tuple[Any, ...]

SMALL = (counters, destinations, configs, jobs, alerts)
"""Tables that are copied whole; `meta` too, but for what a database says of itself."""

LARGE = (
    events,
    bodies,
    deliveries,
    attempts,
    lines,
    gatherings,
    minutes,
    quarters,
    rejects,
    audit,
)

_WEIGHT = 8 * 1024 * 1024  #: bytes of bodies or excerpts in one transaction, about
_PAGE = 1_000
_PAGE_OF_BODIES = 64  #: of which each may be as large as `max_body`


@dataclass(frozen=True, slots=True)
class Digest:
    """What a table holds, said in a line; the same of every kind of database."""

    rows: int
    sha256: str


def rows_of(
    connection: sa.Connection, table: sa.Table, *, after: Row | None = None
) -> Iterator[list[Row]]:
    """All rows of a *table* past the key *after*, in pages, in the order of the key."""
    query = sa.select(table).order_by(*_order(connection, table))
    if after is not None:
        query = query.where(*_past(connection, table, after))
    page = _PAGE_OF_BODIES if table is bodies else _PAGE
    plain = _plain(table)
    query = query.execution_options(stream_results=True, max_row_buffer=page)
    with connection.execute(query) as result:
        while rows := result.fetchmany(page):
            yield [plain(tuple(row)) for row in rows]


def batches(pages: Iterable[list[Row]], table: sa.Table, most: int) -> Iterator[list[Row]]:
    """Put *pages* together to batches of *most* rows, fewer where they are heavy."""
    heavy = _heavy(table)
    batch: list[Row] = []
    weight = 0
    for page in pages:
        batch += page
        weight += sum(len(row[index] or b"") for row in page for index in heavy)
        while len(batch) >= most or weight >= _WEIGHT:
            yield batch[:most]
            batch = batch[most:]
            weight = 0
    if batch:
        yield batch


def count_of(connection: sa.Connection, table: sa.Table, *, after: Row | None = None) -> int:
    """How many rows a table has past the key *after*."""
    query = sa.select(sa.func.count()).select_from(table)
    if after is not None:
        query = query.where(*_past(connection, table, after))
    return int(connection.execute(query).scalar_one())


def last_of(connection: sa.Connection, table: sa.Table) -> Row | None:
    """The last key there is."""
    order = _order(connection, table)
    found = connection.execute(
        sa.select(*table.primary_key).order_by(*(column.desc() for column in order)).limit(1)
    ).first()
    return None if found is None else tuple(found)


def digest_of(
    connection: sa.Connection, table: sa.Table, *, read: Callable[[int], None] = lambda _: None
) -> Digest:
    """Count and digest a table; *read* is told how many rows have been gone through."""
    digest, count = hashlib.sha256(), 0
    for page in rows_of(connection, table):
        digest.update(written(page))
        count += len(page)
        read(count)
    return Digest(count, digest.hexdigest())


def written(rows: Sequence[Row]) -> bytes:
    """Rows as bytes, which differ if any value does."""
    # Version 2 of the format is the last without references: equal rows are equal bytes.
    return b"".join([marshal.dumps(row, 2) for row in rows])


class Filler:
    """Puts rows into a table, by the quickest way the database has."""

    def __init__(self, connection: sa.Connection, table: sa.Table) -> None:
        self._connection = connection
        self._table = table
        self._copies = connection.dialect.name == "postgresql"
        names = ", ".join(column.name for column in table.columns)
        marks = ", ".join("?" for _ in table.columns)
        self._text = (
            f"COPY {table.name} ({names}) FROM STDIN (FORMAT BINARY)"
            if self._copies
            else f"INSERT INTO {table.name} ({names}) VALUES ({marks})"  # noqa: S608 - ours
        )
        self._types = [_type(column) for column in table.columns]

    def put(self, rows: list[Row]) -> None:
        """Insert *rows* in the transaction under way."""
        if not self._copies:
            self._connection.exec_driver_sql(self._text, rows)
            return
        driver: Any = self._connection.connection.driver_connection
        with driver.cursor() as cursor, cursor.copy(self._text) as copy:
            copy.set_types(self._types)
            for row in rows:
                copy.write_row(row)


def _type(column: sa.Column[Any]) -> str:
    match column.type:
        case sa.Boolean():
            return "bool"
        case sa.BigInteger():
            return "int8"
        case sa.Integer():
            return "int4"
        case sa.LargeBinary():
            return "bytea"
    return "text"


def _order(connection: sa.Connection, table: sa.Table) -> list[sa.ColumnElement[Any]]:
    return [_sorted(connection, column) for column in table.primary_key]


def _past(
    connection: sa.Connection, table: sa.Table, after: Row
) -> Iterator[sa.ColumnElement[bool]]:
    order = _order(connection, table)
    yield order[0] >= after[0]  # what an index is looked up by, whatever the rest sorts like
    yield sa.tuple_(*order) > sa.tuple_(*(sa.literal(value) for value in after))


def _sorted(connection: sa.Connection, column: sa.Column[Any]) -> sa.ColumnElement[Any]:
    """A key as every database sorts it: text by its bytes."""
    if connection.dialect.name == "postgresql" and isinstance(column.type, sa.Text):
        return sa.collate(column, "C")
    return column


def _heavy(table: sa.Table) -> list[int]:
    return [
        index
        for index, column in enumerate(table.columns)
        if isinstance(column.type, sa.LargeBinary) and not column.primary_key
    ]


def _plain(table: sa.Table) -> Callable[[Row], Row]:
    """
    Return what makes a row one that every database takes.

    PostgreSQL's text holds no NUL; what a receiver or a library says in an error might.
    """
    said = [
        index
        for index, column in enumerate(table.columns)
        if column.name in {"error", "last_error", "reason"}
    ]
    if not said:
        return lambda row: row

    def plain(row: Row) -> Row:
        if not any(row[index] and "\0" in row[index] for index in said):
            return row
        return tuple(
            value.replace("\0", "\ufffd") if index in said and value else value
            for index, value in enumerate(row)
        )

    return plain
