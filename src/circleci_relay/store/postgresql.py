"""PostgreSQL: one database for any number of replicas; its session, its clock, its errors."""

from __future__ import annotations

import os
import socket
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

from circleci_relay.errors import StoreRefused
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

    from circleci_relay.model import Micros

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

_TIMELINE = " left(pg_walfile_name(pg_current_wal_lsn()), 8)"
_LONG = "10s"
"""How long a transaction of ours may take; no more than a step of ageing out needs."""

_UNDECIDED = 3.0  #: seconds to wait for a transaction whose server process still works on it
_LOOK_AGAIN = 0.02


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

    def sever(self, connection: sa.Connection) -> None:
        """Shut the socket down, so that whoever waits on it is told."""
        with suppress(OSError, psycopg.Error):
            copy = os.dup(_raw(connection).fileno())
            with socket.socket(fileno=copy) as wire:
                wire.shutdown(socket.SHUT_RDWR)

    @contextmanager
    def patient(self, connection: sa.Connection) -> Iterator[None]:
        """Always: `lock_timeout` says for how long."""
        del connection
        yield

    # Transactions

    def mark(self, connection: sa.Connection) -> str | None:
        """Return the transaction's own number and its timeline; None if it wrote nothing."""
        number, timeline = connection.exec_driver_sql(
            "SELECT pg_current_xact_id_if_assigned()::text," + _TIMELINE
        ).one()
        return None if number is None else f"{timeline}/{number}"

    def committed(self, connection: sa.Connection, mark: str) -> bool:
        """
        Ask the server what became of a transaction.

        Source: PostgreSQL, "Transaction ID and Snapshot Information Functions": made for
        "whether their transaction committed or aborted after the application and database
        server become disconnected while a COMMIT is in progress". A standby that took over
        counts on by itself: on its timeline the number may be another's, or none's yet. So
        there the answer is no, and all is run again.
        """
        timeline, _, number = mark.partition("/")
        until = time.monotonic() + _UNDECIDED
        while True:
            with connection.begin():
                if timeline != connection.exec_driver_sql("SELECT" + _TIMELINE).scalar_one():
                    return False
                state = connection.exec_driver_sql(
                    "SELECT pg_xact_status(%s::text::xid8)", (number,)
                ).scalar()
            if state != "in progress":
                return state == "committed"
            if time.monotonic() > until:
                raise psycopg.OperationalError("the server has not decided a transaction yet")
            time.sleep(_LOOK_AGAIN)

    def instant(self, connection: sa.Connection) -> Micros | None:
        """Microseconds since the epoch by the server's clock."""
        read = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
        return int(connection.exec_driver_sql(read).scalar_one())

    def alone(self, connection: sa.Connection, what: str, *, wait: bool = False) -> bool:
        """Take an advisory lock for the transaction."""
        verb = "pg_advisory_xact_lock" if wait else "pg_try_advisory_xact_lock"
        found = connection.exec_driver_sql(
            f"SELECT {verb}(hashtextextended(%s, 0))",
            (f"circleci-relay {what}",),
        ).scalar()
        return wait or bool(found)

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


# https://www.postgresql.org/docs/current/errcodes-appendix.html, by their first two or all
# five characters; what is in neither table is ours.
_BY_CODE = {
    "40001": Nature.CROSSED,  # serialization_failure
    "40P01": Nature.CROSSED,  # deadlock_detected
    "55P03": Nature.CROSSED,  # lock_not_available
    "25006": Nature.OUTAGE,  # read_only_sql_transaction
    "25P03": Nature.OUTAGE,  # idle_in_transaction_session_timeout
    "42501": Nature.OUTAGE,  # insufficient_privilege: taken away for now
    "42P01": Nature.OUTAGE,  # undefined_table: being restored
}
_BY_CLASS = {
    "08": Nature.OUTAGE,  # connection exception
    "22": Nature.DATA,
    "23": Nature.DATA,  # integrity constraint
    "28": Nature.OUTAGE,  # authorization
    "3D": Nature.OUTAGE,  # the database is gone
    "53": Nature.OUTAGE,  # disk full, out of memory, too many connections
    "54": Nature.DATA,  # program limit exceeded
    "55": Nature.OUTAGE,
    "57": Nature.OUTAGE,  # shut down, cancelled, cannot connect now
    "58": Nature.OUTAGE,  # system error
    "F0": Nature.OUTAGE,
    "XX": Nature.OUTAGE,  # corrupted
}


def nature_of(error: Exception) -> Nature:
    """Tell an outage from an item that will never do, by the code PostgreSQL gave."""
    cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
    if isinstance(cause, psycopg.Error):
        code = cause.sqlstate or ""
        if code:
            return _BY_CODE.get(code) or _BY_CLASS.get(code[:2], Nature.BUG)
        # The driver's own: it lost the server, or could not write a value down.
        lost = isinstance(cause, psycopg.OperationalError | psycopg.InterfaceError)
        return Nature.OUTAGE if lost else Nature.DATA
    return Nature.DATA if isinstance(cause, OverflowError | UnicodeError) else Nature.BUG
