"""Letting the old go, inside the transaction, in steps small enough to stand between others."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from circleci_relay.model import SECOND, Micros, State
from circleci_relay.store.claim import record_lost
from circleci_relay.store.forget import forget

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from circleci_relay.store.unit import Unit

Cursor = tuple[Micros, int]
"""How far a walk through the old events has come."""

_MOST_KEYS = 10_000
"""Values in one statement: SQLite takes 32,766 by default, and fan-out may be large."""

_LINES: Micros = 90 * 24 * 3600 * SECOND
"""How long a branch's last outcome is kept at least, so that `change` can be told of the next."""

_GATHERING: Micros = 24 * 3600 * SECOND
"""Longer than anything is waited for; what is told later than that is told anew."""

START: Cursor = (-(2**62), 0)
_END: Cursor = (2**62, 0)
"""Past all events: what is left to be let go of is something else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Aged:
    """What one step did."""

    cursor: Cursor | None  #: where the next step goes on; None: the walk is done
    expired: Mapping[str, int] = field(default_factory=dict)  #: deliveries, by destination
    pruned: int = 0  #: events


def age_out(unit: Unit, *, keep: Micros, cursor: Cursor | None, limit: int) -> Aged:
    """
    Look at the next *limit* events received more than *keep* ago.

    Their deliveries that have been pending longer than that, by their destination's own
    clock, become dead (`expired`); not those of a destination that is not configured,
    nor those under way. An event goes, with all that is its own, once none of its
    deliveries is pending and the last was settled more than *keep* ago.
    """
    if not unit.database.alone(unit.connection, "age-out"):
        return Aged(cursor=None)  # another replica is at it
    before = unit.now - keep
    after_at, after_key = cursor or START
    page = unit.connection.execute(
        unit.statements.old_events,
        {"before": before, "after_at": after_at, "after_key": after_key, "limit": limit},
    ).all()
    if not page:
        unit.connection.execute(unit.statements.drop_configs, {"before": before})
        unit.connection.execute(unit.statements.drop_gatherings, {"before": unit.now - _GATHERING})
        if forget(unit, keep):
            return Aged(cursor=_END)
        _forget_lines(unit, min(before, unit.now - _LINES), limit=limit)
        return Aged(cursor=None)
    keys = [row.key for row in page]
    rows = unit.connection.execute(unit.statements.deliveries_of, {"keys": keys}).all()
    expired = _expire(unit, rows, keep)
    kept = {row.event for row in rows if row.state == State.PENDING or row.settled_at >= before}
    gone = [key for key in keys if key not in kept]
    _drop(unit, gone, [row.key for row in rows if row.event not in kept])
    last = page[-1]
    return Aged(cursor=(last.received_at, last.key), expired=expired, pruned=len(gone))


def _expire(unit: Unit, rows: Sequence[Any], keep: Micros) -> Mapping[str, int]:
    stopped, now = unit.memory.stopped, unit.now
    old = [
        row
        for row in rows
        if row.state == State.PENDING
        and row.destination in stopped
        and now - stopped[row.destination] - row.aged_from > keep
        and (row.token is None or row.due_at <= now)
    ]
    if not old:
        return {}
    unit.connection.execute(unit.statements.expire, [{"held": row.key, "now": now} for row in old])
    counts = Counter(row.destination for row in old)
    for name, count in counts.items():
        held = [row for row in old if row.destination == name and row.token is not None]
        record_lost(unit, name, [(row.key, row.attempts, row.due_at) for row in held])
        unit.tally("deliveries", name, State.DEAD.value, count=count)
    return dict(counts)


def _drop(unit: Unit, events: list[int], deliveries: list[int]) -> None:
    run, statements = unit.connection.execute, unit.statements
    for start in range(0, len(deliveries), _MOST_KEYS):
        keys = deliveries[start : start + _MOST_KEYS]
        run(statements.drop_attempts, {"keys": keys})
        run(statements.drop_deliveries, {"keys": keys})
    if events:
        run(statements.drop_bodies, {"keys": events})
        run(statements.drop_events, {"keys": events})


def _forget_lines(unit: Unit, before: Micros, *, limit: int) -> None:
    """
    At the end of a walk: some of the branches that nothing was built on for long.

    A few each time, by their keys, since an index on their age would have to be moved at
    every event.
    """
    run, statements, memory = unit.connection.execute, unit.statements, unit.memory
    page = run(statements.some_lines, {"after": memory.line_walk, "limit": limit}).all()
    old = [row.key for row in page if row.updated_at < before]
    if old:
        run(statements.drop_lines, {"line_keys": old, "before": before})
    memory.line_walk = page[-1].key if page else b""
