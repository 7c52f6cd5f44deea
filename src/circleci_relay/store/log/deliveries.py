"""The log of deliveries: a list of those sought, newest first, and one with all its attempts."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from circleci_relay.model import State
from circleci_relay.store.log.texts import folded, holds, like, patterns
from circleci_relay.store.log.windows import Known, Pace, Walked, walk
from circleci_relay.store.schema import DEAD, PENDING, attempts, deliveries, destinations, events

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from circleci_relay.model import Micros

FEW = 5_000
"""So many of a kind, or fewer, are found by the kind's own index and sorted."""

MOST_DELIVERIES = 1_000
MOST_DUE = 100_000
"""Deliveries at most that are counted as due."""

MOST_ATTEMPTS = 1_000
"""Of one event, and of what is asked for at once: the newest."""

d = deliveries.c


@dataclass(frozen=True, slots=True, kw_only=True)
class OneDelivery:
    """A delivery's row, with what its event is called."""

    key: int
    event: int
    destination: str
    state: str
    due_at: Micros | None
    attempts: int
    token: int | None
    created_at: Micros
    settled_at: Micros | None
    reason: str | None
    webhook_id: str | None
    replay_of: int | None
    replayed_by: int | None
    job: str | None
    last_result: str | None
    last_status: int | None
    last_error: str | None
    line: bytes | None
    leader: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OneAttempt:
    """An attempt's row."""

    delivery: int
    number: int
    started_at: Micros
    duration: Micros
    result: str
    status: int | None
    error: str | None
    excerpt: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Titled:
    """What an event is called and what it was about."""

    key: int
    public_id: str
    source: str
    received_at: Micros
    facts: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryPage:
    """Deliveries, and their events by key: one that has gone meanwhile is in neither."""

    deliveries: list[OneDelivery]
    events: Mapping[int, Titled]
    paused: frozenset[str]  #: destinations an operator paused
    next: int | None
    searched_to: Micros | None  #: when the last one looked at was made, where the time was up


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeDelivery:
    """A delivery, its event, and its attempts, the first one first."""

    delivery: OneDelivery
    event: Titled
    attempts: Sequence[OneAttempt]
    paused: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class DeliveriesSought:
    """Deliveries with all of this; what is None is not asked for."""

    destination: str | None = None
    state: str | None = None
    reason: str | None = None
    result: str | None = None
    status: int | None = None
    error: str | None = None  #: somewhere in the last error, whatever its case
    replayed: bool | None = None
    job: str | None = None
    since: Micros | None = None
    until: Micros | None = None

    def conditions(self, dialect: str) -> list[sa.ColumnElement[bool]]:
        """Return what the rows are asked for; it lets all through that `wanted` does."""
        equal = {
            d.destination: self.destination,
            d.reason: self.reason,
            d.last_result: self.result,
            d.last_status: self.status,
            d.job.concat(""): self.job,  # its index has another order
        }
        found: list[sa.ColumnElement[bool]] = [
            column == value for column, value in equal.items() if value is not None
        ]
        if self.state is not None:
            found.append(d.state == self.state)  # not written out: it is not for an index
        if self.replayed is not None:
            found.append(d.replayed_by.is_not(None) if self.replayed else d.replayed_by.is_(None))
        if self.error is not None:
            found.append(like(dialect, d.last_error, patterns(self.error), any_case=True))
        if self.since is not None:
            found.append(d.created_at >= self.since)
        if self.until is not None:
            found.append(d.created_at < self.until)
        return found

    @property
    def kind(self) -> list[sa.ColumnElement[bool]] | None:
        """Return what an index of its own holds, if any: where there are few, it is quicker."""
        if self.job is not None:
            return [d.job == self.job, d.job.is_not(None)]
        at = [] if self.destination is None else [d.destination == self.destination]
        if self.state == State.PENDING:
            return [d.state == PENDING, *at]
        if self.state == State.DEAD and self.replayed is False:
            return [d.state == DEAD, d.replayed_by.is_(None), *at]
        return None

    def wanted(self, delivery: OneDelivery) -> bool:
        """Whether the last error is one that is sought."""
        return self._error is None or holds(self._error, [delivery.last_error or ""])

    @cached_property
    def _error(self) -> str | None:
        return None if self.error is None else folded(self.error)


_COLUMNS = tuple(d[name] for name in OneDelivery.__slots__)
_ATTEMPT = tuple(attempts.c[name] for name in OneAttempt.__slots__)
_TITLED = tuple(events.c[name] for name in Titled.__slots__)


class _Newest:
    """Deliveries sought, by their keys downwards."""

    def __init__(self, connection: sa.Connection, sought: DeliveriesSought) -> None:
        self._connection = connection
        self._conditions = sought.conditions(connection.dialect.name)

    def far(self, before: int | None, size: int) -> int | None:
        query = sa.select(d.key).where(*_span(before, None)).order_by(d.key.desc())
        found: int | None = self._connection.execute(query.limit(1).offset(size - 1)).scalar()
        return found

    def rows(self, before: int | None, far: int | None, limit: int) -> Sequence[OneDelivery]:
        query = sa.select(*_COLUMNS).where(*_span(before, far), *self._conditions)
        return _deliveries(self._connection.execute(query.order_by(d.key.desc()).limit(limit)))


