"""Which ways events went: from sources, by routes, to destinations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from circleci_relay.store.encode import parse
from circleci_relay.store.schema import configs, events

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from circleci_relay.model import Micros


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """Events of one source that went the same way."""

    source: str
    routes: Sequence[str]
    digest: str | None
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ways:
    """Which ways events went, as far back as was looked."""

    counts: Sequence[Way]
    until: tuple[Micros, int] | None  #: where the next look goes on; None: all was looked at


def ways(
    connection: sa.Connection, *, since: Micros, before: tuple[Micros, int] | None, limit: int
) -> Ways:
    """Which ways the newest *limit* events before *before*, received from *since* on, went."""
    e = events.c
    at, key = before or (2**62, 2**62)
    some = (
        sa.select(e.source, e.routes, e.config_digest, e.received_at, e.key)
        .where(
            e.received_at >= since,
            e.received_at <= at,
            sa.tuple_(e.received_at, e.key) < sa.tuple_(at, key),
        )
        .order_by(e.received_at.desc(), e.key.desc())
        .limit(limit)
        .subquery()
    )
    s = some.c
    way = (s.source, s.routes, s.config_digest)
    count = sa.func.count()
    rows = connection.execute(
        sa.select(*way, count, sa.func.min(s.received_at)).group_by(*way)
    ).all()
    looked = sum(row[3] for row in rows)
    until = None
    if looked >= limit:
        oldest = min(row[4] for row in rows)
        last = sa.select(sa.func.min(s.key)).where(s.received_at == oldest)
        until = (oldest, connection.execute(last).scalar_one())
    return Ways(
        counts=[
            Way(source=source, routes=tuple(parse(routes)), digest=digest, count=number)
            for source, routes, digest, number, _ in rows
        ],
        until=until,
    )


def route_targets(
    connection: sa.Connection, digests: Sequence[str]
) -> Mapping[str, Mapping[str, Sequence[str]]]:
    """By a configuration's digest: where each of its routes led."""
    if not digests:
        return {}
    query = sa.select(configs.c.digest, configs.c.routes).where(configs.c.digest.in_(digests))
    found: dict[str, Mapping[str, Sequence[str]]] = {}
    for digest, text in connection.execute(query):
        stored = parse(text)
        routes = stored.get("routes", {}) if isinstance(stored, dict) else {}
        found[digest] = {name: tuple(route.get("to", ())) for name, route in routes.items()}
    return found
