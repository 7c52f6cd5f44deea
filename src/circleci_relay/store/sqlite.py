"""SQLite: one file, one process, one connection that writes; its pragmas, checkpoints, errors."""

from __future__ import annotations

import os
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from circleci_relay.store import filesystem
from circleci_relay.store.database import Nature
from circleci_relay.store.sqlite_file import FileLock, prepare

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy.engine.interfaces import DBAPIConnection
    from sqlalchemy.pool import ConnectionPoolEntry

    from circleci_relay.model import Micros
    from circleci_relay.store.sqlite_file import Place

_MIB = 1024 * 1024

_BUSY_MS = 5_000
_WAL_LIMIT = 8 * _MIB  #: from here on a checkpoint does not wait for a quiet moment
_WAL_STEP = 4 * _MIB
_PAGE = 4096  #: bytes, about
_WAL_KEPT = _WAL_LIMIT + _WAL_STEP
"""What the WAL file is cut to. Cutting it takes longer than a checkpoint, while senders wait,
and writing over what there is takes less than growing the file anew."""


class Sqlite:
    """A store in one file; see `Database` for what each method is for."""

    shared = False
    near = True

    def __init__(self, place: Place) -> None:
        self.place = place
        self.title = str(place.path)
        self.dialect: sa.Dialect = sqlite.dialect()
        self._lock = FileLock(place.lock)
        self._wal = place.wal
        self._looked = 0  # the log's length at the last checkpoint that could not finish

    # Who may use it

    def prepare(self) -> list[str]:
        """Create the file if need be, where a file of SQLite's may lie."""
        warnings = filesystem.check(self.place.path)
        prepare(self.place)
        return warnings

    def acquire(self) -> bool:
        """Take the lock beside the file."""
        return self._lock.acquire()

    def release(self) -> None:
        """Let go of the lock."""
        self._lock.release()

    # Connections

    def connect(self) -> sa.Connection:
        """Open the connection that writes and checkpoints."""
        return engine_of(self.place).connect()

    def check(self, connection: sa.Connection) -> list[str]:
        """Find nothing: the pragmas are set, not asked."""
        del connection
        return []

    def reader(self) -> sa.Engine:
        """Return an engine with one `query_only` connection."""
        return engine_of(self.place, reader=True)

    def viewer(self, *, alone: bool = False) -> sa.Engine:
        """
        Return an engine that leaves the file as it is, even when it closes.

        One that may write would, as the last to close, put the log away: at that moment a
        relay that starts may be writing.
        """
        path = self.place.path
        # Where nothing may be written SQLite cannot share memory with others: nobody is there.
        alone = alone or not os.access(path.parent, os.W_OK)
        immutable = "&immutable=1" if alone and not self.place.wal.exists() else ""
        name = f"file:{quote(str(path.absolute()))}?mode=ro{immutable}"

        def connect() -> sqlite3.Connection:
            return sqlite3.connect(
                name,
                uri=True,
                timeout=_BUSY_MS / 1000,
                isolation_level=None,
                check_same_thread=False,
            )

        return sa.create_engine(
            "sqlite://", creator=connect, poolclass=sa.pool.NullPool, hide_parameters=True
        )

    def nature_of(self, error: Exception) -> Nature:
        """Sort by the code SQLite gave."""
        return nature_of(error)

    def lost(self, connection: sa.Connection) -> bool:
        """Never: a file cannot hang up."""
        del connection
        return False

    def sever(self, *, readers: bool = False) -> None:
        """Do nothing: what hangs on a disk cannot be made to fail."""

    @contextmanager
    def patient(self, connection: sa.Connection) -> Iterator[None]:
        """
        Wait a while for another program that holds the database, say to back it up.

        Without this nothing waits: what runs on the event loop must not.
        """
        driver = raw(connection)
        driver.execute(f"PRAGMA busy_timeout={_BUSY_MS}")
        try:
            yield
        finally:
            driver.execute("PRAGMA busy_timeout=0")

    # Transactions

    def enlist(self, connection: sa.Connection, now: Micros) -> None:
        """Nothing is needed."""

    def mark(self, connection: sa.Connection, now: Micros) -> str | None:
        """Mark nothing: whether a COMMIT succeeded is always known."""
        del connection, now
        return None

    def committed(self, connection: sa.Connection, mark: str) -> bool:
        """Never asked."""
        raise NotImplementedError

    def latest(self, connection: sa.Connection) -> None:
        """There is one process."""
        del connection

    def instant(self, connection: sa.Connection) -> None:
        """Its clock is the machine's."""
        del connection

    def alone(self, connection: sa.Connection, what: str) -> bool:
        """Always: there is one process."""
        del connection, what
        return True

    # Upkeep

    @property
    def pressing(self) -> bool:
        """Whether the write-ahead log has grown so large that it should not wait."""
        return self._reaches(max(_WAL_LIMIT, self._looked + _WAL_STEP))

    def end_sleepers(self, connection: sa.Connection) -> int:
        """There is nobody else."""
        del connection
        return 0

    def tidy(self, connection: sa.Connection) -> None:
        """Move the log into the database; a reader in the way leaves some for the next time."""
        try:
            row = raw(connection).execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except sqlite3.DatabaseError:
            row = None  # a full disk, say: the next commit tells, and is told of
        done = row is not None and row[0] == 0 and row[1] == row[2]
        if done:
            self._looked = 0
        else:  # not again at every commit
            self._looked = row[1] * _PAGE if row else max(_WAL_LIMIT, self._looked + _WAL_STEP)

    def vacuum(self, connection: sa.Connection, pages: int) -> int:
        """Free pages one by one, in the transaction under way."""
        driver = raw(connection)
        free = int(driver.execute("PRAGMA freelist_count").fetchone()[0])
        for _ in range(min(free, pages)):
            # SQLite frees a page a step, and the driver steps a statement without columns once.
            driver.execute("PRAGMA incremental_vacuum(1)")
        left = int(driver.execute("PRAGMA freelist_count").fetchone()[0])
        # A database that was made anew from a dump has no such mode, and frees nothing.
        return left if left < free else 0

    def size(self, connection: sa.Connection) -> int:
        """Bytes of the file and its log."""
        del connection
        files = (self.place.path, self.place.wal)
        return sum(file.stat().st_size for file in files if file.exists())

    def _reaches(self, size: int) -> bool:
        """Whether the log holds *size* bytes or more; its file may be longer than what it holds."""
        # https://sqlite.org/fileformat2.html, "The Write-Ahead Log": a frame is of now if its
        # salt is the header's. (No lock of SQLite's is on this file: closing it costs none.)
        try:
            log = os.open(self._wal, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            head = os.pread(log, 32, 0)
            frame = 24 + int.from_bytes(head[8:12], "big")
            salt = os.pread(log, 16, 32 + size // frame * frame)[8:]
        except OSError:
            return False
        finally:
            os.close(log)
        return len(salt) == 8 and salt == head[16:24]  # noqa: PLR2004 - as long as a salt is


def _connected(
    place: Place, *, reader: bool
) -> Callable[[DBAPIConnection, ConnectionPoolEntry], None]:
    def configure(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
        # The driver's own idea of when to begin is switched off: `begin` below says it.
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in _pragmas(place, reader=reader):
            cursor.execute(f"PRAGMA {pragma}")
            cursor.fetchall()
        cursor.close()

    return configure


def _pragmas(place: Place, *, reader: bool) -> list[str]:
    # Separate connections that write and checkpoint at once can lose commits (SQLite
    # 3.7.0 to 3.51.2): the writer does both, at moments of its own choosing.
    limit = [] if place.max_page_count is None else [f"max_page_count={place.max_page_count}"]
    if reader:
        # The limit, so that it can be told how near it is.
        return [f"busy_timeout={_BUSY_MS}", "wal_autocheckpoint=0", "query_only=ON", *limit]
    return [
        f"busy_timeout={_BUSY_MS}",
        "wal_autocheckpoint=0",
        "auto_vacuum=INCREMENTAL",  # before WAL: after it, it is ignored in silence
        "journal_mode=WAL",
        "synchronous=FULL",
        f"journal_size_limit={_WAL_KEPT}",
        "cache_size=-16384",
        "temp_store=MEMORY",
        *limit,
    ]


def engine_of(place: Place, *, reader: bool = False) -> sa.Engine:
    """An engine that holds one connection, which only one thread uses at a time."""
    engine = sa.create_engine(
        sa.URL.create("sqlite", database=str(place.path)),
        hide_parameters=True,
        poolclass=sa.pool.StaticPool,
        connect_args={"check_same_thread": False, "cached_statements": 256},
    )
    sa.event.listen(engine, "connect", _connected(place, reader=reader))
    sa.event.listen(engine, "begin", _begin_reading if reader else _begin_writing)
    return engine


def _begin_reading(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def _begin_writing(connection: sa.Connection) -> None:
    # Straight to the driver: SQLAlchemy's way takes twice as long.
    raw(connection).execute("BEGIN IMMEDIATE")


def raw(connection: sa.Connection) -> sqlite3.Connection:
    """The driver's connection, for what stands outside any transaction."""
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)  # noqa: S101 - narrows a type
    return driver


_OUTAGES = {
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_INTERRUPT,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_NOTADB,
}
_DATA = {
    sqlite3.SQLITE_TOOBIG,
    sqlite3.SQLITE_CONSTRAINT,
    sqlite3.SQLITE_MISMATCH,
    sqlite3.SQLITE_RANGE,
}


def nature_of(error: Exception) -> Nature:
    """Tell an outage from an item that will never do, by the code SQLite gave."""
    cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
    if isinstance(cause, sqlite3.Error):
        code = getattr(cause, "sqlite_errorcode", None)
        if code is None:  # the driver itself could not bind a value
            return Nature.DATA
        primary = code & 0xFF  # https://sqlite.org/rescode.html: the rest extends it
        if primary in _OUTAGES:
            return Nature.OUTAGE
        return Nature.DATA if primary in _DATA else Nature.BUG
    # What the driver raises for integers over 64 bits and text that is no Unicode.
    return Nature.DATA if isinstance(cause, OverflowError | UnicodeError) else Nature.BUG
