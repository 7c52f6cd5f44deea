"""Bringing a database up to date without starting the relay on it."""

from __future__ import annotations

from dataclasses import dataclass

from circleci_relay.store.migrate import HEAD, bring_up_to_date, revision
from circleci_relay.store.place import database_of
from circleci_relay.store.quiet import connected, locked
from circleci_relay.store.sqlite import Sqlite
from circleci_relay.store.viewing import viewed


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """From what to what."""

    place: str
    found: str | None  #: None: there are no tables yet
    newest: str

    @property
    def due(self) -> bool:
        """Whether there is something to do; a newer schema that is compatible is left alone."""
        return self.found is None or self.found < self.newest


def migration_of(url: str) -> Migration:
    """Say what `migrate` would do; touches nothing."""
    database = database_of(url)
    found = None
    if not (isinstance(database, Sqlite) and not database.place.path.exists()):
        with viewed(database) as connection:
            found = revision(connection, database.title)
    return Migration(place=database.title, found=found, newest=HEAD)


def migrate(url: str) -> Migration:
    """
    Make the tables, or bring them up to date; what there was to do.

    On PostgreSQL replicas may be running: a migration is safe beside them, and of several
    that begin at once one does it. On SQLite the relay must have ended (`StoreRefused`).
    """
    database = database_of(url)
    database.prepare()
    with locked(database), connected(database) as connection:
        with connection.begin():
            found = revision(connection, database.title)
        database.check(connection)
        bring_up_to_date(database, connection, found)
    return Migration(place=database.title, found=found, newest=HEAD)
