"""Having a database to oneself: nobody writes to it, and nobody else copies."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from circleci_relay.errors import StoreRefused
from circleci_relay.store.migrate import revision
from circleci_relay.store.schema import metadata
from circleci_relay.store.viewing import NAME, must_be_there, told, viewed

if TYPE_CHECKING:
    from collections.abc import Iterator

    import sqlalchemy as sa

    from circleci_relay.store.database import Database

_PATIENCE = 1.0  #: seconds: PostgreSQL takes a moment to see that a client is gone
_LOOK_AGAIN = 0.05

_SESSION = (
    f"SET application_name = '{NAME}'",
    "SET idle_in_transaction_session_timeout = 0",
    "SET statement_timeout = 0",
    "SET lock_timeout = '10s'",
)

_RELAYS = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'circleci-relay'
"""


@contextmanager
def to_read(database: Database) -> Iterator[sa.Connection]:
    """
    Connect to a database that is whole, and in which nothing changes meanwhile.

    Of SQLite the file's lock is held. On PostgreSQL no relay may be connected; one that
    comes all the same cannot write, and answers 503, until this ends.
    """
    must_be_there(database)
    with locked(database), viewed(database) as connection:
        if revision(connection, database.title) is None:
            raise StoreRefused(f"{database.title} is empty")
        if not database.shared:
            yield connection
            return
        _alone(database, connection)
        connection.commit()
        # In a transaction from here on: it holds the locks.
        connection.execution_options(isolation_level="READ COMMITTED")
        with connection.begin():
            names = ", ".join(table.name for table in metadata.sorted_tables)
            connection.exec_driver_sql(f"LOCK TABLE {names} IN SHARE MODE")
            yield connection


@contextmanager
def to_write(database: Database) -> Iterator[sa.Connection]:
    """Connect to a database that no relay uses, made if need be."""
    database.prepare()
    with locked(database), connected(database) as connection:
        if database.shared:
            with connection.begin():
                _alone(database, connection)
        yield connection


@contextmanager
def connected(database: Database) -> Iterator[sa.Connection]:
    """Connect to write."""
    with told(database):
        connection = database.connect()
    engine = connection.engine
    try:
        with told(database, engine):
            yield connection
    finally:
        connection.close()
        engine.dispose()


@contextmanager
def locked(database: Database) -> Iterator[None]:
    """Be the one process that uses a SQLite file; refuse one that is in use."""
    if not database.acquire():
        raise StoreRefused(
            f"{database.title} is in use by another process; stop the relay that runs on it"
        )
    try:
        yield
    finally:
        database.release()


def _alone(database: Database, connection: sa.Connection) -> None:
    for statement in _SESSION:
        connection.exec_driver_sql(statement)
    free = connection.exec_driver_sql(
        "SELECT pg_try_advisory_lock(hashtextextended('circleci-relay copy', 0))"
    ).scalar()
    if not free:
        raise StoreRefused(f"{database.title} is being copied by another process")
    no_relays(database, connection)


def no_relays(database: Database, connection: sa.Connection) -> None:
    """Refuse a PostgreSQL database that a relay is connected to."""
    until = time.monotonic() + _PATIENCE
    while relays := int(connection.exec_driver_sql(_RELAYS).scalar_one()):
        if time.monotonic() > until:
            raise StoreRefused(
                f"{database.title} is in use: {relays} of its sessions are a relay's; stop every"
                " replica"
            )
        time.sleep(_LOOK_AGAIN)
