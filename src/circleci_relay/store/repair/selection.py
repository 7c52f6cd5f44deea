"""What a bulk job concerns: a filter, and a walk through what it selects, window by window."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from circleci_relay.model import Micros, State
from circleci_relay.store.encode import parse
from circleci_relay.store.schema import DEAD, deliveries, destinations, events

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Position = Mapping[str, Any]
    Walk = Callable[[sa.Connection, Position | None, int], "Window"]

WINDOW = 4_000
GRAVES = 1_000
"""Rows, and dead ones, that one window passes by: some milliseconds' worth."""

d, e = deliveries.c, events.c
_ENDED = {"superseded": State.CANCELLED, "cancelled": State.CANCELLED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """
    Which deliveries; what is None does not matter. `since` and `until` are when they were made.

    Where neither `state` nor `reason` nor `deliveries` says otherwise, those that are dead; what
    was delivered is taken only where `state` asks for it. One that is dead and was replayed is
    never taken.
    """

    deliveries: tuple[int, ...] | None = None
    destination: str | None = None
    state: str | None = None
    reason: str | None = None
    result: str | None = None
    status: int | None = None
    error: str | None = None  #: somewhere in the last one, whatever its case
    last_error: str | None = None  #: exactly the last one; "" where there was none
    source: str | None = None
    type: str | None = None
    project: str | None = None  #: slug, name or id
    branch: str | None = None
    since: Micros | None = None
    until: Micros | None = None

    @property
    def empty(self) -> bool:
        """Whether it says nothing at all."""
        return all(value is None for value in dataclasses.astuple(self))

    @property
    def wanted(self) -> str | None:
        """The state that is selected; None: any."""
        if self.state is not None or self.deliveries is not None:
            return self.state
        return str(_ENDED.get(self.reason or "", State.DEAD))

    @property
    def picks(self) -> bool:
        """Whether it looks at deliveries, not only at events and the time."""
        events_only = dataclasses.replace(
            self, source=None, type=None, project=None, branch=None, since=None, until=None
        )
        return not events_only.empty

    def as_json(self) -> dict[str, Any]:
        """What is not None, as plain values."""
        found = {key: value for key, value in dataclasses.asdict(self).items() if value is not None}
        if self.deliveries is not None:
            found["deliveries"] = list(self.deliveries)
        return found


def selection_of(stored: Mapping[str, Any]) -> Selection:
    """The selection that `as_json` wrote."""
    named = stored.get("deliveries")
    return Selection(**{**stored, "deliveries": None if named is None else tuple(named)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What was there when the job was asked for: nothing that came later is its."""

    at: Micros
    ceiling: int
    job: str | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A delivery that is selected, or, where *key* is None, an event."""

    event: int
    key: int | None = None
    destination: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Some of what is selected, and where the walk goes on; None: it is done."""

    found: list[Candidate]
    position: Position | None
    looked: int


def walk_of(selection: Selection, bounds: Bounds, *, by_event: bool = False) -> Walk:
    """
    How *selection* is gone through, by whatever index is the shortest way.

    What it returns is called with a connection, the position of the window before (None: from
    the start), and how much is wanted at most.
    """
    if by_event and selection.deliveries is None:
        return _Events(selection, bounds)
    if selection.deliveries is not None:
        return _Named(selection, bounds)
    if selection.wanted == State.DEAD:
        return _Graves(selection, bounds)
    return _Keys(selection, bounds)


class _Deliveries:
    """What walks through deliveries have in common."""

    def __init__(self, selection: Selection, bounds: Bounds) -> None:
        self.selection = selection
        self.bounds = bounds
        self._filters = [*_of_delivery(selection), *_of_event(selection), *_bounded(bounds)]

    def select(
        self, connection: sa.Connection, *where: sa.ColumnElement[bool], most: int, order: Any
    ) -> tuple[list[Candidate], Any]:
        """Those selected among the rows *where*; and the last row if there are more."""
        query = (
            sa.select(d.key, d.event, d.destination, d.settled_at, e.facts)
            .join(events, events.c.key == d.event)
            .where(*where, *self._filters)
            .order_by(*order)
            .limit(most)
        )
        rows = connection.execute(query).all()
        found = [
            Candidate(row.event, row.key, row.destination)
            for row in rows
            if _facts_match(self.selection, row.facts)
        ]
        return found, rows[-1] if len(rows) == most else None


class _Named(_Deliveries):
    """Through deliveries given by key."""

    def __call__(self, connection: sa.Connection, position: Position | None, most: int) -> Window:
        after = -1 if position is None else position["key"]
        keys = sorted(key for key in set(self.selection.deliveries or ()) if key > after)
        some = keys[:most]
        if not some:
            return Window(found=[], position=None, looked=0)
        found, _ = self.select(connection, d.key.in_(some), most=most + 1, order=(d.key,))
        more = {"key": some[-1]} if len(keys) > len(some) else None
        return Window(found=found, position=more, looked=len(some))


class _Keys(_Deliveries):
    """Through all deliveries by their keys, up to the ceiling."""

    def __call__(self, connection: sa.Connection, position: Position | None, most: int) -> Window:
        ceiling = self.bounds.ceiling
        if position is None:
            first = connection.execute(sa.select(sa.func.min(d.key))).scalar()
            after = floor = ceiling if first is None else first - 1
        else:
            after, floor = position["key"], position["floor"]
        within = sa.and_(d.key > after, d.key < ceiling)
        last = connection.execute(
            sa.select(d.key).where(within).order_by(d.key).limit(1).offset(WINDOW - 1)
        ).scalar()
        upto = ceiling - 1 if last is None else last
        found, cut = self.select(
            connection, d.key > after, d.key <= upto, most=most, order=(d.key,)
        )
        if cut is not None:
            upto = cut.key
        looked = connection.execute(
            sa.select(sa.func.count()).where(d.key > after, d.key <= upto)
        ).scalar_one()
        done = cut is None and last is None
        share = 1.0 if ceiling <= floor + 1 else (upto - floor) / (ceiling - 1 - floor)
        more = None if done else {"key": upto, "floor": floor, "share": round(share, 4)}
        return Window(found=found, position=more, looked=looked)


class _Graves(_Deliveries):
    """Through what is dead and was not replayed, destination by destination."""

    def __call__(self, connection: sa.Connection, position: Position | None, most: int) -> Window:
        name = self._name(connection, position)
        if name is None:
            return Window(found=[], position=None, looked=0)
        begun = position if position is not None and position["name"] == name else {}
        at, key = begun.get("at", -(2**62)), begun.get("key", 0)
        there: tuple[sa.ColumnElement[bool], ...] = (
            d.destination == name,
            d.state == DEAD,
            d.replayed_by.is_(None),
            d.settled_at <= self.bounds.at,
            # Said twice: the first is what an index is looked up by.
            d.settled_at >= at,
            sa.tuple_(d.settled_at, d.key) > sa.tuple_(at, key),
        )
        order = (d.settled_at, d.key)
        last = connection.execute(
            sa.select(d.settled_at, d.key).where(*there).order_by(*order).limit(1).offset(GRAVES)
        ).first()
        if last is not None:
            within = sa.tuple_(d.settled_at, d.key) <= sa.tuple_(last.settled_at, last.key)
            there = (*there, d.settled_at <= last.settled_at, within)
        found, cut = self.select(connection, *there, most=most, order=order)
        looked = len(found) if last is None else GRAVES
        end = cut if cut is not None else last
        if end is None:
            return Window(found=found, position={"name": name, "done": True}, looked=looked)
        more = {"name": name, "at": end.settled_at, "key": end.key}
        return Window(found=found, position=more, looked=looked)

    def _name(self, connection: sa.Connection, position: Position | None) -> str | None:
        """Where the walk is: on in the same place, or at the next destination."""
        if position is not None and not position.get("done"):
            return str(position["name"])
        if self.selection.destination is not None:
            return self.selection.destination if position is None else None
        known = destinations.c.name
        query = sa.select(sa.func.min(known))
        if position is not None:
            query = query.where(known > position["name"])
        name: str | None = connection.execute(query).scalar()
        return name


class _Events:
    """Through events in the order they came, the first first."""

    def __init__(self, selection: Selection, bounds: Bounds) -> None:
        self.selection = selection
        self._until = min(selection.until or 2**62, bounds.at + 1)
        self._filters = _of_event(selection)
        if selection.picks:
            self._filters.append(
                sa.exists().where(d.event == e.key, *_of_delivery(selection, events=True))
            )

    def __call__(self, connection: sa.Connection, position: Position | None, most: int) -> Window:
        if position is None:
            at, key = self._start(connection), -1
            floor = at
        else:
            at, key, floor = position["at"], position["key"], position["floor"]
        there: tuple[sa.ColumnElement[bool], ...] = (
            e.received_at >= at,
            e.received_at < self._until,
            sa.tuple_(e.received_at, e.key) > sa.tuple_(at, key),
        )
        order = (e.received_at, e.key)
        last = connection.execute(
            sa.select(e.received_at, e.key).where(*there).order_by(*order).limit(1).offset(WINDOW)
        ).first()
        if last is not None:
            within = sa.tuple_(e.received_at, e.key) <= sa.tuple_(last.received_at, last.key)
            there = (*there, e.received_at <= last.received_at, within)
        query = sa.select(e.key, e.received_at, e.facts).where(*there, *self._filters)
        rows = connection.execute(query.order_by(*order).limit(most)).all()
        found = [Candidate(row.key) for row in rows if _facts_match(self.selection, row.facts)]
        cut = rows[-1] if len(rows) == most else None
        end = cut if cut is not None else last
        looked = len(rows) if cut is not None or last is None else WINDOW
        if end is None:
            return Window(found=found, position=None, looked=looked)
        share = (end.received_at - floor) / max(1, self._until - floor)
        more = {
            "at": end.received_at,
            "key": end.key,
            "floor": floor,
            "share": round(min(1.0, share), 4),
        }
        return Window(found=found, position=more, looked=looked)

    def _start(self, connection: sa.Connection) -> Micros:
        first = connection.execute(
            sa.select(sa.func.min(e.received_at)).where(
                e.received_at >= (self.selection.since or 0)
            )
        ).scalar()
        return int(self._until if first is None else first)


def _of_delivery(selection: Selection, *, events: bool = False) -> list[sa.ColumnElement[bool]]:
    """What *selection* says of deliveries; through *events* it is these that have a time."""
    state = selection.state if events else selection.wanted
    exact = (
        (d.destination, selection.destination),
        (d.reason, selection.reason),
        (d.last_result, selection.result),
        (d.last_status, selection.status),
    )
    found: list[sa.ColumnElement[bool]] = [
        column == value for column, value in exact if value is not None
    ]
    if state is not None:
        # Not written out: an index of what is pending would be read whole at every window.
        found.append(d.state == state)
    if selection.deliveries is None:  # else it is known which, and told that they are skipped
        found.append(sa.or_(d.state != DEAD, d.replayed_by.is_(None)))
    if selection.error is not None:
        found.append(d.last_error.icontains(selection.error, autoescape=True))
    if selection.last_error is not None:
        found.append(sa.func.coalesce(d.last_error, "") == selection.last_error)
    if not events:
        if selection.since is not None:
            found.append(d.created_at >= selection.since)
        if selection.until is not None:
            found.append(d.created_at < selection.until)
    return found


def _of_event(selection: Selection) -> list[sa.ColumnElement[bool]]:
    exact = ((e.source, selection.source), (e.type, selection.type))
    found = [column == value for column, value in exact if value is not None]
    # Only so that fewer are looked at; where a text is written otherwise in JSON, all are.
    plain = [
        fact
        for fact in (selection.project, selection.branch)
        if fact is not None and fact.isascii() and fact.isprintable() and not {*'"\\'} & {*fact}
    ]
    return found + [e.facts.contains(f'"{fact}"', autoescape=True) for fact in plain]


def _bounded(bounds: Bounds) -> list[sa.ColumnElement[bool]]:
    """
    Not what was made since, by whomever: keys are handed out in blocks, so some are lower.

    One that waits is made as of when it is owed, which lies ahead: its event is no later.
    """
    found: list[sa.ColumnElement[bool]] = [
        e.received_at <= bounds.at,
        sa.or_(d.created_at <= bounds.at, d.replay_of.is_(None)),
    ]
    if bounds.job is not None:
        found.append(sa.or_(d.job.is_(None), d.job != bounds.job))
    return found


def _facts_match(selection: Selection, stored: str) -> bool:
    if selection.project is None and selection.branch is None:
        return True
    facts = parse(stored)
    if selection.branch is not None and facts.get("branch") != selection.branch:
        return False
    names = (facts.get("project"), facts.get("project_name"), facts.get("project_id"))
    return selection.project is None or selection.project in names
