"""Ending deliveries that are pending, because somebody says so."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from circleci_relay.errors import Conflict, NotFound
from circleci_relay.model import State
from circleci_relay.store.repair import audit
from circleci_relay.store.repair.replay import deliveries_of, lock

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from circleci_relay.store.unit import Unit


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancelled:
    """What was ended, by destination; and where something became due on its own by it."""

    keys: tuple[int, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    freed: frozenset[str] = frozenset()


def cancel_delivery(unit: Unit, key: int, *, who: str) -> Cancelled:
    """End one delivery; an attempt under way is recorded when it ends, and changes nothing."""
    found = unit.connection.execute(unit.statements.events_of, {"keys": [key]}).first()
    if found is None or not lock(unit, [found.event]):
        raise NotFound("there is no such delivery, or no more")
    done = cancel(unit, [key], [found.event])
    if not done.keys:
        siblings = deliveries_of(unit.connection, unit.statements, [found.event])
        row = next((row for row in siblings.get(found.event, []) if row.key == key), None)
        if row is None:
            raise NotFound("there is no such delivery, or no more")
        raise Conflict(f"it is {row.state} already: only what is pending can be cancelled")
    audit.note(unit, who, "cancel", f"delivery {key}", {"destination": next(iter(done.counts))})
    return done


def cancel(
    unit: Unit, keys: Iterable[int], events: Iterable[int], *, untouched: bool = False
) -> Cancelled:
    """
    End those of *keys* that are pending; *untouched*: and that were never attempted.

    Their *events* are locked. What they replayed counts as dead again, and those that were to
    be told under one that leads them are told without it.
    """
    run, statements = unit.connection.execute, unit.statements
    wanted = sorted(set(keys))
    rows = run(statements.lock_pending, {"keys": wanted}).all() if wanted else []
    if untouched:
        rows = [row for row in rows if row.attempts == 0 and row.token is None]
    if not rows:
        return Cancelled()
    run(statements.cancel, [{"held": row.key, "now": unit.now} for row in rows])
    gone = {row.key for row in rows}
    _give_back(unit, gone, {row.event for row in rows}.intersection(events))
    freed = _succeed(unit, [row for row in rows if row.leader == row.key])
    counts = Counter(row.destination for row in rows)
    for name, count in counts.items():
        unit.tally("deliveries", name, State.CANCELLED.value, count=count)
    return Cancelled(keys=tuple(row.key for row in rows), counts=dict(counts), freed=freed)


def _give_back(unit: Unit, gone: set[int], events: Iterable[int]) -> None:
    """Let what was replayed by those *gone* count as dead, unless another replay stands."""
    changes = []
    for siblings in deliveries_of(unit.connection, unit.statements, events).values():
        changes += [
            {"held": row.key, "by": _other(row, siblings, gone)}
            for row in siblings
            if row.replayed_by in gone
        ]
    if changes:
        unit.connection.execute(unit.statements.set_replayed, changes)


def _other(dead: Any, siblings: Sequence[Any], gone: set[int]) -> int | None:
    """The newest replay that answers for *dead* and is not *gone*."""
    others = [
        (row.created_at, row.key)
        for row in siblings
        if row.destination == dead.destination
        and row.replay_of is not None
        and (row.replay_of == dead.key or row.created_at >= dead.settled_at)
        and row.state != State.CANCELLED
        and row.key not in gone
        and row.key != dead.key
    ]
    return max(others)[1] if others else None


def _succeed(unit: Unit, leaders: Sequence[Any]) -> frozenset[str]:
    """Let the first of those who followed lead the others, due when the one gone was."""
    if not leaders:
        return frozenset()
    run, statements = unit.connection.execute, unit.statements
    found = run(statements.find_successors, {"keys": [row.key for row in leaders]})
    heirs = {row.leader: row.key for row in found}
    freed = set()
    for row in leaders:
        heir = heirs.get(row.key)
        if heir is None:
            continue
        run(statements.follow, {"led": row.key, "next": heir})
        # A lease is no time to go by.
        due = unit.now if row.token is not None else row.due_at
        run(statements.lead, {"held": heir, "at": due})
        freed.add(row.destination)
    return frozenset(freed)
