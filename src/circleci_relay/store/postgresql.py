"""PostgreSQL: one database for any number of replicas; its session, its clock, its errors."""

from __future__ import annotations

import itertools
import os
import secrets
import socket
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

from circleci_relay.errors import StoreRefused
from circleci_relay.model import SECOND, Micros
from circleci_relay.store.database import Nature
from circleci_relay.store.schema import metadata

try:
    import psycopg
    from psycopg.conninfo import conninfo_to_dict, make_conninfo
    from psycopg.types.numeric import Int8BinaryDumper
except ImportError as missing:
    raise StoreRefused(
        "store.url: PostgreSQL needs the driver psycopg; install circleci-relay[postgresql]"
    ) from missing

if TYPE_CHECKING:
    from collections.abc import Iterator

_OLDEST = 140_000  #: server_version_num
_ENDS_TRANSACTIONS = 170_000  #: from here on there is `transaction_timeout`

_LIBPQ = {
    "application_name": "circleci-relay",
    "connect_timeout": "5",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "20000",
}
"""What libpq is told unless the URL says otherwise: a network that swallows is found out."""

_SESSION = (
    # A replica that sleeps inside a transaction must not hold the others up for long.
    "SET idle_in_transaction_session_timeout = '5s'",
    "SET lock_timeout = '3s'",
    "SET statement_timeout = '20s'",
    # A machine that vanished holds its locks until the server notices.
    "SET tcp_keepalives_idle = 10",
    "SET tcp_keepalives_interval = 5",
    "SET tcp_keepalives_count = 3",
    "SET tcp_user_timeout = '20s'",
    "SET TIME ZONE 'UTC'",
)

_LONG = "10s"
"""How long a transaction of ours may take; no more than a step of ageing out needs."""

_WRITERS = "writer "
"""What the names of rows in `meta` begin with that processes mark their transactions in."""

_FORGOTTEN: Micros = 24 * 3600 * SECOND
"""How long the row of a process that is gone stays; one that runs marks it every minute."""


