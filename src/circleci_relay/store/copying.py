"""Moving everything from one database to another, of whichever kinds."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from circleci_relay.errors import StoreRefused
from circleci_relay.store.bulk import (
    LARGE,
    SMALL,
    Digest,
    Filler,
    Row,
    batches,
    count_of,
    digest_of,
    last_of,
    rows_of,
    written,
)
from circleci_relay.store.migrate import COPYING, HEAD, bring_up_to_date, revision
from circleci_relay.store.place import database_of
from circleci_relay.store.quiet import in_use, to_read, to_write
from circleci_relay.store.schema import counters, meta
from circleci_relay.store.viewing import not_older, told

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from circleci_relay.store.database import Database

MOST = 5_000  #: rows in one transaction

_STAMP = "copying_stamp"
_OWN = frozenset({"min_compatible", COPYING, _STAMP})  # rows of `meta` that stay where they are


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a copy is with one table."""

    doing: str  #: `copying` or `comparing`
    table: str
    done: int
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One table, in both databases."""

    table: str
    source: Digest
    target: Digest

    @property
    def equal(self) -> bool:
        """Whether it is the same in both, row by row."""
        return self.source == self.target


def copy(
    source: str,
    target: str,
    *,
    tell: Callable[[Progress], None] = lambda _: None,
    most: int = MOST,
) -> Sequence[Compared]:
    """
    Copy all there is in the database at the URL *source* to the empty one at *target*.

    Goes on where an earlier run was when it was cut short, at whatever instant: rows go
    over in the order of their keys, each batch in one transaction. The source is only
    read, and nothing may change in it meanwhile. Until both are found to be the same, the
    target says that it is incomplete, and no relay starts on it.

    Returns what comparing the two found; raises `StoreRefused` where it cannot be done.
    """
    origin, goal = database_of(source), database_of(target)
    if origin.title == goal.title:
        raise StoreRefused(f"{origin.title} is both what to copy and where to")
    with to_read(origin) as reading, to_write(goal) as writing:
        run = _Run(origin, reading, goal, writing, tell)
        run.begin()
        for table in LARGE:
            run.fill(table, most)
        compared = run.compare()
        if all(each.equal for each in compared):
            run.finish()
    return compared


class _Run:
    """One copy under way."""

    def __init__(
        self,
        origin: Database,
        reading: sa.Connection,
        goal: Database,
        writing: sa.Connection,
        tell: Callable[[Progress], None],
    ) -> None:
        self._origin, self._reading = origin, reading
        self._goal, self._writing = goal, writing
        self._tell = tell

    def begin(self) -> None:
        """Find the target empty, or with an unfinished copy of this very source."""
        _same_schema(self._origin, revision(self._reading, self._origin.title))
        stamp = self._stamp()
        with self._writing.begin():
            found = revision(self._writing, self._goal.title, unfinished=True)
            known = {} if found is None else _own(self._writing)
        self._goal.check(self._writing)
        if COPYING in known:
            _same_schema(self._goal, found)
            self._go_on(known, stamp)
        else:
            bring_up_to_date(self._goal, self._writing, found)
            with self._writing.begin():
                _same_schema(self._goal, revision(self._writing, self._goal.title))
                self._mark()
        if _STAMP not in known:
            self._first(stamp)

    def _mark(self) -> None:
        """Let no relay start on the target from here on, if it is empty."""
        if fault := self._filled():
            raise StoreRefused(fault)
        Filler(self._writing, meta).put([(COPYING, self._origin.title)])

    def _first(self, stamp: str) -> None:
        """Copy what is little, or take back the mark of a database that is used after all."""
        with self._writing.begin():
            # A relay that looked just before there was a mark is connected by now.
            used = in_use(self._goal, self._writing) if self._goal.shared else None
            fault = used or self._filled()
            if fault:
                self._writing.execute(sa.delete(meta).where(meta.c.name == COPYING))
            else:
                self._copy_small(stamp)
        if fault:
            raise StoreRefused(fault)

    def _stamp(self) -> str:
        """Of what changes whenever a relay starts: the time its configuration was seen."""
        digest = hashlib.sha256(written(_others(self._reading)))
        for table in SMALL:
            digest.update(digest_of(self._reading, table).sha256.encode())
        return digest.hexdigest()

    def _go_on(self, known: dict[str, str], stamp: str) -> None:
        if known[COPYING] != self._origin.title:
            raise StoreRefused(
                f"{self._goal.title} holds an unfinished copy of {known[COPYING]}; go on with"
                " that, or name an empty database"
            )
        if known.get(_STAMP, stamp) != stamp:
            raise StoreRefused(
                f"{self._origin.title} was used after the copy in {self._goal.title} was begun;"
                " begin again, with an empty database"
            )

    def _filled(self) -> str | None:
        for table in (*LARGE, *SMALL):
            if table is not counters and last_of(self._writing, table) is not None:
                return (
                    f"{self._goal.title} is not empty (there are {table.name}); name an empty"
                    " database"
                )
        return None

    def _copy_small(self, stamp: str) -> None:
        for table in SMALL:
            self._writing.execute(sa.delete(table))
            for page in rows_of(self._reading, table):
                Filler(self._writing, table).put(page)
        self._writing.execute(sa.delete(meta).where(meta.c.name.not_in(_OWN)))
        Filler(self._writing, meta).put([*_others(self._reading), (_STAMP, stamp)])

    def fill(self, table: sa.Table, most: int) -> None:
        """Copy the rows of a table that are not there yet."""
        with self._writing.begin():
            after = last_of(self._writing, table)
            done = count_of(self._writing, table)
        total = done + count_of(self._reading, table, after=after)
        self._say("copying", table, done, total)
        filler = Filler(self._writing, table)
        for batch in batches(self._rows(table, after), table, most):
            with self._writing.begin():
                filler.put(batch)
            if self._goal.pressing:
                self._goal.tidy(self._writing)
            done += len(batch)
            self._say("copying", table, done, total)

    def _rows(self, table: sa.Table, after: Row | None) -> Iterator[list[Row]]:
        # What goes wrong here is not the target's fault.
        with told(self._origin, self._reading.engine):
            yield from rows_of(self._reading, table, after=after)

    def compare(self) -> Sequence[Compared]:
        """Read both through, and digest them."""
        with self._writing.begin():
            compared = [self._compared(table) for table in (*SMALL, *LARGE)]
            source, target = (
                Digest(len(rows), hashlib.sha256(written(rows)).hexdigest())
                for rows in (_others(self._reading), _others(self._writing))
            )
        return [*compared, Compared(table=meta.name, source=source, target=target)]

    def _compared(self, table: sa.Table) -> Compared:
        with told(self._origin, self._reading.engine):
            source = digest_of(self._reading, table)

        def read(rows: int) -> None:
            self._say("comparing", table, rows, source.rows)

        target = digest_of(self._writing, table, read=read)
        return Compared(table=table.name, source=source, target=target)

    def finish(self) -> None:
        """Let a relay have it."""
        with self._writing.begin():
            if self._goal.shared:
                for table in LARGE:  # its planner knows nothing of them yet
                    self._writing.exec_driver_sql(f"ANALYZE {table.name}")
            self._writing.execute(sa.delete(meta).where(meta.c.name.in_({COPYING, _STAMP})))
        self._goal.tidy(self._writing)

    def _say(self, doing: str, table: sa.Table, done: int, total: int) -> None:
        self._tell(Progress(doing=doing, table=table.name, done=done, total=total))


def _same_schema(database: Database, found: str | None) -> None:
    not_older(database, found)
    if found is not None and found > HEAD:
        raise StoreRefused(
            f"{database.title} has a newer schema ({found}, this program knows {HEAD}); copy with"
            " the version that made it"
        )


def _own(connection: sa.Connection) -> dict[str, str]:
    rows = connection.execute(sa.select(meta.c.name, meta.c.value))
    return {name: value for name, value in rows if name in _OWN}


def _others(connection: sa.Connection) -> list[Row]:
    return [row for page in rows_of(connection, meta) for row in page if row[0] not in _OWN]
