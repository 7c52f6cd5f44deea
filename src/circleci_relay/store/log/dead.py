"""Dead letters, grouped by what they died of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from circleci_relay.store.schema import DEAD, deliveries

if TYPE_CHECKING:
    from circleci_relay.model import Micros

MOST = 20_000
"""Dead deliveries that one look goes through, of each destination those that died last."""

LONGEST_ERROR = 200

d = deliveries.c
_DEAD = (d.state == DEAD, d.replayed_by.is_(None))


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Deliveries that died alike."""

    destination: str
    reason: str | None
    last_result: str | None
    last_status: int | None
    last_error: str | None  #: cut to `LONGEST_ERROR`
    count: int
    oldest: Micros
    newest: Micros


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadGroups:
    """Groups, the largest first."""

    groups: list[Group]
    total: int
    partial: bool  #: there are more than were looked at


def dead_groups(
    connection: sa.Connection,
    *,
    destination: str | None = None,
    since: Micros | None = None,
    until: Micros | None = None,
) -> DeadGroups:
    """Group what is dead and not replayed, of what died from *since* up to *until*."""
    names = [destination] if destination is not None else _names(connection)
    most = MOST // max(len(names), 1)
    groups: list[Group] = []
    partial = False
    for name in names:
        found = _groups(connection, name, since=since, until=until, most=most + 1)
        # One more than is told of, to know whether there is more; it is of no use otherwise.
        partial |= sum(group.count for group in found) > most
        groups += found
    groups.sort(key=lambda group: (-group.count, group.destination, -group.newest))
    return DeadGroups(groups=groups, total=sum(group.count for group in groups), partial=partial)


def _names(connection: sa.Connection) -> list[str]:
    """Return the destinations at which something is dead: one look at the index for each."""
    least = sa.select(sa.func.min(d.destination).label("name")).where(*_DEAD)
    first = least.cte("names", recursive=True)
    following = least.where(d.destination > first.c.name).scalar_subquery()
    names = first.union_all(sa.select(following).where(first.c.name.is_not(None)))
    query = sa.select(names.c.name).where(names.c.name.is_not(None))
    return list(connection.execute(query).scalars())


def _groups(
    connection: sa.Connection,
    destination: str,
    *,
    since: Micros | None,
    until: Micros | None,
    most: int,
) -> list[Group]:
    """Group the *most* that died last at *destination*."""
    error = sa.func.substr(d.last_error, 1, LONGEST_ERROR).label("error")
    newest = sa.select(d.reason, d.last_result, d.last_status, error, d.settled_at)
    newest = newest.where(*_DEAD, d.destination == destination)
    if since is not None:
        newest = newest.where(d.settled_at >= since)
    if until is not None:
        newest = newest.where(d.settled_at < until)
    looked = newest.order_by(d.settled_at.desc()).limit(most).subquery("looked").c
    cause = (looked.reason, looked.last_result, looked.last_status, looked.error)
    rows = connection.execute(
        sa.select(
            *cause,
            sa.func.count(),
            sa.func.min(looked.settled_at),
            sa.func.max(looked.settled_at),
        ).group_by(*cause)
    )
    return [
        Group(
            destination=destination,
            reason=reason,
            last_result=result,
            last_status=status,
            last_error=message,
            count=count,
            oldest=first,
            newest=last,
        )
        for reason, result, status, message, count, first, last in rows
    ]
