"""Measuring a large database by samples, and asking it how it is set up."""

from __future__ import annotations

import sqlite3
import threading
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from circleci_relay.store.schema import attempts, bodies, deliveries, events, metadata
from circleci_relay.store.sqlite import Sqlite

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from circleci_relay.store.database import Database

EXACT = 50_000
"""As many keys are gone through one by one; of more, samples are taken."""

_COUNTED = 2_000_000  #: as many rows are counted where an index alone will do
_PLACES = 200
_EACH = 25
_PATIENCE = 3.0  #: seconds for the quick look at a file's pages


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number, and whether it was counted."""

    number: int
    exact: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What a look at some rows says of all."""

    events: Estimate
    attempts: Estimate
    delivered: Mapping[str, Estimate]  #: by destination
    widths: Mapping[str, float]  #: bytes that a table's values take for each event


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """What it takes on the disk."""

    size: int
    spare: int
    tables: Mapping[str, Estimate]
    bodies_share: float | None


def sample(connection: sa.Connection) -> Sample:
    """Count what is little, look here and there into what is much."""
    d = deliveries.c
    some = _Sampled(connection, d.key, [d.destination, d.state, d.attempts, *_widths(deliveries)])
    widths = {"deliveries": some.total(sum(row[3:]) for row in some.rows)}
    # PostgreSQL is asked what its tables take.
    for key in (
        (events.c.key, bodies.c.event, attempts.c.delivery) if _is_sqlite(connection) else ()
    ):
        wide = _Sampled(connection, key, _widths(key.table))
        widths[key.table.name] = wide.total(sum(row) for row in wide.rows)
    ends = Counter(row[0] for row in some.rows if row[1] == "delivered")
    return Sample(
        events=_count(connection),
        attempts=some.scaled(sum(row[2] for row in some.rows)),
        delivered={name: some.scaled(count) for name, count in ends.items()},
        widths=widths,
    )


def _count(connection: sa.Connection) -> Estimate:
    """Events: by counting, where that takes no more than a moment."""
    lowest, highest = _ends(connection, events.c.key)
    if lowest is None or highest is None or highest - lowest < _COUNTED:
        number = sa.select(sa.func.count()).select_from(events)
        return Estimate(int(connection.execute(number).scalar_one()))
    some = _Sampled(connection, events.c.key, [events.c.key])
    return some.scaled(len(some.rows))


def _ends(connection: sa.Connection, key: sa.Column[int]) -> tuple[int, int] | tuple[None, None]:
    """The lowest and the highest key; in one statement of two, each of which an index answers."""
    lowest, highest = (
        sa.select(function(key)).scalar_subquery() for function in (sa.func.min, sa.func.max)
    )
    first, last = connection.execute(sa.select(lowest, highest)).one()
    return (None, None) if first is None else (int(first), int(last))


class _Sampled:
    """Rows of a table: all of them, or those behind some keys spread over all there are."""

    def __init__(
        self, connection: sa.Connection, key: sa.Column[int], columns: Sequence[Any]
    ) -> None:
        lowest, highest = _ends(connection, key)
        self._share = 1.0
        self.rows: list[Any] = []
        if lowest is None or highest is None:
            return
        span = highest - lowest + 1
        wanted = sa.select(*columns)
        if span <= EXACT:
            self.rows = list(connection.execute(wanted))
            return
        covered = 0
        step = span // _PLACES
        for place in range(_PLACES):
            low = lowest + place * step
            high = low + _EACH
            self.rows += connection.execute(wanted.where(key >= low, key < high))
            covered += _EACH
        self._share = covered / span

    def scaled(self, count: int) -> Estimate:
        """What *count* of the rows looked at comes to of all."""
        return Estimate(round(count / self._share), exact=self._share == 1.0)

    def total(self, widths: Iterable[int]) -> float:
        """What these come to of all."""
        return sum(widths) / self._share


def _widths(table: sa.FromClause) -> list[sa.ColumnElement[int]]:
    """What each column takes, about; a number is taken for eight bytes."""
    return [
        sa.func.coalesce(sa.func.length(column), 0)
        if isinstance(column.type, sa.Text | sa.LargeBinary)
        else sa.literal_column("8")
        for column in table.c
    ]


