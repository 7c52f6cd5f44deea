"""
Deliveries that wait for what may make them needless, inside the transaction.

Three ways, each durable from the start: *held* until the line may have turned good again,
told *once* after a quiet period (a later event takes an earlier one's place), or told
*together* with others (one is due for them all, the others follow it). What turns out
needless is `cancelled`, and stays in the log as superseded.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from circleci_relay.model import Reason, State
from circleci_relay.store.encode import digest
from circleci_relay.store.unit import Again

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from circleci_relay.model import Micros, Quiet
    from circleci_relay.store.unit import Unit


@dataclass(slots=True, kw_only=True)
class Entry:
    """A delivery about to be stored that does not go out at once."""

    key: int
    event: int
    destination: str
    quiet: Quiet
    received_at: Micros
    line: bytes | None  #: None where nothing later can be compared with it
    good: bool | None
    late: bool  #: a later pipeline's outcome is known already
    line_good: bool | None  #: where the line stands with it
    broken_since: Micros | None  #: of an event that turned its line good: since when it was bad

    @property
    def hold(self) -> Micros:
        """For how long it is held: what is good has nothing to wait for."""
        return 0 if self.good or self.line is None else self.quiet.hold


@dataclass(slots=True, kw_only=True)
class _Row:
    """A row of the table of deliveries, as it will be inserted."""

    entry: Entry
    due_at: Micros | None
    owed_from: Micros
    leader: int | None = None
    needless: bool = False

    def values(self, now: Micros, stopped: Micros) -> dict[str, object]:
        entry = self.entry
        return {
            "key": entry.key,
            "event": entry.event,
            "destination": entry.destination,
            "state": str(State.CANCELLED if self.needless else State.PENDING),
            "due_at": None if self.needless else self.due_at,
            "attempts": 0,
            # From when it is owed: nobody is late, and nothing ages, while it has to wait.
            "created_at": self.owed_from,
            "aged_from": self.owed_from - stopped,
            "settled_at": now if self.needless else None,
            "reason": str(Reason.SUPERSEDED) if self.needless else None,
            "line": entry.line if entry.hold else None,
            "leader": self.leader,
        }


_NEVER = 2**62


@dataclass(frozen=True, slots=True)
class _Held:
    """A delivery that was held."""

    key: int
    received_at: Micros
    told: bool  #: or begun to be


@dataclass(slots=True)
class _Gathering:
    """What stands in the table of that name."""

    delivery: int = 0
    count: int = 0
    rank: int = 0


def wait(unit: Unit, entries: Sequence[Entry]) -> Mapping[str, Micros]:
    """
    Store *entries*, each waiting as its `quiet` says; in the order the events came.

    Returns when the first of each destination is due.
    """
    waiting = _Waiting(unit, entries)
    waiting.store()
    return waiting.due()


@dataclass(slots=True)
class _Waiting:
    """One transaction's waiting deliveries, old and new."""

    unit: Unit
    entries: Sequence[Entry]
    rows: dict[int, _Row] = field(default_factory=dict)
    held: dict[tuple[str, bytes], list[_Held]] = field(default_factory=dict)
    gatherings: dict[bytes, _Gathering] = field(default_factory=dict)
    untold: set[int] = field(default_factory=set)  #: stored, and not begun to be told
    needless: set[int] = field(default_factory=set)  #: those of them that become so
    hurried: set[int] = field(default_factory=set)

    def store(self) -> None:
        # Locked in this order, the deliveries at once and by their keys: two replicas that
        # take in what belongs together wait for each other, and never both.
        self._find_gatherings()
        held = self._find_held()
        may_change = {row.key for row in held if row.state == State.PENDING and not row.attempts}
        self._find_untold(may_change.union(each.delivery for each in self.gatherings.values()))
        for row in held:
            told = row.attempts > 0 or row.key in may_change - self.untold
            known = self.held.setdefault((row.destination, row.line), [])
            known.append(_Held(row.key, row.received_at, told))
        for entry in self.entries:
            row = self._row(entry)
            old = self._is_old_news(entry)
            self.rows[entry.key] = row
            if old:
                row.needless = True
            elif entry.quiet.once is not None:
                self._once(entry, row)
            elif entry.quiet.group is not None:
                self._together(entry, row)
        self._write()

    def _row(self, entry: Entry) -> _Row:
        due = self.unit.now + max(entry.hold, entry.quiet.wait)
        return _Row(entry=entry, due_at=due, owed_from=due)

    # Held

    def _find_held(self) -> Sequence[Any]:
        """Find what is held for lines that events with a `hold` turned, or found, good."""
        good = [e for e in self.entries if e.good and e.quiet.hold and e.line is not None]
        if not good:
            return []
        since = min((e.broken_since for e in good if e.broken_since is not None), default=_NEVER)
        return self.unit.connection.execute(
            self.unit.statements.find_held,
            {"line_keys": sorted({e.line for e in good if e.line is not None}), "since": since},
        ).all()

    def _is_old_news(self, entry: Entry) -> bool:
        if entry.line is None or not entry.quiet.hold:
            return False
        if entry.hold:
            return entry.late and bool(entry.line_good)
        return bool(entry.good) and not entry.late and self._take_back(entry, entry.line)

    def _take_back(self, entry: Entry, line: bytes) -> bool:
        """
        End what is held of *entry*'s line; whether that it broke was never told.

        Then that it is whole again is no news either.
        """
        broke = told = False
        for held in self._held_at(entry.destination, line):
            if held.key in self.rows or held.key in self.untold:
                self._supersede(held.key)
            if entry.broken_since is not None and held.received_at >= entry.broken_since:
                broke |= held.received_at == entry.broken_since
                told |= held.told
        return broke and not told

    def _held_at(self, destination: str, line: bytes) -> list[_Held]:
        new = [
            _Held(key, row.entry.received_at, told=False)
            for key, row in self.rows.items()
            if row.entry.hold and (row.entry.destination, row.entry.line) == (destination, line)
        ]
        return [*self.held.get((destination, line), ()), *new]

    # Once, and together

    def _find_gatherings(self) -> None:
        wanted = {key for e in self.entries if (key := _digest(e)) is not None}
        if not wanted:
            return
        run, statements = self.unit.connection.execute, self.unit.statements
        keys = sorted(wanted)
        # Begun before they are looked at: two replicas that both begin one wait for each other.
        run(statements.begin_gatherings, [_gathered(key, _Gathering(), self.unit) for key in keys])
        for key, delivery, count, rank in run(
            statements.find_gatherings, {"gathering_keys": keys}
        ).all():
            self.gatherings[key] = _Gathering(delivery, count, rank)
        if len(self.gatherings) != len(keys):
            raise Again  # ageing out took one away in between

    def _find_untold(self, keys: set[int]) -> None:
        """Lock those of *keys* that nobody has begun to tell."""
        known = sorted(keys - {0})
        if known:
            run, statements = self.unit.connection.execute, self.unit.statements
            self.untold = {row.key for row in run(statements.find_untold, {"keys": known})}

    def _gathering(self, entry: Entry) -> tuple[_Gathering, bool]:
        """What *entry* belongs to, and whether what waits there may still be changed."""
        gathering = self.gatherings[_digest(entry) or b""]
        row = self.rows.get(gathering.delivery)
        if row is not None:
            return gathering, not row.needless
        alive = gathering.delivery in self.untold and gathering.delivery not in self.needless
        return gathering, alive

    def _once(self, entry: Entry, row: _Row) -> None:
        gathering, alive = self._gathering(entry)
        if alive and entry.quiet.rank < gathering.rank:
            row.needless = True
            return
        if alive:
            self._supersede(gathering.delivery)
        gathering.delivery, gathering.rank = entry.key, entry.quiet.rank

    def _supersede(self, key: int) -> None:
        if key in self.rows:
            self.rows[key].needless = True
        else:
            self.needless.add(key)

    def _together(self, entry: Entry, row: _Row) -> None:
        gathering, alive = self._gathering(entry)
        if not alive or gathering.count >= entry.quiet.most:
            gathering.delivery, gathering.count = entry.key, 1
            row.leader = entry.key
            return
        row.leader, row.due_at = gathering.delivery, None
        gathering.count += 1
        if gathering.count >= entry.quiet.most:
            self._hurry(gathering.delivery)

    def _hurry(self, leader: int) -> None:
        if leader in self.rows:
            self.rows[leader].due_at = self.unit.now
        else:
            self.hurried.add(leader)

    # In the end

    def due(self) -> Mapping[str, Micros]:
        """When the first is due at each destination."""
        found: dict[str, Micros] = {}
        for row in self.rows.values():
            name = row.entry.destination
            due = self.unit.now if row.leader in self.hurried else row.due_at
            if due is not None and not row.needless:
                found[name] = min(due, found.get(name, due))
        return found

    def _write(self) -> None:
        unit = self.unit
        run, statements, now = unit.connection.execute, unit.statements, unit.now
        stopped = unit.memory.stopped
        run(
            statements.add_waiting,
            [row.values(now, stopped.get(row.entry.destination, 0)) for row in self.rows.values()],
        )
        if self.gatherings:
            run(
                statements.put_gatherings,
                [_gathered(key, each, unit) for key, each in sorted(self.gatherings.items())],
            )
        if self.hurried:
            run(statements.hurry, [{"held": key, "now": now} for key in sorted(self.hurried)])
        gone = [row.entry.destination for row in self.rows.values() if row.needless]
        if self.needless:
            where = self._destinations()
            supersede(unit, {key: where[key] for key in sorted(self.needless)})
        for destination in gone:
            unit.supersede(destination)

    def _destinations(self) -> Mapping[int, str]:
        """Whose the stored ones are that have become needless."""
        run, statements = self.unit.connection.execute, self.unit.statements
        rows = run(statements.whose, {"keys": sorted(self.needless)})
        return {row.key: row.destination for row in rows}


def supersede(unit: Unit, needless: Mapping[int, str]) -> None:
    """End deliveries (with their destinations) that have become needless."""
    unit.connection.execute(
        unit.statements.supersede, [{"held": key, "now": unit.now} for key in needless]
    )
    for destination in needless.values():
        unit.supersede(destination)


def _digest(entry: Entry) -> bytes | None:
    """What stands for *entry*'s gathering; None where it belongs to none."""
    quiet = entry.quiet
    if quiet.once is not None:
        what = [entry.destination, "once", quiet.once]
    elif quiet.group is not None:
        what = [entry.destination, "group", quiet.group]
    else:
        return None
    return digest(what)


def _gathered(key: bytes, each: _Gathering, unit: Unit) -> dict[str, object]:
    return {
        "key": key,
        "delivery": each.delivery,
        "count": each.count,
        "rank": each.rank,
        "updated_at": unit.now,
    }
