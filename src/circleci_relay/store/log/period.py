"""The events of a period with their bodies, newest first, a few at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from circleci_relay.store.schema import bodies, events

if TYPE_CHECKING:
    from circleci_relay.model import Micros

Place = tuple["Micros", int]
"""When an event was received, and its key: where a list goes on."""

_NEWEST: Place = (2**62, 2**62)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """An event as it can be routed again."""

    key: int
    public_id: str
    source: str
    received_at: Micros
    facts: str  #: JSON, with `change`
    body: bytes


def events_of(
    connection: sa.Connection,
    *,
    since: Micros | None,
    until: Micros | None,
    before: Place | None,
    limit: int,
) -> list[Stored]:
    """Up to *limit* events received from *since* up to *until*, past *before*, newest first."""
    e = events.c
    at, key = before or _NEWEST
    query = (
        sa.select(e.key, e.public_id, e.source, e.received_at, e.facts, bodies.c.body)
        .join(bodies, bodies.c.event == e.key)
        # Said twice: the first is what an index is looked up by, whoever plans it.
        .where(e.received_at <= at, sa.tuple_(e.received_at, e.key) < sa.tuple_(at, key))
        .order_by(e.received_at.desc(), e.key.desc())
        .limit(limit)
    )
    if since is not None:
        query = query.where(e.received_at >= since)
    if until is not None:
        query = query.where(e.received_at < until)
    return [Stored(**row._mapping) for row in connection.execute(query)]  # noqa: SLF001


def event_of(connection: sa.Connection, public_id: str) -> Stored | None:
    """Return one event with its body."""
    e = events.c
    query = (
        sa.select(e.key, e.public_id, e.source, e.received_at, e.facts, bodies.c.body)
        .join(bodies, bodies.c.event == e.key)
        .where(e.public_id == public_id)
    )
    row = connection.execute(query).first()
    return None if row is None else Stored(**row._mapping)  # noqa: SLF001
