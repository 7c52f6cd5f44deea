"""Everything that is SQLite's own: the file, its lock, its pragmas, its checkpoints, its errors."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from circleci_relay.errors import StoreRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy.engine.interfaces import DBAPIConnection
    from sqlalchemy.pool import ConnectionPoolEntry

_MAGIC = b"SQLite format 3\0"
_MIB = 1024 * 1024

_BUSY_MS = 5_000
_WAL_KEPT = 4 * _MIB  #: what the WAL file is cut to once its content is in the database
_WAL_LIMIT = 32 * _MIB  #: from here on a checkpoint does not wait for a quiet moment
_WAL_STEP = 8 * _MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a SQLite store lies."""

    path: Path
    max_page_count: int | None = None  #: the file grows no further, as if the disk were full

    @property
    def wal(self) -> Path:
        """The write-ahead log beside it."""
        return self.path.with_name(f"{self.path.name}-wal")

    @property
    def lock(self) -> Path:
        """The file that is locked by the one process that may use it."""
        return self.path.with_name(f"{self.path.name}.lock")


def place_of(url: str) -> Place:
    """
    Read `sqlite:///relay.db`, with `?max_page_count=N` if wanted; refuse what is none.

    Messages never repeat the URL: it may hold a password.
    """
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError:
        raise StoreRefused("store.url is no URL; try sqlite:///relay.db") from None
    kind = parsed.get_backend_name()
    if kind in {"postgresql", "postgres"}:
        raise StoreRefused("store.url: PostgreSQL is not in this version; try sqlite:///relay.db")
    if kind != "sqlite":
        raise StoreRefused(f"store.url: {kind} is not supported; try sqlite:///relay.db")
    if not parsed.database or parsed.database == ":memory:":
        raise StoreRefused("store.url: a store in memory would lose everything; name a file")
    query = dict(parsed.query)
    pages = query.pop("max_page_count", None)
    if query:
        raise StoreRefused(f"store.url: unknown option {min(query)!r}")
    if pages is not None and not (isinstance(pages, str) and pages.isdecimal()):
        raise StoreRefused("store.url: max_page_count must be a whole number")
    return Place(path=Path(parsed.database), max_page_count=int(pages) if pages else None)


def prepare(place: Place) -> None:
    """Create the file if need be, readable by its owner only; refuse one that cannot be used."""
    path = place.path
    if not path.parent.is_dir():
        raise StoreRefused(f"{path}: the directory {path.parent} does not exist")
    if path.is_dir():
        raise StoreRefused(f"{path} is a directory; name a file")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise StoreRefused(f"{path}: the directory {path.parent} is not writable")
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise StoreRefused(f"{path} cannot be written: {error.strerror}") from error
    with path.open("rb") as file:
        head = file.read(100)
    if not head:
        return
    if not head.startswith(_MAGIC):
        raise StoreRefused(f"{path} is not a SQLite database; move it away or name another file")
    _refuse_truncated(place, head)


def _refuse_truncated(place: Place, head: bytes) -> None:
    """A copy cut short reads well until its missing pages are asked for."""
    # https://sqlite.org/fileformat2.html, "The Database Header": the page size at 16, the
    # page count at 28. While a WAL is there the file may rightly be shorter.
    size = int.from_bytes(head[16:18], "big")
    pages = int.from_bytes(head[28:32], "big")
    wal = place.wal.stat().st_size if place.wal.exists() else 0
    have = place.path.stat().st_size
    if len(head) < len(_MAGIC) or (not wal and have < pages * (65536 if size == 1 else size)):
        raise StoreRefused(f"{place.path} is cut short; restore it from a backup")


class FileLock:
    """The advisory lock that keeps a second process off the database."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None

    def acquire(self) -> bool:
        """Take the lock if it is free; it goes with the process, however that ends."""
        fd = self._fd
        if fd is None:
            try:
                fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except OSError as error:
                raise StoreRefused(f"{self._path}: {error.strerror}") from error
        self._fd = fd
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def release(self) -> None:
        """Let the next process in. The file stays: removing it would let two in."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


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
    if reader:
        return [f"busy_timeout={_BUSY_MS}", "wal_autocheckpoint=0", "query_only=ON"]
    limit = [] if place.max_page_count is None else [f"max_page_count={place.max_page_count}"]
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
    begin = "BEGIN" if reader else "BEGIN IMMEDIATE"
    sa.event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(begin))
    return engine


def raw(connection: sa.Connection) -> sqlite3.Connection:
    """The driver's connection, for what stands outside any transaction."""
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)  # noqa: S101 - narrows a type
    return driver


@contextmanager
def patient(connection: sa.Connection) -> Iterator[None]:
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


class Checkpoints:
    """When the writer's connection moves the write-ahead log into the database."""

    def __init__(self, place: Place) -> None:
        self._wal = place.wal
        self._looked = 0  #: the log's size at the last look that could not finish

    @property
    def pressing(self) -> bool:
        """Whether the log has grown so large that it should not wait."""
        size = self._size()
        return size > _WAL_LIMIT and size > self._looked + _WAL_STEP

    def run(self, connection: sa.Connection) -> None:
        """Move what can be moved; a reader in the way leaves some for the next time."""
        try:
            row = raw(connection).execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except sqlite3.DatabaseError:
            row = None  # a full disk, say: the next commit tells, and is told of
        done = row is not None and row[0] == 0 and row[1] == row[2]
        self._looked = 0 if done else self._size()

    def _size(self) -> int:
        try:
            return self._wal.stat().st_size
        except OSError:
            return 0


def vacuum(connection: sa.Connection, pages: int) -> int:
    """Give up to *pages* free pages back to the file system; how many are left."""
    driver = raw(connection)
    free = int(driver.execute("PRAGMA freelist_count").fetchone()[0])
    for _ in range(min(free, pages)):
        # SQLite frees a page a step, and the driver steps a statement without columns once.
        driver.execute("PRAGMA incremental_vacuum(1)")
    left = int(driver.execute("PRAGMA freelist_count").fetchone()[0])
    # A database that was made anew from a dump has no such mode, and frees nothing.
    return left if left < free else 0


class Nature(Enum):
    """What kind of failure a transaction met."""

    OUTAGE = auto()  #: the database takes nothing now; the same batch may do later
    DATA = auto()  #: one of the items will never do
    BUG = auto()  #: this program is wrong


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
