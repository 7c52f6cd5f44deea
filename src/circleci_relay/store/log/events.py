"""The log of events: a list of those sought, newest first, and one event whole."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from circleci_relay.store.encode import headers_of, parse
from circleci_relay.store.log.deliveries import OneDelivery, attempts_of, deliveries_of, paused
from circleci_relay.store.log.windows import Known, Pace, Walked, walk
from circleci_relay.store.schema import bodies, configs, deliveries, events

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from circleci_relay.model import Micros
    from circleci_relay.store.log.deliveries import OneAttempt
    from circleci_relay.store.log.sought import Sought

Place = tuple["Micros", int]
"""When an event was received, and its key: where a list goes on."""

FEW = 4_000
"""So many deliveries of a kind, or fewer, are found by the kind's own index, and their events."""

MOST_BRIEFS = 2_000
"""Deliveries of a page's events that are told of; the first ones."""

e = events.c
_ORDER = (e.received_at.desc(), e.key.desc())
_PLACE = sa.tuple_(e.received_at, e.key)


@dataclass(frozen=True, slots=True, kw_only=True)
class OneEvent:
    """An event's row."""

    key: int
    public_id: str
    source: str
    id: str
    received_at: Micros
    facts: str  #: JSON, with `change`
    routes: tuple[str, ...]
    duplicates: int
    conflicts: int
    first_duplicate_at: Micros | None
    last_duplicate_at: Micros | None
    config_digest: str | None
    history: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Brief:
    """A delivery in an event's line."""

    key: int
    event: int
    destination: str
    state: str
    replay_of: int | None
    replayed_by: int | None
    job: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EventPage:
    """Events, and each one's deliveries by its key."""

    events: list[OneEvent]
    deliveries: Mapping[int, Sequence[Brief]]
    next: Place | None
    cut: bool  #: the look took long enough: *next* is how far it came


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeEvent:
    """Everything stored of one event."""

    event: OneEvent
    headers: tuple[tuple[str, str], ...]
    body: bytes
    config: Any  #: the masked configuration of its time, None where that is not kept
    deliveries: list[OneDelivery]  #: the oldest first
    attempts: Mapping[int, Sequence[OneAttempt]]
    paused: frozenset[str]


_COLUMNS = tuple(e[name] for name in OneEvent.__slots__)


def _event(row: Any) -> OneEvent:
    values = dict(zip(OneEvent.__slots__, row, strict=False))  # a body may follow
    return OneEvent(**{**values, "routes": tuple(parse(values["routes"]))})


class _Newest:
    """Events sought, in the order of the list."""

    def __init__(self, connection: sa.Connection, sought: Sought) -> None:
        self._connection = connection
        self._base = sought.base()
        self._conditions = sought.conditions(connection.dialect.name)

    def far(self, before: Place | None, size: int) -> Place | None:
        query = sa.select(e.received_at, e.key).where(*self._base, *_span(before, None))
        found = self._connection.execute(query.order_by(*_ORDER).limit(1).offset(size - 1)).first()
        return None if found is None else (found[0], found[1])

    def rows(self, before: Place | None, far: Place | None, limit: int) -> Sequence[Any]:
        query = sa.select(*_COLUMNS).where(*self._base, *_span(before, far), *self._conditions)
        return self._connection.execute(query.order_by(*_ORDER).limit(limit)).all()


def _span(before: Place | None, far: Place | None) -> list[sa.ColumnElement[bool]]:
    # Said twice: the first is what any index is looked up by, whoever plans it.
    found = []
    if before is not None:
        found += [e.received_at <= before[0], _PLACE.__lt__(sa.tuple_(*before))]
    if far is not None:
        found += [e.received_at >= far[0], _PLACE.__ge__(sa.tuple_(*far))]
    return found


def _place(row: Any) -> Place:
    return row.received_at, row.key


def _few(connection: sa.Connection, sought: Sought) -> Known[Any, Place] | None:
    """Return the events with deliveries of the kind that is sought, if these are few."""
    kind = sought.kind
    if kind is None:
        return None
    query = sa.select(e.received_at, e.key).join(deliveries, deliveries.c.event == e.key)
    rows = connection.execute(query.where(*kind).limit(FEW + 1)).all()
    if len(rows) > FEW:
        return None
    places = {(row.received_at, row.key) for row in rows}
    own = (*sought.base(), *sought.conditions(connection.dialect.name))

    def fetch(places: Sequence[Place]) -> Sequence[Any]:
        query = sa.select(*_COLUMNS).where(e.key.in_([key for _, key in places]), *own)
        return connection.execute(query.order_by(*_ORDER)).all()

    return Known(places, fetch)


