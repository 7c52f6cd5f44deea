"""What was seen in a run: posts and their answers, arrivals, and the server's own account."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from circleci_relay.circleci import payload

if TYPE_CHECKING:
    from collections.abc import Callable

    from circleci_relay.cli.demo.scenario import Forecast, Step
    from circleci_relay.cli.posting import Answer
    from circleci_relay.cli.receiver import Arrival


@dataclass(slots=True, kw_only=True)
class Posted:
    """One post; *answer* and *event* follow once they are known."""

    step: Step
    forecast: Forecast | None  #: None for what ought to be turned away or known already
    answer: Answer | None = None
    event: str | None = None  #: the relay's own id, out of its answer

    @property
    def owed(self) -> tuple[str, ...]:
        """The destinations that ought to get it."""
        return self.forecast.destinations if self.forecast is not None else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One attempt, as the server's log tells of it."""

    event: str
    destination: str
    number: int
    result: str
    status: int | None
    then: str  #: delivered, retry, dead
    retry_in: float | None


@dataclass(slots=True)
class Book:
    """The record of a run; `changed` is set whenever something is added."""

    posts: list[Posted] = field(default_factory=list)
    attempts: defaultdict[tuple[str, str], list[Attempt]] = field(
        default_factory=lambda: defaultdict(list)
    )
    arrivals: defaultdict[str, list[Arrival]] = field(default_factory=lambda: defaultdict(list))
    said: list[str] = field(default_factory=list)  #: log lines that tell of neither
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    _names: dict[str, str] = field(default_factory=dict)

    def answered(self, post: Posted, answer: Answer) -> None:
        """Note the server's answer to *post*."""
        post.answer = answer
        try:
            event = json.loads(answer.text)["event"]
        except (ValueError, LookupError, TypeError):
            event = None
        post.event = event if isinstance(event, str) else None
        self.changed.set()

    def arrived(self, destination: str) -> Callable[[Arrival], None]:
        """What *destination*'s receiver calls with each arrival."""

        def note(arrival: Arrival) -> None:
            self.arrivals[destination].append(arrival)
            self.changed.set()

        return note

    def logged(self, line: str) -> Attempt | None:
        """Note one line of the server's log; the attempt, if it tells of one."""
        try:
            entry: Any = json.loads(line)
        except ValueError:
            entry = None
        if not isinstance(entry, dict):
            self.said.append(line)
            return None
        if entry.get("event") == "attempt":
            attempt = Attempt(
                event=entry["event_id"],
                destination=entry["destination"],
                number=entry["attempt"],
                result=entry["result"],
                status=entry["status"],
                then=entry["then"],
                retry_in=entry["retry_in_s"],
            )
            self.attempts[attempt.event, attempt.destination].append(attempt)
            self.changed.set()
            return attempt
        if entry.get("event") == "event_accepted":
            self._names[entry["event_id"]] = entry["id"]
        if entry.get("level") not in {"debug", "info"}:
            self.said.append(line)
        return None

    def name_of(self, event: str) -> str:
        """What a person calls the event with the relay's id *event*."""
        own_id = self._names.get(event)
        for post in self.posts:
            if post.event == event or (
                own_id is not None and payload.event_id(payload.parse(post.step.body)) == own_id
            ):
                return post.step.name
        return event

    def outcome(self, event: str, destination: str) -> str | None:
        """`delivered` or `dead` once the log has said so."""
        seen = self.attempts.get((event, destination))
        return seen[-1].then if seen and seen[-1].then != "retry" else None

    def settled(self) -> bool:
        """Whether every delivery that is owed has ended."""
        return all(
            post.event is not None and self.outcome(post.event, destination) is not None
            for post in self.posts
            for destination in post.owed
        )