def _span(before: int | None, far: int | None) -> Iterator[sa.ColumnElement[bool]]:
    if before is not None:
        yield d.key < before
    if far is not None:
        yield d.key >= far


def _deliveries(found: sa.CursorResult[Any]) -> list[OneDelivery]:
    return [OneDelivery(**row._mapping) for row in found]  # noqa: SLF001 - its public name


def list_deliveries(
    connection: sa.Connection,
    sought: DeliveriesSought,
    *,
    before: int | None = None,
    limit: int,
    pace: Pace,
) -> DeliveryPage:
    """Up to *limit* deliveries that are *sought*, newest first, with keys below *before*."""
    walked: Walked[OneDelivery, int] = walk(
        _few(connection, sought) or _Newest(connection, sought),
        place=lambda delivery: delivery.key,
        keep=sought.wanted,
        before=before,
        limit=limit,
        pace=pace,
    )
    titles = titles_of(connection, {each.event for each in walked.rows})
    return DeliveryPage(
        deliveries=[each for each in walked.rows if each.event in titles],
        events=titles,
        paused=paused(connection),
        next=walked.next,
        searched_to=_made(connection, walked.next) if walked.cut else None,
    )


def _few(connection: sa.Connection, sought: DeliveriesSought) -> Known[OneDelivery, int] | None:
    """Return the kind that is sought as a table of its own, if there are few of it."""
    kind = sought.kind
    if kind is None:
        return None
    keys = connection.execute(sa.select(d.key).where(*kind).limit(FEW + 1)).scalars().all()
    conditions = sought.conditions(connection.dialect.name)

    def fetch(keys: Sequence[int]) -> list[OneDelivery]:
        query = sa.select(*_COLUMNS).where(d.key.in_(keys), *conditions)
        return _deliveries(connection.execute(query.order_by(d.key.desc())))

    return None if len(keys) > FEW else Known(keys, fetch)


def _made(connection: sa.Connection, key: int | None) -> Micros | None:
    found: Micros | None = connection.execute(
        sa.select(d.created_at).where(d.key == key)
    ).scalar_one_or_none()
    return found


def titles_of(connection: sa.Connection, keys: Iterable[int]) -> Mapping[int, Titled]:
    """Return what the events of *keys* are called; those that have gone are left out."""
    wanted = sorted(keys)
    if not wanted:
        return {}
    rows = connection.execute(sa.select(*_TITLED).where(events.c.key.in_(wanted)))
    return {row.key: Titled(**row._mapping) for row in rows}  # noqa: SLF001


def paused(connection: sa.Connection) -> frozenset[str]:
    """Return the destinations that an operator paused."""
    c = destinations.c
    return frozenset(
        connection.execute(sa.select(c.name).where(c.paused_at.is_not(None))).scalars()
    )


def due_at(connection: sa.Connection, destination: str, *, now: Micros) -> int:
    """Return how many deliveries are due at *destination*, and wait; `MOST_DUE` at most."""
    waiting = sa.select(d.due_at).where(
        d.state == PENDING, d.destination == destination, d.due_at <= now
    )
    count = sa.select(sa.func.count()).select_from(waiting.limit(MOST_DUE).subquery())
    return int(connection.execute(count).scalar_one())


def deliveries_of(connection: sa.Connection, *, event: int) -> list[OneDelivery]:
    """Return the deliveries of an event, the oldest first; of very many the newest."""
    query = sa.select(*_COLUMNS).where(d.event == event).order_by(d.key.desc())
    return _deliveries(connection.execute(query.limit(MOST_DELIVERIES)))[::-1]


def attempts_of(
    connection: sa.Connection, keys: Sequence[int]
) -> Mapping[int, Sequence[OneAttempt]]:
    """Return the attempts of deliveries by their keys, the first one first; a bounded number."""
    found: defaultdict[int, list[OneAttempt]] = defaultdict(list)
    if not keys:
        return found
    a = attempts.c
    query = sa.select(*_ATTEMPT).where(a.delivery.in_(keys))
    query = query.order_by(a.delivery.desc(), a.number.desc()).limit(MOST_ATTEMPTS)
    for row in connection.execute(query):
        found[row.delivery].append(OneAttempt(**row._mapping))  # noqa: SLF001
    return {key: each[::-1] for key, each in found.items()}


def whole_delivery(connection: sa.Connection, key: int) -> WholeDelivery | None:
    """Return a delivery with its event and its attempts; None if there is none."""
    found = _deliveries(connection.execute(sa.select(*_COLUMNS).where(d.key == key)))
    titles = titles_of(connection, [each.event for each in found])
    if not titles:
        return None  # its event may have gone meanwhile, and it with it
    return WholeDelivery(
        delivery=found[0],
        event=titles[found[0].event],
        attempts=attempts_of(connection, [key]).get(key, ()),
        paused=paused(connection),
    )
