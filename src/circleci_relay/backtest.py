"""What another configuration would have made of events that are stored; nothing is sent."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from circleci_relay.circleci.payload import parse, read_facts
from circleci_relay.errors import Malformed
from circleci_relay.model import RELAY
from circleci_relay.rendering.words import title
from circleci_relay.routing import Subject

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from circleci_relay.model import Change, Choice, Facts, Micros
    from circleci_relay.routing import Table, Verdict

MOST_EXAMPLES: Final = 5
"""Of what is added, and of what is dropped, by each route to each destination."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """An event as it is stored."""

    public_id: str
    source: str
    received_at: Micros
    facts: Facts  #: with its change
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One event, for people to look at."""

    event: str  #: public id
    title: str  #: what happened, in one line
    received_at: Micros


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """How many deliveries, and the first few of the events."""

    count: int = 0
    examples: tuple[Example, ...] = ()

    def add(self, other: Tally) -> Tally:
        """Both together."""
        examples = (*self.examples, *other.examples)[:MOST_EXAMPLES]
        return Tally(count=self.count + other.count, examples=examples)


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What one route's way to one destination would add and drop."""

    added: Tally = Tally()
    dropped: Tally = Tally()

    def add(self, other: Difference) -> Difference:
        """Both together."""
        return Difference(
            added=self.added.add(other.added), dropped=self.dropped.add(other.dropped)
        )


Way = tuple[str, str]
"""A route and a destination: the first route by which the event comes to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What changes; reports on different events add up."""

    events: int = 0  #: looked at
    unchanged: int = 0  #: go to the same destinations in the same way
    otherwise_told: int = 0  #: go to the same ones, and wait otherwise: hold, once_per, group
    unmatched_before: int = 0  #: go nowhere now
    unmatched_after: int = 0  #: would go nowhere
    unreadable: int = 0  #: whose body is no event's; not looked at
    ways: Mapping[Way, Difference] = field(default_factory=dict)  #: those that differ

    @property
    def added(self) -> int:
        """How many deliveries there would be that now are none."""
        return sum(each.added.count for each in self.ways.values())

    @property
    def dropped(self) -> int:
        """How many deliveries there would no more be."""
        return sum(each.dropped.count for each in self.ways.values())

    def add(self, other: Report) -> Report:
        """Both together; *other* is on later events."""
        ways = dict(self.ways)
        for way, each in other.ways.items():
            ways[way] = ways[way].add(each) if way in ways else each
        return Report(
            events=self.events + other.events,
            unchanged=self.unchanged + other.unchanged,
            otherwise_told=self.otherwise_told + other.otherwise_told,
            unmatched_before=self.unmatched_before + other.unmatched_before,
            unmatched_after=self.unmatched_after + other.unmatched_after,
            unreadable=self.unreadable + other.unreadable,
            ways=ways,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """What a table makes of one payload."""

    facts: Facts
    verdicts: tuple[Verdict, ...]
    choice: Choice


def compare(now: Table, then: Table, events: Iterable[Stored]) -> Report:
    """
    What changes for *events* where *then* takes the place of *now*.

    It takes as long as there are events: whoever has many gives some at a time, and adds up.
    """
    comparison = _Comparison(now, then)
    for event in events:
        if event.source != RELAY:
            comparison.look(event)
    return comparison.report()


def explain_one(
    table: Table, body: bytes, *, source: str, change: Change | None = None
) -> Explained:
    """
    What *table* makes of a payload that came by *source*; raises `Malformed` if it is none.

    The reasons repeat parts of it, as `Table.explain` does.
    """
    payload = parse(body)
    subject = Subject(read_facts(payload), source, payload)
    return Explained(
        facts=replace(subject.facts, change=change),
        verdicts=tuple(table.explain(subject, change)),
        choice=table.choose(subject, change),
    )


class _Comparison:
    """Counts, event by event."""

    def __init__(self, now: Table, then: Table) -> None:
        self._tables = (now, then)
        self._to = tuple({each.name: each.to for each in table.routes} for table in self._tables)
        self._events = self._unchanged = self._otherwise = self._unreadable = 0
        self._unmatched = [0, 0]
        self._counts: dict[Way, list[int]] = {}
        self._examples: dict[Way, tuple[list[Example], list[Example]]] = {}

    def look(self, event: Stored) -> None:
        """Let both tables choose."""
        try:
            subject = Subject(event.facts, event.source, parse(event.body))
        except Malformed:
            self._unreadable += 1
            return
        self._events += 1
        now, then = (table.choose(subject, event.facts.change) for table in self._tables)
        for side, choice in enumerate((now, then)):
            self._unmatched[side] += not choice.routes
        before, after = set(now.destinations), set(then.destinations)
        if before == after:
            same = now.quiet == then.quiet
            self._unchanged += same
            self._otherwise += not same
            return
        for way in self._ways(then, 1, after - before):
            self._count(way, 0, event)
        for way in self._ways(now, 0, before - after):
            self._count(way, 1, event)

    def _ways(self, choice: Choice, side: int, wanted: set[str]) -> Iterator[Way]:
        """Each of *wanted* with the first route that leads there."""
        left = set(wanted)
        for route in choice.routes:
            for destination in self._to[side][route]:
                if destination in left:
                    left.remove(destination)
                    yield route, destination

    def _count(self, way: Way, which: int, event: Stored) -> None:
        self._counts.setdefault(way, [0, 0])[which] += 1
        examples = self._examples.setdefault(way, ([], []))[which]
        if len(examples) < MOST_EXAMPLES:
            examples.append(
                Example(
                    event=event.public_id,
                    title=title(event.facts),
                    received_at=event.received_at,
                )
            )

    def report(self) -> Report:
        """All that was looked at."""
        return Report(
            events=self._events,
            unchanged=self._unchanged,
            otherwise_told=self._otherwise,
            unmatched_before=self._unmatched[0],
            unmatched_after=self._unmatched[1],
            unreadable=self._unreadable,
            ways={
                way: Difference(
                    added=Tally(count=added, examples=tuple(self._examples[way][0])),
                    dropped=Tally(count=dropped, examples=tuple(self._examples[way][1])),
                )
                for way, (added, dropped) in self._counts.items()
            },
        )
