"""What was turned away at the door, looked at: nothing in it is to be trusted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from circleci_relay.store.encode import headers_of, parse
from circleci_relay.store.schema import rejects

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from circleci_relay.model import Micros

r = rejects.c

Place = tuple["Micros", str]
"""When one came last, and its id: where a list goes on."""

WINDOW = 500
"""Rows of one source that a page with a reason looks at."""

_NEWEST: Place = (2**62, "~")
# The body lies between: where it is long, what stands behind it costs a walk over its pages.
_LINE = (r.id, r.source, r.secret, r.received_at, r.last_at, r.count, r.reason, r.detail)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """One reject as it was kept."""

    id: str
    source: str
    secret: str | None
    received_at: Micros
    last_at: Micros
    count: int
    reason: str
    detail: str
    claims: Mapping[str, str]
    size: int
    kept: int | None  #: bytes of the body that were kept; None: it was not
    event: str | None

    @property
    def whole(self) -> bool:
        """Whether all of the body is there, so that it can be checked again."""
        return self.kept == self.size and self.reason != "too_large"

    @property
    def place(self) -> Place:
        """Where a list goes on behind it."""
        return (self.last_at, self.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """One reject with all that was kept of it."""

    line: Kept
    headers: tuple[tuple[str, str], ...]
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Part of a list, the newest first."""

    items: list[Kept]
    next: Place | None  #: where to go on; None: there is no more
    short: bool = False  #: enough was looked at, though the page is not full


def sources(connection: sa.Connection) -> list[str]:
    """The sources of which there is something, configured or not; a look at each."""
    found: list[str] = []
    while (name := connection.scalar(_NEXT, {"after": found[-1] if found else ""})) is not None:
        found.append(name)
    return found


_NEXT = sa.select(sa.func.min(r.source)).where(r.source > sa.bindparam("after"))


def page(
    connection: sa.Connection,
    *,
    source: str | None,
    reason: str | None,
    before: Place | None,
    limit: int,
    window: int = WINDOW,
) -> Found:
    """The newest past *before*; of one *source*, for one *reason*, if wanted."""
    size = limit + 1 if reason is None else window
    candidates: list[Any] = []
    horizon: Place = (-(2**62), "")
    for name in sources(connection) if source is None else [source]:
        rows = _newest(connection, name, before, size, reasons=reason is not None)
        candidates += rows
        if len(rows) == size:  # of this source there is more, that was not looked at
            horizon = max(horizon, (rows[-1].last_at, rows[-1].id))
    places = sorted(
        (
            (row.last_at, row.id)
            for row in candidates
            if (row.last_at, row.id) >= horizon and reason in {None, getattr(row, "reason", None)}
        ),
        reverse=True,
    )
    chosen, bounded = places[:limit], horizon[1] != ""
    items = _lines(connection, [each[1] for each in chosen])
    if len(places) > limit:
        return Found(items=items, next=chosen[-1])
    return Found(items=items, next=horizon if bounded else None, short=bounded)


def oldest(
    connection: sa.Connection, *, source: str | None, after: Place | None, limit: int
) -> list[Kept]:
    """Those that came first past *after*; of one *source*, if wanted."""
    at, past = after or (-(2**62), "")
    places = [
        tuple(row)
        for name in (sources(connection) if source is None else [source])
        for row in connection.execute(
            sa.select(r.last_at, r.id)
            .where(r.source == name, r.last_at >= at)
            .where(sa.tuple_(r.last_at, r.id) > sa.tuple_(at, past))
            .order_by(r.last_at, r.id)
            .limit(limit)
        )
    ]
    return _lines(connection, [each[1] for each in sorted(places)[:limit]])[::-1]


def _newest(
    connection: sa.Connection, source: str, before: Place | None, limit: int, *, reasons: bool
) -> Sequence[Any]:
    """Places of one *source*: out of the index alone, unless the *reasons* are wanted."""
    at, past = before or _NEWEST
    return connection.execute(
        sa.select(r.last_at, r.id, *([r.reason] if reasons else []))
        .where(r.source == source, r.last_at <= at)
        .where(sa.tuple_(r.last_at, r.id) < sa.tuple_(at, past))
        .order_by(r.last_at.desc(), r.id.desc())
        .limit(limit)
    ).all()


def _lines(connection: sa.Connection, ids: Sequence[str]) -> list[Kept]:
    if not ids:
        return []
    rows = connection.execute(_lines_query().where(r.id.in_(ids)))
    return sorted((_kept(row) for row in rows), key=lambda each: each.place, reverse=True)


def _lines_query() -> Any:
    return sa.select(*_LINE, r.claims, r.size, sa.func.length(r.body).label("kept"), r.event)


def _kept(row: Any) -> Kept:
    named = {name: row._mapping[name] for name in Kept.__slots__ if name != "claims"}  # noqa: SLF001
    return Kept(**named, claims=parse(row.claims))


def whole(connection: sa.Connection, ids: Sequence[str]) -> list[Whole]:
    """Those of *ids* that are there, with all that was kept; the newest first."""
    query = _lines_query().add_columns(r.headers, r.body).where(r.id.in_(ids))
    found = [
        Whole(line=_kept(row), headers=headers_of(row.headers), body=row.body or b"")
        for row in connection.execute(query)
    ]
    return sorted(found, key=lambda each: each.line.place, reverse=True)
