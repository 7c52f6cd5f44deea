"""What was turned away at the door, written, kept within bounds, and marked once it is taken in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from circleci_relay.store.encode import headers_text, text
from circleci_relay.store.schema import rejects

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from circleci_relay.model import Micros
    from circleci_relay.store.unit import Unit

r = rejects.c


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted:
    """What was turned away, once or several times; all its texts are storable."""

    id: str  #: a ULID
    source: str
    secret: str | None  #: what the path's last segment named
    digest: bytes  #: of body and signature: the same when the same comes again
    received_at: Micros
    last_at: Micros
    count: int
    reason: str
    detail: str
    claims: Mapping[str, str] = field(default_factory=dict)  #: project, webhook, type, id
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None  #: its beginning; None: nothing of it is kept
    size: int  #: bytes of the whole body, as far as that is known

    def row(self) -> dict[str, Any]:
        """It, as the table has it."""
        row = {name: getattr(self, name) for name in _PLAIN}
        return row | {"claims": text(self.claims), "headers": headers_text(self.headers)}


def put(unit: Unit, noted: Sequence[Noted], most: Mapping[str, int]) -> None:
    """
    Write what was *noted*; of each source the newest stay, at *most* so many.

    What came before is counted up, and says from then on what was wrong the last time.
    """
    insert = (sqlite if unit.connection.dialect.name == "sqlite" else postgresql).insert
    statement: Any = insert(rejects)
    given = statement.excluded
    # Those of two replicas wait for each other's rows in one order.
    rows = [each.row() for each in sorted(noted, key=lambda each: (each.source, each.digest))]
    if rows:
        unit.connection.execute(
            statement.on_conflict_do_update(
                index_elements=["source", "digest"],
                set_={
                    "count": r.count + given.count,
                    "last_at": sa.case((given.last_at > r.last_at, given.last_at), else_=r.last_at),
                    "reason": given.reason,
                    "detail": given.detail,
                    "secret": given.secret,
                },
            ),
            rows,
        )
    for each in noted:
        unit.tally("events", each.source, "rejected", count=each.count)
    for source in sorted({each.source for each in noted}):
        _trim(unit, source, most.get(source, 0))


def _trim(unit: Unit, source: str, most: int) -> int:
    beyond = (
        sa.select(r.id)
        .where(r.source == source)
        .order_by(r.last_at.desc(), r.id.desc())
        .offset(most)
        .limit(_STEP)
    )
    return _drop(unit, list(unit.connection.scalars(beyond)))


def forget(unit: Unit, source: str, *, keep: Micros, most: int) -> int:
    """Let go of some of *source* that last came longer than *keep* ago, or are beyond *most*."""
    before = unit.now - keep
    old = sa.select(r.id).where(r.source == source, r.last_at < before).limit(_STEP)
    return _drop(unit, list(unit.connection.scalars(old))) + _trim(unit, source, most)


def mark(unit: Unit, events: Mapping[str, str]) -> None:
    """Say of rejects, by id, which event was made of each."""
    if events:
        unit.connection.execute(
            sa.update(rejects)
            .where(r.id == sa.bindparam("which"))
            .values(event=sa.bindparam("by")),
            [{"which": each, "by": event} for each, event in sorted(events.items())],
        )


def _drop(unit: Unit, ids: Collection[str]) -> int:
    if ids:
        unit.connection.execute(sa.delete(rejects).where(r.id.in_(ids)))
    return len(ids)


_PLAIN = (
    *("id", "source", "secret", "digest", "received_at", "last_at", "count"),
    *("reason", "detail", "body", "size"),
)

_STEP = 500
"""Rows that one step lets go of at most."""