def _is_sqlite(connection: sa.Connection) -> bool:
    return connection.dialect.name == "sqlite"


def measure(database: Database, connection: sa.Connection, found: Sample, *, deep: bool) -> Measure:
    """Ask how much there is, and share it out by table."""
    size = database.size(connection)
    spare = 0
    if isinstance(database, Sqlite):
        pages = _number(connection, "PRAGMA page_size")
        spare = pages * _number(connection, "PRAGMA freelist_count")
        counted = _pages_by_table(connection) if deep else None
        tables = counted or _shared_out(size - spare, found.widths)
    else:
        tables = {
            table.name: Estimate(
                int(
                    connection.exec_driver_sql(
                        "SELECT pg_total_relation_size(to_regclass(%s))", (table.name,)
                    ).scalar()
                    or 0
                )
            )
            for table in metadata.sorted_tables
        }
    all_told = sum(table.number for table in tables.values())
    share = tables["bodies"].number / all_told if all_told and "bodies" in tables else None
    return Measure(size=size, spare=spare, tables=tables, bodies_share=share)


def _shared_out(size: int, widths: Mapping[str, float]) -> dict[str, Estimate]:
    """Size by table, as their values' widths are to each other."""
    whole = sum(widths.values())
    if not whole:
        return {}
    return {
        name: Estimate(round(size * width / whole), exact=False) for name, width in widths.items()
    }


def _pages_by_table(connection: sa.Connection) -> dict[str, Estimate] | None:
    """Every page of the file, where SQLite was built to tell; an index is its table's."""
    query = """
        SELECT tbl_name, sum(pgsize) FROM dbstat JOIN sqlite_schema USING (name) GROUP BY tbl_name
    """
    try:
        found = connection.exec_driver_sql(query).all()
    except sa.exc.OperationalError:
        return None
    return {name: Estimate(int(taken)) for name, taken in found}


def integrity(connection: sa.Connection, *, deep: bool) -> list[str] | None:
    """
    Have SQLite look its file over; what is wrong with it. None: it took too long.

    Not deep, it may take a few seconds: a large file is not read through beside a relay,
    whose log grows meanwhile.
    """
    if deep:
        return _complaints(connection, "integrity_check")
    driver: Any = connection.connection.driver_connection
    # SQLite walks a whole tree as one step, in which no progress handler is called.
    timer = threading.Timer(_PATIENCE, driver.interrupt)
    timer.start()
    try:
        return _complaints(connection, "quick_check")
    except sa.exc.OperationalError as error:
        if getattr(error.orig, "sqlite_errorcode", None) != sqlite3.SQLITE_INTERRUPT:
            raise
        return None
    finally:
        timer.cancel()
        timer.join()


def _complaints(connection: sa.Connection, check: str) -> list[str]:
    found = connection.exec_driver_sql(f"PRAGMA {check}(20)").scalars().all()
    lines = [" ".join(str(line).split()) for line in found]
    return [] if lines == ["ok"] else lines


def sqlite_settings(connection: sa.Connection) -> dict[str, str]:
    """What SQLite is and how the file is set up; `synchronous` is the relay's own choice."""
    vacuum = {0: "none", 1: "full", 2: "incremental"}
    return {
        "SQLite": str(connection.exec_driver_sql("SELECT sqlite_version()").scalar_one()),
        "journal_mode": str(connection.exec_driver_sql("PRAGMA journal_mode").scalar_one()),
        "synchronous": "full",
        "auto_vacuum": vacuum.get(_number(connection, "PRAGMA auto_vacuum"), "unknown"),
        "page_size": str(_number(connection, "PRAGMA page_size")),
    }


def postgresql_settings(connection: sa.Connection) -> dict[str, str]:
    """Whether the server keeps what it says it has."""
    names = (
        "server_version",
        "fsync",
        "synchronous_commit",
        "full_page_writes",
        "server_encoding",
        "max_connections",
    )
    found = {
        name: str(connection.exec_driver_sql("SELECT current_setting(%s)", (name,)).scalar_one())
        for name in names
    }
    return {"PostgreSQL": found.pop("server_version"), **found}


def _number(connection: sa.Connection, query: str) -> int:
    return int(connection.exec_driver_sql(query).scalar_one())
