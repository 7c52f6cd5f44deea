"""What would be: backtests and verdicts."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self

from circleci_relay.console.shapes.base import Shape
from circleci_relay.console.shapes.log import RouteVerdict

if TYPE_CHECKING:
    from circleci_relay.model import Fault


class Example(Shape):
    """An event that a change would concern."""

    event: str
    title: str
    received_at: datetime


class Difference(Shape):
    """What a proposed configuration adds or drops between one route and one destination."""

    route: str
    destination: str
    added: int
    dropped: int
    added_examples: list[Example]
    dropped_examples: list[Example]


class ConfigFault(Shape):
    """One thing wrong with a configuration, and where."""

    file: str
    line: int
    """From 1; 0 where there is no place in the file."""
    column: int
    path: str
    """The key, dotted."""
    message: str
    text: str
    """All of it in one line."""

    @classmethod
    def of(cls, fault: Fault) -> Self:
        """Return *fault* as it is told."""
        return cls(**asdict(fault), text=str(fault))


class Backtest(Shape):
    """A proposed configuration against stored events. Nothing was sent."""

    looked: int
    """Events looked at in this call."""
    added: int
    dropped: int
    unmatched_before: int
    unmatched_after: int
    differences: list[Difference]
    warnings: list[ConfigFault]
    next: str | None
    """More of the period is left: call again with it as `before`, and add up."""
    searched_to: datetime | None


class Explained(Shape):
    """Each route's verdict on a payload."""

    title: str
    facts: dict[str, Any]
    verdicts: list[RouteVerdict]
    destinations: list[str]
