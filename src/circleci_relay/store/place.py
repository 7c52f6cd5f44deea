"""From `store.url` to the database it names."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from circleci_relay.errors import StoreRefused
from circleci_relay.store.sqlite import Sqlite
from circleci_relay.store.sqlite_file import Place

if TYPE_CHECKING:
    from circleci_relay.store.database import Database

_POSTGRESQL = ("postgresql://", "postgres://")


def database_of(url: str) -> Database:
    """
    Return the database that *url* names, untouched so far; refuse what names none.

    `sqlite:///relay.db`, with `?max_page_count=N` if wanted, or whatever libpq takes as
    a `postgresql://` URL. Messages never repeat the URL: it may hold a password.
    """
    if url.startswith(_POSTGRESQL):
        # Only where it is wanted: the driver is an extra.
        from circleci_relay.store.postgresql import postgresql_of  # noqa: PLC0415

        return postgresql_of(url)
    return Sqlite(place_of(url))


def place_of(url: str) -> Place:
    """Read a URL of SQLite."""
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError:
        raise StoreRefused("store.url is no URL; try sqlite:///relay.db") from None
    kind = parsed.get_backend_name()
    if kind != "sqlite":
        raise StoreRefused(
            f"store.url: {kind} is not supported; try sqlite:///relay.db or"
            " postgresql://user:password@host/database"
        )
    if not parsed.database or parsed.database == ":memory:":
        raise StoreRefused("store.url: a store in memory would lose everything; name a file")
    query = dict(parsed.query)
    pages = query.pop("max_page_count", None)
    if query:
        raise StoreRefused(f"store.url: unknown option {min(query)!r}")
    if pages is not None and not (isinstance(pages, str) and pages.isdecimal()):
        raise StoreRefused("store.url: max_page_count must be a whole number")
    # SQLite puts its log beside the file itself, whatever link it was opened by. So goes the lock.
    path = Path(os.path.realpath(parsed.database))
    return Place(path=path, max_page_count=int(pages) if pages else None)
