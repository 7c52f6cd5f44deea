"""Having a database to oneself: nobody writes to it, and nobody else copies."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

from circleci_relay.errors import StoreRefused
from circleci_relay.store.migrate import revision
from circleci_relay.store.schema import metadata
from circleci_relay.store.viewing import must_be_there, told, unhurried, viewed

if TYPE_CHECKING:
    from collections.abc import Iterator

    import sqlalchemy as sa

    from circleci_relay.store.database import Database

PATIENCE = 1.0  #: seconds: PostgreSQL takes a moment to see that a client is gone
_LOOK_AGAIN = 0.05

_OTHERS = """
    SELECT application_name FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND usesysid IS NOT NULL
    AND coalesce(backend_type, 'client backend') = 'client backend'
    AND pid NOT IN (SELECT pid FROM pg_stat_replication)
"""
"""All clients, whatever they are called: `store.url` may name another `application_name`.
Of another role's session PostgreSQL may not tell the type."""


@contextmanager
def to_read(database: Database) -> Iterator[sa.Connection]:
    """
    Connect to a database that is whole, and in which nothing changes meanwhile.

    Of SQLite the file's lock is held. On PostgreSQL nobody else may be connected; a relay that
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
    """Connect to a database that nobody else uses, made if need be."""
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
            unhurried(connection)
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
    connection.exec_driver_sql("SET lock_timeout = '10s'")
    free = connection.exec_driver_sql(
        "SELECT pg_try_advisory_lock(hashtextextended('circleci-relay copy', 0))"
    ).scalar()
    if not free:
        raise StoreRefused(f"{database.title} is being copied by another process")
    if used := in_use(database, connection):
        raise StoreRefused(used)


def in_use(database: Database, connection: sa.Connection) -> str | None:
    """Say who else is connected to a PostgreSQL database; None: nobody."""
    until = time.monotonic() + PATIENCE
    while others := _others(connection):
        if time.monotonic() > until:
            named = ", ".join(
                f"{count} of {name or 'no name'}" for name, count in sorted(others.items())
            )
            return (
                f"{database.title} is in use by other sessions ({named}); stop every replica, and"
                " whatever else is connected to it"
            )
        time.sleep(_LOOK_AGAIN)
    return None


def _others(connection: sa.Connection) -> Counter[str]:
    # Within a transaction the server would go on telling what it told first.
    connection.exec_driver_sql("SELECT pg_stat_clear_snapshot()").all()
    return Counter(connection.exec_driver_sql(_OTHERS).scalars())
