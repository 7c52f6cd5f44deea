"""The databases of a run: where they are, how large, what they hold, what they cost."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from bench import processes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from support.postgres import Postgres

SQLITE, POSTGRESQL = "sqlite", "postgresql"
TABLES = ("events", "bodies", "deliveries", "attempts")
"""What grows with every event; the rest is small."""


class Database(Protocol):
    """One database, from outside the relay."""

    @property
    def kind(self) -> str:
        """`SQLITE` or `POSTGRESQL`."""

    @property
    def url(self) -> str:
        """As relay.yaml takes it."""

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What *query* finds; its columns have different names."""

    def script(self, statements: Sequence[str]) -> None:
        """Run *statements* in one transaction that need not survive a crash of the machine."""

    def settle(self) -> None:
        """Leave nothing to be done later: all on the disk, nothing for a vacuum to find."""

    def size(self) -> int:
        """Bytes on the disk."""

    def sizes(self) -> dict[str, int]:
        """Bytes of each of `TABLES`, with its indexes."""

    def cpu(self) -> float:
        """Seconds of processor time spent so far outside the relay's own process."""

    def copy(self, place: Path) -> Database:
        """Another one like it, in *place* if it is a file; nobody may be using this one."""

    def drop(self) -> None:
        """Give its room back."""


@dataclass(frozen=True, slots=True)
class Sqlite:
    """A file, in the relay's own process."""

    path: Path
    kind: str = SQLITE

    @property
    def url(self) -> str:
        """As relay.yaml takes it."""
        return f"sqlite:///{self.path}"

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """See `Database`."""
        with closing(sqlite3.connect(f"file:{self.path}?mode=ro", uri=True)) as connection:
            return connection.execute(query).fetchall()

    def script(self, statements: Sequence[str]) -> None:
        """See `Database`."""
        with closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            for pragma in ("journal_mode=DELETE", "synchronous=OFF", "cache_size=-500000"):
                connection.execute(f"PRAGMA {pragma}").fetchall()
            for statement in ("BEGIN", *statements, "COMMIT"):
                connection.execute(statement)
            connection.execute("PRAGMA journal_mode=WAL").fetchall()

    def settle(self) -> None:
        """See `Database`."""
        with self.path.open("rb+") as file:
            os.fsync(file.fileno())

    def size(self) -> int:
        """See `Database`; the relay moves the log into the file when it ends."""
        return self.path.stat().st_size

    def sizes(self) -> dict[str, int]:
        """See `Database`; empty where this SQLite was built without dbstat."""
        try:
            found = self.rows(
                "SELECT m.tbl_name, sum(s.pgsize) FROM dbstat AS s JOIN sqlite_master AS m"
                " ON m.name = s.name GROUP BY 1"
            )
        except sqlite3.OperationalError:
            return {}
        return {name: size for name, size in found if name in TABLES}

    def cpu(self) -> float:
        """See `Database`."""
        return 0.0

    def copy(self, place: Path) -> Sqlite:
        """See `Database`."""
        made = Sqlite(place / "relay.db")
        shutil.copyfile(self.path, made.path)
        return made

    def drop(self) -> None:
        """See `Database`."""
        for suffix in ("", "-wal", "-shm", ".lock"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Postgresql:
    """A database of a server."""

    url: str
    server: Postgres
    kind: str = POSTGRESQL

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """See `Database`."""
        return [tuple(row.values()) for row in self.server.query(self.url, query)]

    def script(self, statements: Sequence[str]) -> None:
        """See `Database`."""
        import psycopg  # noqa: PLC0415 - of an extra: SQLite is measured without it

        with psycopg.connect(self.url) as connection:
            for statement in ("SET LOCAL synchronous_commit = off", *statements):
                connection.execute(statement.encode())

    def settle(self) -> None:
        """See `Database`."""
        self.rows("VACUUM (ANALYZE, FREEZE)")
        self.rows("CHECKPOINT")

    def size(self) -> int:
        """See `Database`."""
        [[size]] = self.rows("SELECT pg_database_size(current_database())")
        return int(size)

    def sizes(self) -> dict[str, int]:
        """See `Database`."""
        return {
            name: int(self.rows(f"SELECT pg_total_relation_size('{name}')")[0][0])
            for name in TABLES
        }

    def cpu(self) -> float:
        """See `Database`: of the whole server, its ended processes included."""
        [[postmaster]] = self.rows("SELECT split_part(pg_read_file('postmaster.pid'), E'\n', 1)")
        return processes.family(int(postmaster))

    def copy(self, place: Path) -> Postgresql:
        """See `Database`."""
        del place
        template = self.url.rpartition("/")[2]
        return Postgresql(self.server.database(template=template), self.server)

    def drop(self) -> None:
        """See `Database`."""
        self.server.drop(self.url)


@dataclass(slots=True)
class Server:
    """A PostgreSQL server for all the runs that want one, started when the first does."""

    place: Path  #: the folder for its files
    _postgres: Postgres | None = field(default=None, init=False)

    def database(self) -> Postgresql:
        """A new, empty database; BenchError where there is no PostgreSQL to be had."""
        if self._postgres is None:
            self._postgres = _start(self.place)
        return Postgresql(self._postgres.database(), self._postgres)

    def close(self) -> None:
        """End it, if it was ever started."""
        if self._postgres is not None:
            self._postgres.close()


def _start(place: Path) -> Postgres:
    try:
        from support.postgres import Postgres, missing  # noqa: PLC0415 - see above
    except ImportError as error:
        raise processes.BenchError(f"no PostgreSQL here: {error}") from error
    if fault := missing():
        raise processes.BenchError(f"no PostgreSQL here: {fault}")
    place.chmod(0o711)  # the server may have to run as another account
    # What PostgreSQL itself would choose; that of the tests is a smaller one.
    postgres = Postgres(under=place, settings={"shared_buffers": "128MB", "max_wal_size": "1GB"})
    postgres.start()
    return postgres
