"""The writer's connection: opened anew once it was lost."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import sqlalchemy as sa

if TYPE_CHECKING:
    from circleci_relay.store.database import Database


class Link:
    """At most one connection at a time, which one thread at a time uses."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection: sa.Connection | None = None

    @property
    def connection(self) -> sa.Connection:
        """The connection; opened if there is none. Raises what the driver raises."""
        if self._connection is None:
            self._connection = self._database.connect()
        return self._connection

    def undo(self, *, drop: bool = False) -> bool:
        """Roll back what failed; whether the connection went with it, as told by *drop*."""
        connection = self._connection
        if connection is None:
            return False
        with suppress(sa.exc.SQLAlchemyError):
            connection.rollback()
        if not self._database.lost(connection):
            try:
                # After a failed COMMIT the line above leaves the driver's transaction open.
                connection.connection.rollback()
            except Exception:  # noqa: BLE001 - whatever it is: this connection is of no use
                self._drop(connection)
                return True
        if drop or self._database.lost(connection):
            self._drop(connection)
            return True
        return False

    def _drop(self, connection: sa.Connection) -> None:
        self._connection = None
        with suppress(Exception):
            connection.invalidate()
        with suppress(Exception):
            connection.close()

    def close(self) -> None:
        """Close the connection, if there is one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            engine = connection.engine
            with suppress(sa.exc.SQLAlchemyError):
                connection.close()
            engine.dispose()
