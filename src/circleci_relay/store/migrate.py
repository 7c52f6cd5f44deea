"""Bringing the schema up to date at start, and keeping off one that is too new."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from circleci_relay.errors import StoreRefused

if TYPE_CHECKING:
    from circleci_relay.store.sqlite import Place

HEAD = "0001"
"""The newest migration this program knows; their names sort as they follow each other."""

SCHEMA = 1
"""Raised by each migration after which programs that know only lower numbers must not write."""


def revision(engine: sa.Engine, place: Place) -> str | None:
    """
    What the database was last migrated to; None if it is empty.

    Only reads: a database this program must not use is left as it is.
    """
    with engine.connect() as connection:
        tables = set(sa.inspect(connection).get_table_names())
        if not tables:
            return None
        if not {"alembic_version", "meta", "events"} <= tables:
            raise StoreRefused(f"{place.path} holds another program's tables; name another file")
        required = connection.exec_driver_sql(
            "SELECT value FROM meta WHERE name = 'min_compatible'"
        ).scalar()
        version: str | None = connection.exec_driver_sql(
            "SELECT version_num FROM alembic_version"
        ).scalar()
    if required is None or version is None:
        raise StoreRefused(f"{place.path} is damaged: it does not say which schema it has")
    if int(required) > SCHEMA:
        raise StoreRefused(
            f"{place.path} was written by a newer version (schema {required}, this one knows"
            f" {SCHEMA}); it is left untouched: run that version or restore an older backup"
        )
    return version


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