class Postgresql:
    """A store in a PostgreSQL database; see `Database` for what each method is for."""

    shared = True
    near = False
    pressing = False

    def __init__(self, conninfo: str, title: str) -> None:
        self._conninfo = conninfo
        self.title = title
        self.dialect: sa.Dialect = PGDialect_psycopg(  # type: ignore[no-untyped-call]
            paramstyle="format"
        )
        self._open: dict[bool, WeakSet[psycopg.Connection[Any]]] = {
            reader: WeakSet() for reader in (False, True)
        }
        self._writer = f"{_WRITERS}{secrets.token_hex(8)}"
        self._marks = itertools.count(1)
        self._writing = self._engine(target_session_attrs="read-write")

    # Who may use it: anyone

    def prepare(self) -> list[str]:
        """Nothing: the database must be there."""
        return []

    def acquire(self) -> bool:
        """Any number of processes may use it."""
        return True

    def release(self) -> None:
        """Nothing was taken."""

    # Connections

    def connect(self) -> sa.Connection:
        """Open a connection, to a server that takes writes."""
        return self._writing.connect()

    def reader(self) -> sa.Engine:
        """Return an engine whose one connection cannot write."""
        return self._engine(reader=True)

    def _engine(self, *, reader: bool = False, **options: str) -> sa.Engine:
        def connect() -> psycopg.Connection[Any]:
            given = conninfo_to_dict(self._conninfo)
            wanted = {name: value for name, value in options.items() if name not in given}
            made = psycopg.connect(make_conninfo(self._conninfo, **wanted))
            self._open[reader].add(made)
            # One type for all whole numbers, so that one prepared statement serves all.
            made.adapters.register_dumper(int, Int8BinaryDumper)
            _set_up(made, reader=reader)
            return made

        pool: dict[str, Any] = (
            {"pool_size": 1, "max_overflow": 0, "pool_pre_ping": True}
            if reader
            else {"poolclass": sa.pool.NullPool}
        )
        return sa.create_engine(
            "postgresql+psycopg://",
            creator=connect,
            hide_parameters=True,
            paramstyle="format",
            isolation_level="READ COMMITTED",
            **pool,
        )

    def check(self, connection: sa.Connection) -> list[str]:
        """Refuse a server that is too old, or that says what it has not written to its disk."""
        with connection.begin():
            version = int(_setting(connection, "server_version_num"))
            fsync = _setting(connection, "fsync")
            encoding = _setting(connection, "server_encoding")
        if version < _OLDEST:
            raise StoreRefused(f"{self.title} is PostgreSQL {version // 10_000}; 14 is needed")
        if encoding != "UTF8":
            raise StoreRefused(
                f"{self.title} is encoded in {encoding}; create it with ENCODING 'UTF8'"
            )
        if fsync != "on":
            raise StoreRefused(
                f"{self.title} runs with fsync = off: a power cut loses what it said was"
                " stored; set fsync = on"
            )
        return []

    def viewer(self, *, alone: bool = False) -> sa.Engine:
        """Return what `reader` does."""
        del alone
        return self.reader()

    def nature_of(self, error: Exception) -> Nature:
        """Sort by the SQLSTATE PostgreSQL gave."""
        return nature_of(error)

    def lost(self, connection: sa.Connection) -> bool:
        """Whether the driver has given the connection up."""
        if connection.closed or connection.invalidated:
            return True
        return _raw(connection).closed

    def sever(self, *, readers: bool = False) -> None:
        """Shut the sockets down, so that whoever waits on one is told."""
        for made in list(self._open[readers]):
            with suppress(Exception):
                copy = os.dup(made.fileno())
                with socket.socket(fileno=copy) as wire:
                    wire.shutdown(socket.SHUT_RDWR)

    @contextmanager
    def patient(self, connection: sa.Connection) -> Iterator[None]:
        """Always: `lock_timeout` says for how long."""
        del connection
        yield

    # Transactions

    def enlist(self, connection: sa.Connection, now: Micros) -> None:
        """Make the row our transactions mark, and drop those of processes long gone."""
        connection.exec_driver_sql(
            "DELETE FROM meta WHERE name LIKE %s AND value < %s",
            (f"{_WRITERS}%", _marked(now - _FORGOTTEN, 0)),
        )
        connection.exec_driver_sql(
            "INSERT INTO meta (name, value) VALUES (%s, %s)", (self._writer, _marked(now, 0))
        )

    def mark(self, connection: sa.Connection, now: Micros) -> str | None:
        """
        Write a value of its own into our row, if the transaction has written anything.

        Its number would not do: one that was not yet on the disk is given again after a
        crash, and `pg_xact_status` then speaks of another's transaction.
        """
        mark = _marked(now, next(self._marks))
        written = connection.exec_driver_sql(
            "UPDATE meta SET value = %s WHERE name = %s"
            " AND pg_current_xact_id_if_assigned() IS NOT NULL",
            (mark, self._writer),
        )
        return mark if written.rowcount else None

    def committed(self, connection: sa.Connection, mark: str) -> bool:
        """Read our row; a transaction that is not decided yet holds it, and is waited for."""
        with connection.begin():
            found = connection.exec_driver_sql(
                "SELECT value FROM meta WHERE name = %s FOR UPDATE", (self._writer,)
            ).scalar()
        return found == mark

    def latest(self, connection: sa.Connection) -> Micros | None:
        """Read the marks of all replicas: each holds its own count of the time."""
        found = connection.exec_driver_sql(
            "SELECT max(value) FROM meta WHERE name LIKE %s", (f"{_WRITERS}%",)
        ).scalar()
        return None if found is None else int(found.partition(" ")[0])

    def instant(self, connection: sa.Connection) -> Micros | None:
        """Microseconds since the epoch by the server's clock."""
        read = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
        return int(connection.exec_driver_sql(read).scalar_one())

    def alone(self, connection: sa.Connection, what: str) -> bool:
        """Try to take an advisory lock for the transaction."""
        found = connection.exec_driver_sql(
            "SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 0))", (f"circleci-relay {what}",)
        )
        return bool(found.scalar())

    # Upkeep

    def end_sleepers(self, connection: sa.Connection) -> int:
        """
        End sessions of other replicas that fell asleep while they sent a transaction.

        No timeout of a session looks at these before PostgreSQL 17; their locks would
        keep what they had in hand from whoever is awake.
        """
        ended = connection.exec_driver_sql(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE usename = current_user AND datname = current_database()"
            " AND application_name = current_setting('application_name')"
            " AND pid <> pg_backend_pid() AND state <> 'idle' AND wait_event = 'ClientRead'"
            " AND xact_start < clock_timestamp() - %s::interval",
            (_LONG,),
        )
        return int(ended.scalar_one())

    def tidy(self, connection: sa.Connection) -> None:
        """Nothing: autovacuum does."""

    def vacuum(self, connection: sa.Connection, pages: int) -> int:
        """Nothing is left to do: autovacuum does it."""
        del connection, pages
        return 0

    def size(self, connection: sa.Connection) -> int:
        """Bytes of our tables and their indexes."""
        total = sa.select(
            sa.func.sum(sa.func.pg_total_relation_size(sa.func.to_regclass(sa.column("name"))))
        ).select_from(
            sa.values(sa.column("name", sa.Text), name="tables").data(
                [(table.name,) for table in metadata.sorted_tables]
            )
        )
        return int(connection.execute(total).scalar() or 0)


