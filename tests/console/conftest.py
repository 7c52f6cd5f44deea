"""The same stores as for the store's own tests, of either kind."""

from __future__ import annotations

from support.store_fixtures import (
    away,
    bench,
    empty_file,
    migrated,
    open_bench,
    postgresql_url,
    prepared,
    spare,
    sqlite_url,
    trouble,
    url,
)

__all__ = [
    "away",
    "bench",
    "empty_file",
    "migrated",
    "open_bench",
    "postgresql_url",
    "prepared",
    "spare",
    "sqlite_url",
    "trouble",
    "url",
]
