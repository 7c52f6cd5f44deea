"""What statements are made of: hot ones, given to the driver as text, and inserts that replace."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Hot:
    """A statement for the hot path: its parameters are tuples in the order of its names."""

    def __init__(self, dialect: sa.Dialect, statement: Any, names: str) -> None:
        wanted = names.split()
        compiled = statement.compile(dialect=dialect, column_keys=wanted)
        taken = compiled.positiontup
        if taken[: len(wanted)] != wanted:
            raise AssertionError(f"{compiled} takes {taken}, not {names}")
        self._text = str(compiled)
        # Such as SQLite's OFFSET, which the compiler adds behind every LIMIT.
        self._rest = tuple(compiled.params[name] for name in taken[len(wanted) :])

    def run(self, connection: sa.Connection, rows: list[tuple[Any, ...]]) -> int:
        """Run it for each of *rows*; how many rows of the table were touched in all."""
        with closing(connection.connection.cursor()) as cursor:
            cursor.executemany(self._text, rows)
            return cursor.rowcount

    def read(self, connection: sa.Connection, row: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        """Run it once, for *row*; all that it finds, as the driver gives it."""
        with closing(connection.connection.cursor()) as cursor:
            cursor.execute(self._text, row + self._rest)
            return list(cursor.fetchall())


class HotAnyOf:
    """A hot query for rows that match any of several values, which come last."""

    def __init__(
        self,
        dialect: sa.Dialect,
        query: Callable[[list[sa.BindParameter[Any]]], Any],
        names: str = "",
    ) -> None:
        self._dialect = dialect
        self._query = query
        self._names = names
        self._sized: dict[int, Hot] = {}

    def read(
        self, connection: sa.Connection, values: Sequence[Any], *before: Any
    ) -> list[tuple[Any, ...]]:
        """All that it finds for any of *values*, of which there is at least one."""
        # Made up to a power of two with the last one, so that few texts are compiled.
        size = 1 << (len(values) - 1).bit_length()
        hot = self._sized.get(size) or self._sized.setdefault(size, self._of(size))
        fill = (values[-1],) * (size - len(values))
        return hot.read(connection, (*before, *values, *fill))

    def _of(self, size: int) -> Hot:
        names = [f"any_{number}" for number in range(size)]
        query = self._query([sa.bindparam(name) for name in names])
        return Hot(self._dialect, query, " ".join((self._names, *names)))


def upsert(
    insert: Any,
    table: sa.Table,
    *,
    only: Sequence[str] | None = None,
    where: Callable[[Any], Any] = lambda _: None,
) -> Any:
    """Replace what is not the key, or *only* some, *where* that holds of what would replace it."""
    key = [column.name for column in table.primary_key]
    rest = only or [column.name for column in table.columns if column.name not in key]
    return insert.on_conflict_do_update(
        index_elements=key,
        set_={name: insert.excluded[name] for name in rest},
        where=where(insert.excluded),
    )
