"""Names of which the store holds anything, configured or not."""

from __future__ import annotations

import sqlalchemy as sa

from circleci_relay.store.log import rejects
from circleci_relay.store.schema import destinations, events


def known_destinations(connection: sa.Connection) -> set[str]:
    """Destinations that are configured, or were: nothing went to any other."""
    return set(connection.execute(sa.select(destinations.c.name)).scalars())


def known_sources(connection: sa.Connection) -> set[str]:
    """Sources of which an event or a reject is kept."""
    found: list[str] = []
    # By the index that begins with them: one look for each.
    while (name := connection.scalar(_NEXT, {"after": found[-1] if found else ""})) is not None:
        found.append(name)
    return {*found, *rejects.sources(connection)}


_NEXT = sa.select(sa.func.min(events.c.source)).where(events.c.source > sa.bindparam("after"))
