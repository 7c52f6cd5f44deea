"""Looking at a database from outside the relay, which may be running on it, unnoticed."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from circleci_relay.errors import StoreRefused
from circleci_relay.store.migrate import HEAD, revision
from circleci_relay.store.sqlite import Sqlite

if TYPE_CHECKING:
    from collections.abc import Iterator

    from circleci_relay.store.database import Database

_NAME = "circleci-relay store"
"""What sessions on PostgreSQL are called, to be told from a relay's."""

_LIMITS = (
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
    "statement_timeout",
    "transaction_timeout",
)
"""What ends a relay's session, or anyone's, that takes long; not every server has them all."""


@contextmanager
def viewed(database: Database) -> Iterator[sa.Connection]:
    """
    Connect to what is there, without any right to write; refuse what is none of ours.

    Each statement is a transaction of its own: a longer one would keep the relay from
    clearing up.
    """
    must_be_there(database)
    engine = database.viewer()
    try:
        with told(database, engine), engine.connect() as connection:
            connection.execution_options(isolation_level="AUTOCOMMIT")
            unhurried(connection)
            yield connection
    finally:
        engine.dispose()


def unhurried(connection: sa.Connection) -> None:
    """Let a session on PostgreSQL take all the time it needs; say what it is."""
    if connection.dialect.name != "postgresql":
        return
    with connection.begin():
        connection.exec_driver_sql(f"SET application_name = '{_NAME}'")
        connection.exec_driver_sql(
            "SELECT set_config(name, '0', false) FROM pg_settings WHERE name = ANY (%s)",
            (list(_LIMITS),),
        ).all()


def must_be_there(database: Database) -> None:
    """Refuse a SQLite file that does not exist: opening it would make it."""
    if isinstance(database, Sqlite) and not database.place.path.is_file():
        path = database.place.path
        raise StoreRefused(f"{path} is no file" if path.exists() else f"{path} does not exist")


def revision_of(database: Database, connection: sa.Connection) -> str:
    """Say which revision the schema has; refuse a database that has none of ours."""
    found = revision(connection, database.title, unfinished=True)
    if found is None:
        raise StoreRefused(f"{database.title} is empty; the relay makes its tables when it starts")
    return found


def not_older(database: Database, found: str | None) -> None:
    """Refuse a schema that lacks tables or columns this program reads."""
    if found is None or found < HEAD:
        raise StoreRefused(
            f"{database.title} has an older schema ({found}, this program's is {HEAD}); run"
            " `circleci-relay store migrate` on it first, or use the version that made it"
        )


@contextmanager
def told(database: Database, engine: sa.Engine | None = None) -> Iterator[None]:
    """Turn what the driver raises into one clear line; *engine* is the connection's."""
    driver = sa.exc.DBAPIError if engine is None else engine.dialect.loaded_dbapi.Error
    try:
        yield
    except (sa.exc.DBAPIError, driver) as error:
        cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
        if engine is not None and not isinstance(cause, driver):
            raise  # it was another database's
        raise StoreRefused(f"{database.title}: {_reason(cause)}") from error


def _reason(cause: Any) -> str:
    # All that PostgreSQL says would include the row.
    primary = getattr(getattr(cause, "diag", None), "message_primary", None)
    return " ".join(str(primary or cause).split())