def _marked(now: Micros, number: int) -> str:
    """A mark that is different from all others of its writer, and sorts by its time."""
    return f"{now:020d} {number}"


def postgresql_of(url: str) -> Postgresql:
    """Read *url*, as libpq does."""
    try:
        given = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        # What libpq says of it may repeat a part of the password.
        raise StoreRefused(
            "store.url is no URL that PostgreSQL's client library understands; try"
            " postgresql://user:password@host:5432/database"
        ) from None
    wanted = {name: value for name, value in _LIBPQ.items() if name not in given}
    hosts = str(given.get("host") or given.get("hostaddr") or "localhost")
    port = f":{given['port']}" if given.get("port") else ""
    title = f"postgresql://{hosts}{port}/{given.get('dbname', '')}"
    return Postgresql(make_conninfo(url, **wanted), title)


def _set_up(made: psycopg.Connection[Any], *, reader: bool) -> None:
    with made.cursor() as cursor:
        for statement in _SESSION:
            cursor.execute(statement)
        if made.info.server_version >= _ENDS_TRANSACTIONS:
            cursor.execute(f"SET transaction_timeout = '{_LONG}'")
        if reader:
            cursor.execute("SET default_transaction_read_only = on")
        else:
            # Whoever set it to more (remote_apply) is left with more.
            cursor.execute(
                "SELECT set_config('synchronous_commit', 'on', false)"
                " WHERE current_setting('synchronous_commit') = 'off'"
            )
    made.commit()


def _setting(connection: sa.Connection, name: str) -> str:
    return str(connection.exec_driver_sql("SELECT current_setting(%s)", (name,)).scalar_one())


def _raw(connection: sa.Connection) -> psycopg.Connection[Any]:
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)  # noqa: S101 - narrows a type
    return driver


# https://www.postgresql.org/docs/current/errcodes-appendix.html, by all five characters or
# their first two. What is in neither table is a server's trouble, not ours.
_BY_CODE = {
    "40001": Nature.CROSSED,  # serialization_failure
    "40P01": Nature.CROSSED,  # deadlock_detected
    "55P03": Nature.CROSSED,  # lock_not_available
    "42501": Nature.OUTAGE,  # insufficient_privilege: taken away for now
    "42P01": Nature.OUTAGE,  # undefined_table: being restored
    "42P05": Nature.OUTAGE,  # duplicate_prepared_statement: a pooler's
}
_BY_CLASS = {
    "0A": Nature.BUG,  # feature not supported
    "22": Nature.DATA,
    "23": Nature.DATA,  # integrity constraint
    "42": Nature.BUG,  # syntax error or access rule violation
    "54": Nature.DATA,  # program limit exceeded
}


def nature_of(error: Exception) -> Nature:
    """Tell an outage from an item that will never do, by the code PostgreSQL gave."""
    cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
    if isinstance(cause, psycopg.Error):
        code = cause.sqlstate or ""
        if code:
            return _BY_CODE.get(code) or _BY_CLASS.get(code[:2], Nature.OUTAGE)
        # The driver's own: it lost the server, or could not write a value down.
        lost = isinstance(cause, psycopg.OperationalError | psycopg.InterfaceError)
        return Nature.OUTAGE if lost else Nature.DATA
    return Nature.DATA if isinstance(cause, OverflowError | UnicodeError) else Nature.BUG
