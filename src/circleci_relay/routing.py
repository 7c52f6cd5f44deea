"""Routing: from an event to the routes that take it, and why each does or does not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from circleci_relay.matching import (
    MATCH_KEYS,
    Match,
    MatchFaults,
    PatternError,
    Subject,
    compile_match,
    view_of,
)
from circleci_relay.model import Choice, EventType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from circleci_relay.matching import View
    from circleci_relay.model import Change

__all__ = [
    "MATCH_KEYS",
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


@dataclass(frozen=True, slots=True)
class Route:
    """A named rule: what it matches, and where that goes."""

    name: str
    to: tuple[str, ...]
    match: Match | None = None  #: None is everything but `ping`
    enabled: bool = True


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one route said of one event, and why."""

    route: str
    matched: bool
    reason: str  #: plain words for a person
    to: tuple[str, ...]


class _Step:
    """An enabled route, laid out for the hot path."""

    __slots__ = ("_tests", "name", "takes_ping", "to")

    def __init__(self, route: Route) -> None:
        match = route.match or _ANYTHING
        self.name = route.name
        self.to = route.to
        self.takes_ping = match.takes_ping
        self._tests: tuple[Callable[[View], bool], ...] = match.tests

    def takes(self, view: View) -> bool:
        """Whether the route takes the event; what `Match.judge` says without words."""
        for test in self._tests:  # noqa: SIM110 - a generator would cost more than the tests
            if not test(view):
                return False
        return True


class Table:
    """All routes, in the order of the files. All are looked at; none shadows another."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self.routes = tuple(routes)
        self._steps = tuple(_Step(route) for route in self.routes if route.enabled)
        self._ping_steps = tuple(step for step in self._steps if step.takes_ping)

    def choose(self, subject: Subject, change: Change | None) -> Choice:
        """The routes that take *subject*, and each of their destinations once."""
        view = view_of(subject, change)
        steps = self._ping_steps if subject.facts.type == EventType.PING else self._steps
        chosen = [step for step in steps if step.takes(view)]
        return Choice(
            routes=tuple([step.name for step in chosen]),
            destinations=tuple(dict.fromkeys([name for step in chosen for name in step.to])),
        )

    def explain(self, subject: Subject, change: Change | None) -> list[Verdict]:
        """Each route's verdict, in order, the disabled ones' included."""
        view = view_of(subject, change)
        verdicts = []
        for route in self.routes:
            match = route.match or _ANYTHING
            if not route.enabled:
                matched, reason = False, "disabled"
            elif subject.facts.type == EventType.PING and not match.takes_ping:
                matched, reason = False, "ping goes only where a route says exactly type: ping"
            else:
                matched, reason = match.judge(view)
            verdicts.append(Verdict(route.name, matched, reason, route.to))
        return verdicts
