"""Deliveries given by their keys, with what their events are called."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from circleci_relay.store.log.deliveries import OneDelivery, Titled, paused, titles_of
from circleci_relay.store.schema import deliveries

if TYPE_CHECKING:
    from collections.abc import Sequence

_COLUMNS = tuple(deliveries.c[name] for name in OneDelivery.__slots__)


def chosen(
    connection: sa.Connection, keys: Sequence[int]
) -> tuple[list[tuple[OneDelivery, Titled]], frozenset[str]]:
    """Those of *keys* that are there, in this order; and what an operator paused."""
    rows = {}
    if keys:
        query = sa.select(*_COLUMNS).where(deliveries.c.key.in_(sorted(set(keys))))
        for row in connection.execute(query):
            rows[row.key] = OneDelivery(**row._mapping)  # noqa: SLF001 - its public name
    titles = titles_of(connection, {row.event for row in rows.values()})
    found = [rows[key] for key in keys if key in rows]
    return [(row, titles[row.event]) for row in found if row.event in titles], paused(connection)
