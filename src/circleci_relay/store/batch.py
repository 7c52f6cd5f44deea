"""One batch of work, and the report of what became of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator, Mapping

    from circleci_relay.model import Accepted, Claim, Intake, Micros, Settlement
    from circleci_relay.store.lanes import Offer
    from circleci_relay.store.unit import Unit


@dataclass(slots=True, eq=False)
class Accepting:
    """An event whose sender waits."""

    intake: Intake
    deadline: float  #: on the clock's monotonic seconds
    future: asyncio.Future[Accepted]


@dataclass(slots=True, eq=False)
class Claiming:
    """A lane that waits for work."""

    destination: str
    limit: int
    lease: Micros
    future: asyncio.Future[list[Claim]]


@dataclass(slots=True, eq=False)
class Doing:
    """Anything else that must be inside a transaction."""

    step: Callable[[Unit], Any]
    future: asyncio.Future[Any]


Waiting = Accepting | Claiming | Doing


@dataclass(slots=True, kw_only=True)
class Batch:
    """What goes into one transaction."""

    settlements: list[Settlement] = field(default_factory=list)
    releases: list[Claim] = field(default_factory=list)
    accepts: list[Accepting] = field(default_factory=list)
    claims: list[Claiming] = field(default_factory=list)
    steps: list[Doing] = field(default_factory=list)
    offer: Mapping[str, Offer] = field(default_factory=dict)
    room: dict[str, int] = field(default_factory=dict)  #: what is left of the offer
    probe: bool = False  #: write something, whatever else there is
    charts: bool = False  #: write the counts for the charts, whatever else there is

    @property
    def size(self) -> int:
        """How many items."""
        return (
            len(self.settlements)
            + len(self.releases)
            + len(self.accepts)
            + len(self.claims)
            + len(self.steps)
        )

    @property
    def hot(self) -> bool:
        """Whether there is anything to take in or settle."""
        return bool(self.accepts or self.settlements) and not self.probe

    def singly(self) -> Iterator[Batch]:
        """The same items in the same order, a batch each."""
        for settlement in self.settlements:
            yield Batch(settlements=[settlement])
        for released in self.releases:
            yield Batch(releases=[released])
        for accepting in self.accepts:
            yield Batch(accepts=[accepting], offer=self.offer, room=self.room)
        for claiming in self.claims:
            yield Batch(claims=[claiming])
        for doing in self.steps:
            yield Batch(steps=[doing])


@dataclass(slots=True, kw_only=True)
class Report:
    """What is durable now, what never will be, and whether the database is to blame."""

    done: list[tuple[Waiting, Any]] = field(default_factory=list)
    failed: list[tuple[Waiting, Exception]] = field(default_factory=list)
    held: list[Settlement] = field(default_factory=list)
    fenced: list[Settlement] = field(default_factory=list)
    dropped: list[tuple[Settlement, Exception]] = field(default_factory=list)
    released: list[Claim] = field(default_factory=list)
    handed: list[Claim] = field(default_factory=list)  #: inserted leased, for the lanes
    orphans: list[Claim] = field(default_factory=list)  #: in hand, and nobody waits for them
    waiting: set[str] = field(default_factory=set)  #: destinations with unleased ones
    expected: dict[str, Micros] = field(default_factory=dict)  #: and when later ones are due
    lost: Counter[str] = field(default_factory=Counter)
    superseded: Counter[str] = field(default_factory=Counter)
    commits: list[tuple[float, int]] = field(default_factory=list)  #: seconds, items
    outage: Exception | None = None
    pressing: bool = False  #: the write-ahead log should not grow further

    def add(self, other: Report) -> None:
        """Put what another transaction did behind this."""
        self.done += other.done
        self.failed += other.failed
        self.held += other.held
        self.fenced += other.fenced
        self.dropped += other.dropped
        self.released += other.released
        self.handed += other.handed
        self.orphans += other.orphans
        self.waiting |= other.waiting
        for name, due in other.expected.items():
            self.expected[name] = min(due, self.expected.get(name, due))
        self.lost += other.lost
        self.superseded += other.superseded
        self.commits += other.commits
        self.outage = other.outage