def list_events(
    connection: sa.Connection,
    sought: Sought,
    *,
    before: Place | None = None,
    limit: int,
    pace: Pace,
) -> EventPage:
    """Up to *limit* events that are *sought*, newest first, past *before*."""
    if sought.id is None:
        walked = walk(
            _few(connection, sought) or _Newest(connection, sought),
            place=_place,
            keep=lambda row: sought.wanted(row.facts, row.public_id, row.id),
            before=before,
            limit=limit,
            pace=pace,
        )
    else:
        walked = _named(connection, sought, before=before, limit=limit)
    return EventPage(
        events=[_event(row) for row in walked.rows],
        deliveries=_briefs(connection, [event.key for event in walked.rows]),
        next=walked.next,
        cut=walked.cut,
    )


def _named(
    connection: sa.Connection, sought: Sought, *, before: Place | None, limit: int
) -> Walked[Any, Place]:
    """Those of an id: one, or one of each source."""
    keys = keys_of(connection, sought.id or "")
    if not keys:
        return Walked(rows=[], next=None)
    query = sa.select(*_COLUMNS).where(
        e.key.in_(keys),
        *sought.base(),
        *sought.conditions(connection.dialect.name),
        *_span(before, None),
    )
    found = connection.execute(query.order_by(*_ORDER))
    rows = [row for row in found if sought.wanted(row.facts, row.public_id, row.id)]
    more = len(rows) > limit
    return Walked(rows=rows[:limit], next=_place(rows[limit - 1]) if more else None)


def keys_of(connection: sa.Connection, name: str) -> list[int]:
    """Return the keys of the events of that id, the relay's or CircleCI's, the newest first."""
    if not storable(name):
        return []
    own = connection.execute(sa.select(e.key).where(e.public_id == name)).scalars().all()
    if own:
        return list(own)
    # No index begins with CircleCI's id; sources are few, and are found by their own index.
    first = sa.select(sa.func.min(e.source).label("source")).cte("sources", recursive=True)
    following = sa.select(sa.func.min(e.source)).where(e.source > first.c.source)
    sources = first.union_all(
        sa.select(following.scalar_subquery()).where(first.c.source.is_not(None))
    )
    query = sa.select(e.key).join(sources, e.source == sources.c.source).where(e.id == name)
    return list(connection.execute(query.order_by(e.received_at.desc(), e.key.desc())).scalars())


def storable(text: str) -> bool:
    """Whether a database takes *text* at all."""
    return "\0" not in text and not any("\ud800" <= char <= "\udfff" for char in text)


def _briefs(connection: sa.Connection, keys: list[int]) -> Mapping[int, Sequence[Brief]]:
    if not keys:
        return {}
    d = deliveries.c
    query = sa.select(*(d[name] for name in Brief.__slots__)).where(d.event.in_(keys))
    found: defaultdict[int, list[Brief]] = defaultdict(list)
    for row in connection.execute(query.order_by(d.key).limit(MOST_BRIEFS)):
        brief = Brief(**row._mapping)  # noqa: SLF001
        found[brief.event].append(brief)
    return found


def whole_event(connection: sa.Connection, name: str) -> WholeEvent | None:
    """Everything of the event of that id, the relay's or CircleCI's; None if there is none."""
    keys = keys_of(connection, name)
    if not keys:
        return None
    query = (
        sa.select(*_COLUMNS, bodies.c.body, bodies.c.headers)
        .join(bodies, bodies.c.event == e.key)
        .where(e.key == keys[0])
    )
    row = connection.execute(query).one_or_none()
    if row is None:
        return None  # it may have gone since its key was read
    *_, body, headers = row
    event = _event(row)
    found = deliveries_of(connection, event=event.key)
    return WholeEvent(
        event=event,
        headers=headers_of(headers),
        body=bytes(body),
        config=_config(connection, event.config_digest),
        deliveries=found,
        attempts=attempts_of(connection, [each.key for each in found]),
        paused=paused(connection),
    )


def body_of(connection: sa.Connection, name: str) -> tuple[str, bytes] | None:
    """Return the relay's id and the bytes of the event of that id; None if there is none."""
    keys = keys_of(connection, name)
    if not keys:
        return None
    query = sa.select(e.public_id, bodies.c.body).join(bodies, bodies.c.event == e.key)
    found = connection.execute(query.where(e.key == keys[0])).one_or_none()
    return None if found is None else (found[0], bytes(found[1]))


def _config(connection: sa.Connection, digest: str | None) -> Any:
    if digest is None:
        return None
    stored = connection.execute(sa.select(configs.c.routes).where(configs.c.digest == digest))
    text = stored.scalar_one_or_none()
    return None if text is None else parse(text)
