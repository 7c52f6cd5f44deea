"""Taking events in, inside the transaction: once per id, compared with their line, routed."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from circleci_relay.circleci.payload import compare
from circleci_relay.model import Accepted, Choice, Claim, History
from circleci_relay.store.encode import (
    digest,
    facts_text,
    headers_text,
    history_text,
    names_text,
)
from circleci_relay.store.unit import Again, Faulty
from circleci_relay.store.waiting import Entry, wait

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from circleci_relay.model import Change, Intake, Line, Micros
    from circleci_relay.store.lanes import Offer
    from circleci_relay.store.unit import Unit

Row = tuple[Any, ...]
_INT64 = 2**63
Identity = tuple[str, str]  # source, CircleCI's id


@dataclass(slots=True)
class _Known:
    """An event that is stored, or will be by this transaction."""

    public_id: str
    body_hash: bytes


@dataclass(slots=True)
class _Standing:
    """Where a line stands."""

    good: bool
    number: int | None
    since: Micros
    streak: int  #: how many events in a row stood so
    last: Intake | None = None  #: the one that moved it in this transaction


@dataclass(slots=True, kw_only=True)
class Taken:
    """What became of a batch of events."""

    accepted: list[Accepted] = field(default_factory=list)  #: in the order given
    claims: list[Claim] = field(default_factory=list)  #: inserted leased
    waiting: set[str] = field(default_factory=set)  #: destinations given unleased ones
    expected: Mapping[str, Micros] = field(default_factory=dict)  #: and when later ones are due


@dataclass(slots=True, kw_only=True)
class _Place:
    """Where an event stands on its line."""

    change: Change | None = None
    history: History | None = None
    late: bool = False  #: a later pipeline's outcome is known already


@dataclass(slots=True)
class _New:
    intake: Intake
    body_hash: bytes
    place: _Place
    choice: Choice
    key: int = 0
    facts: str = ""
    history: str | None = None


def accept(
    unit: Unit, intakes: Sequence[Intake], offer: Mapping[str, Offer], room: dict[str, int]
) -> Taken:
    """
    Store *intakes*; lines and routes see them in the order given.

    *room* holds how many more deliveries each destination of *offer* takes leased; it
    is counted down here.
    """
    taken = Taken()
    known = _find_events(unit, intakes)
    standings = _find_lines(unit, intakes)
    repeats: dict[Identity, list[int]] = {}
    fresh: dict[Identity, _New] = {}
    for intake in intakes:
        event = intake.event
        body_hash = hashlib.sha256(event.body).digest()
        identity = (event.source, event.id)
        seen = known.get(identity)
        if seen is None:
            place = _place(intake, standings)
            choice = _choose(intake, place.change)
            known[identity] = _Known(event.public_id, body_hash)
            fresh[identity] = _New(intake, body_hash, place, choice)
            unit.tally("events", event.source, "accepted")
            taken.accepted.append(
                Accepted(event=event.public_id, change=place.change, choice=choice)
            )
            continue
        conflict = seen.body_hash != body_hash
        counts = repeats.setdefault(identity, [0, 0])
        counts[0] += 1
        counts[1] += conflict
        unit.tally("events", event.source, "conflict" if conflict else "duplicate")
        taken.accepted.append(Accepted(event=seen.public_id, duplicate=True, conflict=conflict))
    if fresh:
        # In the order of their names, so that two replicas never wait for each other.
        _add(unit, [fresh[identity] for identity in sorted(fresh)])
        # Lines before what waits: that may be in another's hands, who waits for a line.
        _move_lines(unit, standings, fresh)
        _deliver(unit, list(fresh.values()), offer, room, taken)
    if repeats:
        _note_duplicates(unit, repeats)
    return taken


def _find_events(unit: Unit, intakes: Sequence[Intake]) -> dict[Identity, _Known]:
    """Those already stored. Only to spare a second run: the unique key is what decides."""
    wanted: dict[str, set[str]] = {}
    for intake in intakes:
        wanted.setdefault(intake.event.source, set()).add(intake.event.id)
    return {
        (source, name): _Known(public_id, body_hash)
        for source, ids in wanted.items()
        for public_id, name, body_hash in unit.statements.find_events.read(
            unit.connection, sorted(ids), source
        )
    }


@functools.lru_cache(maxsize=4096)
def line_key(line: Line) -> bytes:
    """What stands for *line* in its table."""
    return digest([line.source, line.project, line.workflow, line.job, line.branch])


def _find_lines(unit: Unit, intakes: Sequence[Intake]) -> dict[Line, _Standing]:
    wanted = {line_key(intake.line): intake.line for intake in intakes if intake.line is not None}
    if not wanted:
        return {}
    rows = unit.statements.find_lines.read(unit.connection, sorted(wanted))
    return {
        wanted[key]: _Standing(bool(good), number, since, streak)
        for key, good, number, since, streak in rows
    }


def _place(intake: Intake, standings: dict[Line, _Standing]) -> _Place:
    """Compare an event with its line, and move the line; a late one does neither."""
    line, good = intake.line, intake.good
    if line is None:
        return _Place()
    name = line_key(line).hex()
    before = standings.get(line)
    number = intake.event.facts.pipeline_number
    if number is not None and not -_INT64 <= number < _INT64:
        number = None  # no column holds it
    late = (
        before is not None
        and number is not None
        and before.number is not None
        and number < before.number
    )
    if good is None or late:
        return _Place(history=_history(name, before), late=late)
    at = intake.event.received_at
    if before is None:
        after = standings[line] = _Standing(good, number, at, 1, intake)
        return _Place(history=_history(name, after))
    if number is None:
        number = before.number
    turned = before.good != good
    after = standings[line] = _Standing(
        good,
        number,
        at if turned else before.since,
        1 if turned else before.streak + 1,
        intake,
    )
    return _Place(
        change=compare(before.good, good),
        history=_history(name, after, before if turned else None),
    )


def _history(line: str, now: _Standing | None, before: _Standing | None = None) -> History:
    if now is None:
        return History(line=line)
    if before is None:
        return History(line=line, good=now.good, since=now.since, streak=now.streak)
    return History(
        line=line,
        good=now.good,
        since=now.since,
        streak=now.streak,
        before_good=before.good,
        before_since=before.since,
        before_streak=before.streak,
    )


def _choose(intake: Intake, change: Change | None) -> Choice:
    try:
        return intake.choose(change)
    except Exception as error:
        # A route that stumbles over one event must not take the others' events with it.
        raise Faulty from error


def _add(unit: Unit, fresh: Sequence[_New]) -> None:
    events: list[Row] = []
    bodies: list[Row] = []
    configuration = unit.memory.digest
    for key, new in zip(unit.memory.event_keys.take(unit, len(fresh)), fresh, strict=True):
        event, choice = new.intake.event, new.choice
        new.key = key
        new.facts = facts_text(event.facts, new.place.change)
        if new.place.history is not None:
            new.history = history_text(new.place.history)
        events.append(
            (
                key,
                event.public_id,
                event.source,
                event.id,
                event.type,
                event.received_at,
                new.body_hash,
                new.facts,
                names_text(choice.routes),
                len(choice.destinations),
                configuration,
                new.history,
            )
        )
        bodies.append((key, event.body, headers_text(event.headers)))
    if unit.statements.add_events.run(unit.connection, events) != len(events):
        raise Again
    unit.statements.add_bodies.run(unit.connection, bodies)


def _deliver(
    unit: Unit,
    fresh: Sequence[_New],
    offer: Mapping[str, Offer],
    room: dict[str, int],
    taken: Taken,
) -> None:
    """A delivery for each destination chosen: leased where its lane has room."""
    memory, now = unit.memory, unit.now
    count = sum(len(new.choice.destinations) for new in fresh)
    if not count:
        return
    keys = iter(memory.delivery_keys.take(unit, count))
    rows: list[Row] = []
    waiting: list[Entry] = []
    named: set[str] = set()
    for new in fresh:
        event, quiet = new.key, new.choice.quiet
        for destination in new.choice.destinations:
            key = next(keys)
            named.add(destination)
            if destination in quiet:
                waiting.append(_entry(new, key, destination))
                continue
            aged_from = now - memory.stopped.get(destination, 0)
            if room.get(destination, 0) > 0:
                room[destination] -= 1
                until, token = now + offer[destination].lease, next(memory.tokens)
                taken.claims.append(_claim(new, key, destination, aged_from, until, token))
                rows.append((key, event, destination, until, 1, token, now, aged_from))
            else:
                taken.waiting.add(destination)
                rows.append((key, event, destination, now, 0, None, now, aged_from))
    _know(unit, named)
    if taken.claims:
        unit.reserve_lease(max(offer[claim.destination].lease for claim in taken.claims))
    unit.statements.add_deliveries.run(unit.connection, rows)
    if waiting:
        taken.expected = wait(unit, waiting)


def _entry(new: _New, key: int, destination: str) -> Entry:
    intake, history = new.intake, new.place.history
    return Entry(
        key=key,
        event=new.key,
        destination=destination,
        quiet=new.choice.quiet[destination],
        received_at=intake.event.received_at,
        line=None if intake.line is None else line_key(intake.line),
        good=intake.good,
        late=new.place.late,
        line_good=history.good if history else None,
        broken_since=history.before_since if history and history.before_good is False else None,
    )


def _claim(
    new: _New, key: int, destination: str, aged_from: Micros, until: Micros, token: int
) -> Claim:
    event = new.intake.event
    return Claim(
        delivery=key,
        token=token,
        destination=destination,
        attempt=1,
        event=event.public_id,
        source=event.source,
        webhook_id=f"{event.public_id}-{destination}",
        body=event.body,
        headers=event.headers,
        received_at=event.received_at,
        aged_from=aged_from,
        lease_until=until,
        facts=new.facts,
        history=new.history,
    )


def _know(unit: Unit, names: set[str]) -> None:
    """Whatever has deliveries has its row: start-up and upkeep go through them by name."""
    unknown = names - unit.memory.known
    if unknown:
        unit.connection.execute(
            unit.statements.add_destinations, [{"name": name} for name in sorted(unknown)]
        )
        unit.memory.known |= unknown


def _move_lines(
    unit: Unit, standings: dict[Line, _Standing], fresh: Mapping[Identity, _New]
) -> None:
    rows: list[Row] = []
    for line, standing in standings.items():
        if standing.last is None:
            continue
        event = standing.last.event
        rows.append(
            (
                line_key(line),
                line.source,
                line.project,
                line.workflow,
                line.job,
                line.branch,
                standing.good,
                standing.number,
                fresh[event.source, event.id].key,
                standing.since,
                unit.now,
                standing.streak,
            )
        )
    if rows:
        rows.sort(key=lambda row: row[0])
        unit.statements.put_lines.run(unit.connection, rows)


def _note_duplicates(unit: Unit, repeats: dict[Identity, list[int]]) -> None:
    unit.connection.execute(
        unit.statements.note_duplicates,
        [
            {"of": source, "named": name, "more": more, "differing": differing, "at": unit.now}
            for (source, name), (more, differing) in sorted(repeats.items())
        ],
    )
