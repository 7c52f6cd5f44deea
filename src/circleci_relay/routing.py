"""Routing: from an event to the routes that take it, and why each does or does not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from circleci_relay.labels import NO_LABELS, Labels
from circleci_relay.matching import (
    MATCH_KEYS,
    Match,
    MatchFaults,
    PatternError,
    Subject,
    compile_match,
    view_of,
)
from circleci_relay.model import Choice, EventType, Quiet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from circleci_relay.matching import View
    from circleci_relay.model import Change, Micros

__all__ = [
    "MATCH_KEYS",
    "GroupBy",
    "Match",
    "MatchFaults",
    "PatternError",
    "Route",
    "Subject",
    "Table",
    "Verdict",
    "compile_match",
]

_ANYTHING: Final = Match((), ())
_AT_ONCE: Final[Mapping[str, Quiet]] = {}


@dataclass(frozen=True, slots=True)
class Route:
    """A named rule: what it matches, where that goes, and how quietly."""

    name: str
    to: tuple[str, ...]
    match: Match | None = None  #: None is everything but `ping`
    enabled: bool = True
    otherwise: bool = False  #: takes only what no route without it took
    hold: Micros = 0  #: told after this, unless the line turned good meanwhile
    once: Micros | None = None  #: one of a workflow's events, after so long without another


@dataclass(frozen=True, slots=True)
class GroupBy:
    """Which events of a destination are told together."""

    by: tuple[str, ...]  #: `workflow`, `pipeline` (one run of it), a fact's name, `labels.NAME`
    wait: Micros  #: from the first on
    most: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one route said of one event, and why."""

    route: str
    matched: bool
    reason: str  #: plain words for a person
    to: tuple[str, ...]


class _Step:
    """An enabled route, laid out for the hot path."""

    __slots__ = ("_tests", "hold", "name", "once", "otherwise", "takes_ping", "to")

    def __init__(self, route: Route) -> None:
        match = route.match or _ANYTHING
        self.name = route.name
        self.to = route.to
        self.otherwise = route.otherwise
        self.hold = route.hold
        self.once = route.once
        self.takes_ping = match.takes_ping
        self._tests: tuple[Callable[[View], bool], ...] = match.tests

    def takes(self, view: View) -> bool:
        """Whether the route takes the event; what `Match.judge` says without words."""
        for test in self._tests:  # noqa: SIM110 - a generator would cost more than the tests
            if not test(view):
                return False
        return True


class Table:
    """
    All routes, in the order of the files. All are looked at; none shadows another.

    *once* and *groups* are what destinations say of how they want to be told.
    """

    def __init__(
        self,
        routes: Iterable[Route],
        *,
        once: Mapping[str, Micros] = {},  # never changed
        groups: Mapping[str, GroupBy] = {},
        labels: Labels = NO_LABELS,
    ) -> None:
        self.routes = tuple(routes)
        self.labels = labels
        self._once = once
        self._groups = groups
        steps = [_Step(route) for route in self.routes if route.enabled]
        self._steps = tuple(step for step in steps if not step.otherwise)
        self._rest = tuple(step for step in steps if step.otherwise)
        self._ping_steps = tuple(step for step in self._steps if step.takes_ping)
        self._ping_rest = tuple(step for step in self._rest if step.takes_ping)
        self._loud = not (once or groups or any(step.hold or step.once for step in steps))

    def choose(self, subject: Subject, change: Change | None) -> Choice:
        """The routes that take *subject*, each of their destinations once, and how they wait."""
        view = view_of(subject, change, self.labels.of(subject.facts))
        steps, rest = self._steps, self._rest
        if subject.facts.type == EventType.PING:
            steps, rest = self._ping_steps, self._ping_rest
        chosen = [step for step in steps if step.takes(view)]
        if rest and not chosen:
            chosen = [step for step in rest if step.takes(view)]
        destinations = tuple(dict.fromkeys([name for step in chosen for name in step.to]))
        return Choice(
            routes=tuple([step.name for step in chosen]),
            destinations=destinations,
            quiet=_AT_ONCE if self._loud else self._quiet(chosen, destinations, view),
        )

    def explain(self, subject: Subject, change: Change | None) -> list[Verdict]:
        """Each route's verdict, in order, the disabled ones' included."""
        view = view_of(subject, change, self.labels.of(subject.facts))
        first = {
            route.name: self._judge(route, view) for route in self.routes if not route.otherwise
        }
        taken = next((name for name, (matched, _) in first.items() if matched), None)
        verdicts = []
        for route in self.routes:
            matched, reason = first.get(route.name) or self._judge(route, view)
            if route.otherwise and matched and taken is not None:
                matched, reason = False, f"the route {taken} takes it already"
            verdicts.append(Verdict(route.name, matched, reason, route.to))
        return verdicts

    def _judge(self, route: Route, view: View) -> tuple[bool, str]:
        match = route.match or _ANYTHING
        if not route.enabled:
            return False, "disabled"
        if view.facts.type == EventType.PING and not match.takes_ping:
            return False, "ping goes only where a route says exactly type: ping"
        return match.judge(view)

    # How quietly

    def _quiet(
        self, chosen: Sequence[_Step], destinations: Iterable[str], view: View
    ) -> Mapping[str, Quiet]:
        found = {}
        for name in destinations:
            steps = [step for step in chosen if name in step.to]
            # Whoever asks for it at once, gets it at once.
            hold = min(step.hold for step in steps)
            quiet = self._gathered(name, steps, view, hold)
            if quiet is not None:
                found[name] = quiet
        return found

    def _gathered(
        self, name: str, steps: Sequence[_Step], view: View, hold: Micros
    ) -> Quiet | None:
        group = self._groups.get(name)
        if group is not None and not hold and (key := _key(group.by, view)) is not None:
            return Quiet(group=key, wait=group.wait, most=group.most)
        waits = [step.once for step in steps if step.once is not None]
        wait = self._once.get(name, max(waits) if len(waits) == len(steps) else None)
        if wait is not None and (run := _id(view, "workflow")) is not None:
            whole = view.facts.type == EventType.WORKFLOW_COMPLETED
            return Quiet(hold=hold, once=run, rank=int(whole), wait=wait)
        return Quiet(hold=hold) if hold else None


def _key(names: Iterable[str], view: View) -> str | None:
    """What events told together have in common; None for one that has none of it."""
    values = [_value(name, view) for name in names]
    return "\x1f".join(value or "" for value in values) if any(values) else None


def _value(name: str, view: View) -> str | None:
    if name in {"workflow", "pipeline"}:
        return _id(view, name)
    if name.startswith("labels."):
        return view.labels.get(name.removeprefix("labels."))
    value: Any = getattr(view.facts, name)
    return None if value is None else str(value)


def _id(view: View, name: str) -> str | None:
    """The id of this run of the workflow or pipeline."""
    found = view.payload.get(name)
    value = found.get("id") if isinstance(found, dict) else None
    return value if isinstance(value, str) and 0 < len(value) <= _LONGEST_ID else None


_LONGEST_ID: Final = 200
