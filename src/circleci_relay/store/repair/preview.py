"""What a bulk job would do, counted in looks; nothing is changed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from circleci_relay.store.repair.jobs import EVENTS, asks_for_superseded
from circleci_relay.store.repair.plan import Plan, stored_events
from circleci_relay.store.repair.replay import deliveries_of
from circleci_relay.store.repair.selection import Bounds, selection_of, walk_of
from circleci_relay.store.statements import statements_for

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    import sqlalchemy as sa

    from circleci_relay.model import Micros
    from circleci_relay.store.repair.plan import Choose, Pair
    from circleci_relay.store.repair.selection import Candidate, Position, Walk

EXAMPLES = 5

_PAGE = 500
_HIGHEST = 2**62


@dataclass(slots=True, kw_only=True)
class Count:
    """How far a dry run has come, and what it has found."""

    count: int = 0
    by_destination: Counter[str] = field(default_factory=Counter)
    examples: list[int] = field(default_factory=list)  #: keys of deliveries
    done: bool = False
    position: Position | None = None
    seen: set[Pair] = field(default_factory=set)

    def add(self, destination: str, delivery: int | None) -> None:
        """Count one."""
        self.count += 1
        self.by_destination[destination] += 1
        if delivery is not None and len(self.examples) < EXAMPLES:
            self.examples.append(delivery)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """A dry run of a request as `jobs.start` takes it."""

    kind: str
    request: Mapping[str, Any]
    configured: Collection[str]
    choose: Choose
    now: Micros

    def go_on(self, connection: sa.Connection, count: Count, over: Callable[[], bool]) -> None:
        """Count on, a window at least, until all is counted or it is *over*."""
        anew = self.request.get("routes") == "now"
        walk: Walk = walk_of(
            selection_of(self.request["select"]),
            Bounds(at=self.now, ceiling=_HIGHEST),
            by_event=anew,
        )
        while True:
            window = walk(connection, count.position, EVENTS if anew else _PAGE)
            count.position = window.position
            if self.kind == "cancel":
                for each in window.found:
                    count.add(each.destination or "", each.key)
            elif window.found:
                self._plan(connection, count, window.found, anew=anew)
            if window.position is None:
                count.done = True
            if count.done or over():
                return

    def _plan(
        self, connection: sa.Connection, count: Count, found: list[Candidate], *, anew: bool
    ) -> None:
        plan = Plan(configured=self.configured, seen=count.seen)
        events = {each.event for each in found}
        siblings = deliveries_of(connection, statements_for(connection.dialect), events)
        if anew:
            plan.renew(
                stored_events(connection, events),
                siblings,
                choose=self.choose,
                to=self.request.get("to"),
                superseded=asks_for_superseded(self.request["select"]),
            )
        else:
            plan.repeat(found, siblings)
        for making in plan.makings:
            count.add(making.destination, making.of)
