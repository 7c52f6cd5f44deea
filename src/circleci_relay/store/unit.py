"""One transaction under way: its connection, its instant, its keys, and what it counts."""

from __future__ import annotations

import itertools
import secrets
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from circleci_relay.model import SECOND, State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import sqlalchemy as sa

    from circleci_relay.model import Micros
    from circleci_relay.store.database import Database
    from circleci_relay.store.statements import Statements

Minute = tuple[int, str, str, str]
"""A minute since the epoch, a kind, a name, a result: what a count is of."""

LAST_INSTANT = "last_instant"
"""Under this name `meta` holds the time of about the last commit."""

QUARTER = 15
"""Minutes in a quarter of an hour: what the coarser charts count by."""

_BLOCK = 1_000
_MINUTE = 60 * SECOND


class Again(Exception):  # noqa: N818 - a turn, not an error
    """The transaction must be rolled back and run once more, with care."""


class Faulty(Exception):  # noqa: N818 - says what the item is
    """One item of the batch cannot be stored; its cause says why."""


class Keys:
    """
    Keys for one table, taken from its counter in blocks (hi/lo).

    A block belongs to the transaction that took it: after a rollback its numbers may
    be given again, so it is discarded then.
    """

    def __init__(self, counter: str) -> None:
        self._counter = counter
        self._next = 0
        self._end = 0

    def take(self, unit: Unit, count: int) -> range:
        """*count* keys in a row."""
        if self._end - self._next < count:
            block = max(count, _BLOCK)
            end = unit.connection.execute(
                unit.statements.take_keys, {"counter": self._counter, "count": block}
            ).scalar_one()
            self._next, self._end = end - block, end
        start = self._next
        self._next += count
        return range(start, self._next)

    def discard(self) -> None:
        """Forget what is left of the block."""
        self._next = self._end = 0


class Charts:
    """
    Counts for charts: gathered in memory by the minute, written once in a while.

    A row for each batch would be one that all replicas wait for each other at. A crash
    costs a chart the last second; what the counts are of is in the other tables. Quarters of
    an hour are added up only when it is written: nothing is counted twice on the hot path.
    """

    def __init__(self) -> None:
        self._counts: dict[Minute, list[int]] = {}
        self._written_at: Micros = 0

    def add(self, counts: Mapping[Minute, list[int]]) -> None:
        """Add what a transaction counted, once it is committed."""
        for key, (count, spent) in counts.items():
            entry = self._counts.setdefault(key, [0, 0])
            entry[0] += count
            entry[1] += spent

    def due(self, now: Micros) -> bool:
        """Whether it is time to write."""
        return not 0 <= now - self._written_at < SECOND

    @property
    def owing(self) -> bool:
        """Whether there is anything to write."""
        return bool(self._counts)

    def items(self) -> Iterable[tuple[Minute, list[int]]]:
        """What there is to write."""
        return self._counts.items()

    def minutes(self) -> list[tuple[Any, ...]]:
        """What there is to write, in the order of the keys."""
        return _rows(self._counts)

    def quarters(self) -> list[tuple[Any, ...]]:
        """The same by the quarter of an hour."""
        counts: dict[Minute, list[int]] = {}
        for (minute, kind, name, result), (count, spent) in self._counts.items():
            entry = counts.setdefault((minute // QUARTER, kind, name, result), [0, 0])
            entry[0] += count
            entry[1] += spent
        return _rows(counts)

    def written(self, now: Micros) -> None:
        """Forget what was written."""
        self._counts.clear()
        self._written_at = now


def _rows(counts: Mapping[Minute, list[int]]) -> list[tuple[Any, ...]]:
    """In the order of the keys, so that two replicas never wait for each other."""
    return [(*key, *entry) for key, entry in sorted(counts.items())]


@dataclass(slots=True, kw_only=True)
class Memory:
    """What the writer remembers between transactions; all of it can be read again."""

    event_keys: Keys = field(default_factory=lambda: Keys("events"))
    delivery_keys: Keys = field(default_factory=lambda: Keys("deliveries"))
    stopped: dict[str, Micros] = field(default_factory=dict)  #: by configured destination
    charts: Charts = field(default_factory=Charts)
    known: set[str] = field(default_factory=set)  #: destinations that have their row
    digest: str | None = None  #: of the configuration in force
    line_walk: bytes = b""  #: how far the walk through old lines has come
    max_lease: Micros = 0  #: the longest ever given; bounds what start-up must void
    # Tokens need only differ from all others ever given: a start nobody guesses, then counted.
    tokens: itertools.count[int] = field(
        default_factory=lambda: itertools.count(secrets.randbits(62))
    )

    def rolled_back(self) -> None:
        """Forget what the transaction that failed may have taken back."""
        self.event_keys.discard()
        self.delivery_keys.discard()
        self.known.clear()


@dataclass(slots=True, kw_only=True)
class Unit:
    """What one transaction needs, and what it leaves behind once it is committed."""

    connection: sa.Connection
    database: Database
    statements: Statements
    memory: Memory
    now: Micros
    careful: bool = False  #: the second run: look row by row
    charts_now: bool = False  #: write the counts for the charts even if it is not time
    lost: Counter[str] = field(default_factory=Counter)
    superseded: Counter[str] = field(default_factory=Counter)  #: needless, by destination
    longest: Micros = 0  #: the longest lease put on record here
    then: list[Callable[[], None]] = field(default_factory=list)  #: once it is committed
    _tally: defaultdict[Minute, list[int]] = field(
        default_factory=lambda: defaultdict(lambda: [0, 0])
    )

    def tally(self, kind: str, name: str, result: str, *, count: int = 1, spent: int = 0) -> None:
        """Add to the charts of this minute."""
        entry = self._tally[self.now // _MINUTE, kind, name, result]
        entry[0] += count
        entry[1] += spent

    def supersede(self, destination: str) -> None:
        """Count a delivery of *destination* that has become needless."""
        self.superseded[destination] += 1
        self.tally("deliveries", destination, State.CANCELLED.value)

    def reserve_lease(self, lease: Micros) -> None:
        """Put the longest lease ever given on record before one that long is given."""
        if lease > max(self.memory.max_lease, self.longest):
            self.longest = lease
            self.connection.execute(
                self.statements.put_meta, {"name": "max_lease", "value": str(lease)}
            )
            self.then.append(lambda: setattr(self.memory, "max_lease", lease))

    def finish(self) -> None:
        """Write the counts, if it is time; else keep them, once this is committed."""
        charts = self.memory.charts
        if not (self.charts_now or charts.due(self.now)):
            self.then.append(lambda: charts.add(self._tally))
            return
        both = Charts()
        both.add(dict(charts.items()))
        both.add(self._tally)
        if both.owing:
            self.statements.add_minutes.run(self.connection, both.minutes())
            self.statements.add_quarters.run(self.connection, both.quarters())
            self.connection.execute(
                self.statements.put_meta, {"name": LAST_INSTANT, "value": str(self.now)}
            )
            self.then.append(lambda: charts.written(self.now))
