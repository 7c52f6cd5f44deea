"""Who did what, newest first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from circleci_relay.store.encode import parse
from circleci_relay.store.schema import audit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from circleci_relay.model import Micros

a = audit.c


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One thing somebody did."""

    id: str
    at: Micros
    who: str
    action: str
    target: str
    detail: Mapping[str, Any]


def entries_of(
    connection: sa.Connection, *, before: tuple[Micros, str] | None, limit: int
) -> list[Entry]:
    """Up to *limit* entries, older than the one of the time and id *before*."""
    query = sa.select(audit).order_by(a.at.desc(), a.id.desc()).limit(limit)
    if before is not None:
        at, entry = before
        query = query.where(a.at <= at, sa.tuple_(a.at, a.id) < sa.tuple_(at, entry))
    return [
        Entry(
            id=row.id,
            at=row.at,
            who=row.who,
            action=row.action,
            target=row.target,
            detail=parse(row.detail),
        )
        for row in connection.execute(query)
    ]
