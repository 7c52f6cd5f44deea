"""One transaction under way: its connection, its instant, its keys, and what it counts."""

from __future__ import annotations

import itertools
import secrets
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from circleci_relay.model import SECOND

if TYPE_CHECKING:
    from collections.abc import Callable

    import sqlalchemy as sa

    from circleci_relay.model import Micros
    from circleci_relay.store.statements import Statements

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


@dataclass(slots=True, kw_only=True)
class Memory:
    """What the writer remembers between transactions; all of it can be read again."""

    event_keys: Keys = field(default_factory=lambda: Keys("events"))
    delivery_keys: Keys = field(default_factory=lambda: Keys("deliveries"))
    stopped: dict[str, Micros] = field(default_factory=dict)  #: by configured destination
    known: set[str] = field(default_factory=set)  #: destinations that have their row
    digest: str | None = None  #: of the configuration in force
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
    statements: Statements
    memory: Memory
    now: Micros
    careful: bool = False  #: the second run: look row by row
    lost: Counter[str] = field(default_factory=Counter)
    then: list[Callable[[], None]] = field(default_factory=list)  #: once it is committed
    _tally: defaultdict[tuple[str, str, str], list[int]] = field(
        default_factory=lambda: defaultdict(lambda: [0, 0])
    )

    def tally(self, kind: str, name: str, result: str, *, count: int = 1, spent: int = 0) -> None:
        """Add to the charts of this minute."""
        entry = self._tally[kind, name, result]
        entry[0] += count
        entry[1] += spent

    def reserve_lease(self, lease: Micros) -> None:
        """Put the longest lease ever given on record before one that long is given."""
        if lease > self.memory.max_lease:
            self.connection.execute(
                self.statements.put_meta, {"name": "max_lease", "value": str(lease)}
            )
            self.then.append(lambda: setattr(self.memory, "max_lease", lease))

    def finish(self) -> None:
        """Write the counts, in the order of their keys."""
        if not self._tally:
            return
        minute = self.now // _MINUTE
        self.statements.add_minutes.run(
            self.connection,
            [(minute, *names, *counts) for names, counts in sorted(self._tally.items())],
        )
