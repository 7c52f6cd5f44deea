"""Sending again what was sent, or never was: new deliveries of events that are stored."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from circleci_relay.errors import Conflict, NotFound, Unanswerable
from circleci_relay.model import State
from circleci_relay.store.repair import audit
from circleci_relay.ulid import Ulids

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import sqlalchemy as sa

    from circleci_relay.store.statements import Statements
    from circleci_relay.store.unit import Unit

_ids = Ulids()


@dataclass(frozen=True, slots=True, kw_only=True)
class Making:
    """A replay to be made."""

    event: int
    public_id: str
    destination: str
    of: int | None = None  #: the delivery it replays, if the event had one there
    webhook_id: str | None = None  #: None: the ordinary one of the event there
    answers: tuple[int, ...] = ()  #: dead deliveries that count as dead no more


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """What was made, and where."""

    keys: tuple[int, ...]
    destinations: frozenset[str]


def lock(unit: Unit, events: Iterable[int]) -> Mapping[int, str]:
    """
    Hold *events* until the end of the transaction, and tell their public ids.

    One that is not told has aged out. Nobody else replays or cancels what is theirs meanwhile,
    and none of them ages out.
    """
    wanted = sorted(set(events))
    if not wanted:
        return {}
    found = unit.connection.execute(unit.statements.lock_events, {"keys": wanted})
    return {row.key: row.public_id for row in found}


def deliveries_of(
    connection: sa.Connection, statements: Statements, events: Iterable[int]
) -> dict[int, list[Any]]:
    """All deliveries of *events*, by event, in the order of their keys."""
    found: dict[int, list[Any]] = {}
    wanted = sorted(set(events))
    if wanted:
        for row in connection.execute(statements.siblings, {"keys": wanted}):
            found.setdefault(row.event, []).append(row)
    return found


def replay_delivery(unit: Unit, key: int, *, new_id: bool, again: bool, who: str) -> Replayed:
    """Make one delivery once more, at its destination."""
    found = unit.connection.execute(unit.statements.events_of, {"keys": [key]}).first()
    ids = lock(unit, [] if found is None else [found.event])
    siblings = [] if found is None else _siblings(unit, found.event)
    row = next((row for row in siblings if row.key == key), None)
    if row is None or row.event not in ids:
        raise NotFound("there is no such delivery, or no more")
    _check(unit, [row.destination], siblings, again=again)
    making = Making(
        event=row.event,
        public_id=ids[row.event],
        destination=row.destination,
        of=row.key,
        webhook_id=row.webhook_id,
        answers=answers(siblings, row.destination, of=row.key),
    )
    made = make(unit, [making], new_id=new_id)
    audit.note(
        unit,
        who,
        "replay",
        f"delivery {key}",
        {"destination": row.destination, "made": [str(each) for each in made.keys]},
    )
    return made


def replay_event(
    unit: Unit,
    key: int,
    *,
    to: Sequence[str] | None,
    new_id: bool,
    again: bool,
    who: str,
) -> Replayed:
    """
    Deliver an event once more: *to* these, whatever the routes say, or to all it went to.

    Of those it went to, one that is not configured any more is left out.
    """
    ids = lock(unit, [key])
    if key not in ids:
        raise NotFound("there is no such event, or no more")
    siblings = _siblings(unit, key)
    wanted = list(dict.fromkeys(to or _went_to(unit, siblings)))
    if not wanted:
        raise Conflict("it went to no destination that is configured: name some to send it to")
    _check(unit, wanted, siblings, again=again)
    makings = [
        Making(
            event=key,
            public_id=ids[key],
            destination=name,
            of=newest(siblings, name),
            answers=answers(siblings, name),
        )
        for name in wanted
    ]
    made = make(unit, makings, new_id=new_id)
    audit.note(
        unit,
        who,
        "replay",
        f"event {ids[key]}",
        {"destinations": wanted, "made": [str(each) for each in made.keys]},
    )
    return made


def make(
    unit: Unit, makings: Sequence[Making], *, new_id: bool = False, job: str | None = None
) -> Replayed:
    """Store *makings*, due at once; the events they are of are locked."""
    if not makings:
        return Replayed(keys=(), destinations=frozenset())
    now, stopped = unit.now, unit.memory.stopped
    keys = tuple(unit.memory.delivery_keys.take(unit, len(makings)))
    rows = []
    answered = []
    for key, each in zip(keys, makings, strict=True):
        webhook_id = each.webhook_id
        if new_id:
            webhook_id = f"{each.public_id}-{each.destination}-{_ids.next(now)}"
        aged_from = now - stopped.get(each.destination, 0)
        rows.append(
            (
                key,
                each.event,
                each.destination,
                now,
                0,
                now,
                aged_from,
                webhook_id,
                each.of,
                job,
            )
        )
        answered += [{"held": dead, "by": key} for dead in each.answers]
    unit.statements.add_replays.run(unit.connection, rows)
    if answered:
        answered.sort(key=lambda each: each["held"])
        unit.connection.execute(unit.statements.set_replayed, answered)
    return Replayed(keys=keys, destinations=frozenset(each.destination for each in makings))


def answers(siblings: Iterable[Any], destination: str, *, of: int | None = None) -> tuple[int, ...]:
    """The dead deliveries that a new one at *destination*, a replay *of* one, answers for."""
    return tuple(
        row.key
        for row in siblings
        if row.destination == destination
        and row.state == State.DEAD
        and (row.replayed_by is None or row.key == of)
    )


def newest(siblings: Iterable[Any], destination: str) -> int | None:
    """The latest delivery at *destination*."""
    there = [(row.created_at, row.key) for row in siblings if row.destination == destination]
    return max(there)[1] if there else None


def is_pending(siblings: Iterable[Any], destination: str) -> bool:
    """Whether one is on its way to *destination*."""
    return any(row.state == State.PENDING and row.destination == destination for row in siblings)


def _siblings(unit: Unit, event: int) -> list[Any]:
    return deliveries_of(unit.connection, unit.statements, [event]).get(event, [])


def _went_to(unit: Unit, siblings: Iterable[Any]) -> list[str]:
    return [row.destination for row in siblings if row.destination in unit.memory.stopped]


def _check(unit: Unit, names: Sequence[str], siblings: Sequence[Any], *, again: bool) -> None:
    """Refuse what cannot be delivered, or is about to be anyway."""
    known_of(unit, names)
    waiting = [name for name in names if is_pending(siblings, name)]
    if waiting and not again:
        raise Conflict(
            f"it is already waiting to be delivered to {', '.join(waiting)}:"
            " retry makes that due now; ask for it again to send it twice"
        )


def known_of(unit: Unit, names: Iterable[str], refusal: type[Unanswerable] = Conflict) -> None:
    """Refuse destinations that are not configured, with near misses."""
    known = sorted(unit.memory.stopped)
    for name in names:
        if name in unit.memory.stopped:
            continue
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
        meant = f"; did you mean {' or '.join(near)}?" if near else ""
        remedy = meant or ": put it into relay.yaml first"
        raise refusal(f"the destination {name} is not configured{remedy}")
