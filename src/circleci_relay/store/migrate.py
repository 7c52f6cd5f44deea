"""Bringing the schema up to date at start, and keeping off one that is too new."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from circleci_relay.errors import StoreRefused
from circleci_relay.store.schema import meta, metadata

if TYPE_CHECKING:
    from circleci_relay.store.database import Database

HEAD = "0003"
"""The newest migration this program knows; their names sort as they follow each other."""

SCHEMA = 2
"""Raised by each migration after which programs that know only lower numbers must not write."""


COPYING = "copying_from"
"""Stands in `meta` for as long as what is copied there is not complete."""


def revision(connection: sa.Connection, title: str, *, unfinished: bool = False) -> str | None:
    """
    What the database at *title* was last migrated to; None if it is empty.

    Only reads: a database this program must not use is left as it is. One that is being
    copied is refused too, unless the *unfinished* may be looked at.
    """
    tables = set(sa.inspect(connection).get_table_names())
    ours = tables & {"alembic_version", *metadata.tables}
    if not ours and (not tables or connection.dialect.name != "sqlite"):
        return None
    if not {"alembic_version", "meta", "events"} <= tables:
        raise StoreRefused(
            f"{title} holds another program's tables; give the relay a database of its own"
        )
    required = connection.exec_driver_sql(
        "SELECT value FROM meta WHERE name = 'min_compatible'"
    ).scalar()
    version: str | None = connection.exec_driver_sql(
        "SELECT version_num FROM alembic_version"
    ).scalar()
    if required is None or version is None:
        raise StoreRefused(f"{title} is damaged: it does not say which schema it has")
    if int(required) > SCHEMA:
        raise StoreRefused(
            f"{title} was written by a newer version (schema {required}, this one knows"
            f" {SCHEMA}); it is left untouched: run that version or restore an older backup"
        )
    if not unfinished:
        _refuse_unfinished(connection, title)
    return version


def _refuse_unfinished(connection: sa.Connection, title: str) -> None:
    origin = connection.execute(sa.select(meta.c.value).where(meta.c.name == COPYING)).scalar()
    if origin is not None:
        raise StoreRefused(
            f"{title} holds a copy of {origin} that is not complete; let `circleci-relay store"
            " copy` go on with it, or name another database"
        )


class Migrating(StoreRefused):
    """Another process is bringing the database up to date; it passes."""


def look(database: Database) -> str | None:
    """What the database was last migrated to; refused, untouched, if it must not be used."""
    engine = database.viewer(alone=True)
    try:
        with engine.connect() as connection:
            return revision(connection, database.title)
    finally:
        engine.dispose()


def bring_up_to_date(database: Database, connection: sa.Connection, found: str | None) -> None:
    """
    Make or migrate the tables if what was *found* is older than what this program knows.

    Of several processes that start together one migrates; the others are told by
    `Migrating`, and see that it is done when they look again. A newer schema that says
    it is compatible is left as it is.
    """
    if found is not None and found >= HEAD:
        return
    with connection.begin():
        _without_limits(connection)
        if not database.alone(connection, "migration"):
            raise Migrating(f"another process is migrating {database.title}")
        now = revision(connection, database.title)
        if now is None or now < HEAD:
            upgrade(connection)


def _without_limits(connection: sa.Connection) -> None:
    """A migration of a large table takes the time it takes."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(
            "SELECT set_config(name, '0', true) FROM pg_settings WHERE name IN"
            " ('lock_timeout', 'statement_timeout', 'transaction_timeout')"
        )


def upgrade(connection: sa.Connection) -> None:
    """Apply the migrations that are missing, all in one transaction."""
    # Only where there is something to do: Alembic takes a while to load.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option(
        "script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%")
    )
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
