"""What became of an event, moment by moment."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Literal

from circleci_relay.model import RELAY, Reason, Result, State
from circleci_relay.web.ui.words import size, some, span

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from circleci_relay.console.shapes import Attempt, DeliveryWhole, EventWhole

Mark = Literal["ok", "bad", "warn", "wait", "off", "in"]
"""The shape that stands beside it."""

WHY = {
    Reason.REFUSED: "refused for good",
    Reason.TEMPLATE: "its message could not be made",
    Reason.MAX_AGE: "too old to try again",
    Reason.MAX_ATTEMPTS: "tried as often as it may be",
    Reason.EXPIRED: "still pending when it was too old to keep",
    Reason.SUPERSEDED: "made needless by what came after it",
    Reason.CANCELLED: "by hand",
}

WAITS = {
    "under way": "an attempt is being made",
    "due": "due as soon as there is room",
    "breaker": "failing, breaker open: waits for the next probe to succeed",
    "slowed": "its destination asked for a pause",
    "retrying": "tried again",
    "held": "held back: not told at all if its line turns good",
    "gathering": "told together with others",
    "paused": "waits until the destination is resumed",
    "removed": "waits: the destination is not configured",
}


_MARKS: dict[Result, Mark] = {Result.OK: "ok", Result.LOST: "warn"}

LOST = "cut short when the relay ended; it may have arrived"
"""Of an attempt whose end nobody saw."""

AT_ONCE = timedelta(seconds=5)
"""A delivery made within this came of the event's own arrival: that needs no line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One thing that happened, or will."""

    at: datetime
    mark: Mark
    what: str
    destination: str | None = None
    delivery: str | None = None
    detail: str | None = None  #: from outside
    excerpt: str | None = None  #: from outside
    ahead: bool = False
    under_way: bool = False  #: then `at` is when it ends at the latest
    probe: bool = False  #: then `at` is when its destination is next tried at all


def timeline(event: EventWhole) -> list[Moment]:
    """Return all of it, the earliest first; what is still to come stands last."""
    found = [*_arrivals(event)]
    for delivery in event.log:
        found += _moments(delivery)
    return sorted(found, key=lambda each: (each.ahead, each.at))


def of_delivery(delivery: DeliveryWhole) -> list[Moment]:
    """Return what became of one delivery."""
    return sorted(_moments(delivery), key=lambda each: (each.ahead, each.at))


def _arrivals(event: EventWhole) -> Iterator[Moment]:
    if event.source == RELAY:
        what = f"made by the relay, {size(event.size)}; told where notify says"
        yield Moment(at=event.received_at, mark="in", what=what)
        return
    yield Moment(
        at=event.received_at,
        mark="in",
        what=f"arrived at {event.source}, {size(event.size)}, signature verified and stored"
        if any(name.lower() == "circleci-signature" for name, _ in event.headers)
        else f"arrived at {event.source}, {size(event.size)}, stored",
    )
    matched = [each for each in event.verdicts if each.matched]
    if event.verdicts:
        names = ", ".join(each.route for each in matched)
        what = f"{some(len(matched), 'route')} matched: {names}" if matched else "no route matched"
        yield Moment(at=event.received_at, mark="ok" if matched else "off", what=what)
    repeats = event.repeats
    if repeats.count and repeats.first_at is not None:
        other = f", {repeats.conflicts} of them with other bytes" if repeats.conflicts else ""
        yield Moment(
            at=repeats.first_at,
            mark="warn" if repeats.conflicts else "off",
            what=f"came again, {some(repeats.count, 'time')} in all{other}; not delivered again",
        )
        if repeats.last_at is not None and repeats.last_at != repeats.first_at:
            yield Moment(at=repeats.last_at, mark="off", what="came again for the last time")


def _moments(delivery: DeliveryWhole) -> Iterator[Moment]:
    moment = partial(Moment, destination=delivery.destination, delivery=delivery.id)
    if delivery.replay_of or delivery.job or delivery.created_at - delivery.received_at > AT_ONCE:
        what = "replay made" if delivery.replay_of or delivery.job else "delivery made"
        yield moment(at=delivery.created_at, mark="in", what=what)
    for attempt in delivery.log:
        yield moment(
            at=attempt.started_at,
            mark=_MARKS.get(attempt.result, "bad"),
            what=_tried(attempt),
            detail=None if attempt.result is Result.LOST else attempt.error,
            excerpt=attempt.excerpt or None,
        )
    why = f": {WHY[delivery.reason]}" if delivery.reason else ""
    if delivery.state is State.PENDING:
        waiting = WAITS.get(delivery.waiting or "", "pending")
        ahead = delivery.due_at or delivery.created_at
        under_way = delivery.waiting == "under way"
        probe = delivery.waiting == "breaker"
        yield moment(
            at=ahead, mark="wait", what=waiting, ahead=True, under_way=under_way, probe=probe
        )
    elif delivery.settled_at is None:
        return
    elif delivery.state is State.DEAD:
        replayed = ", and replayed since" if delivery.replayed_by else ""
        yield moment(at=delivery.settled_at, mark="bad", what=f"given up{why}{replayed}")
    elif delivery.state is State.CANCELLED:
        yield moment(at=delivery.settled_at, mark="off", what=f"cancelled{why}")
    elif not delivery.log:
        yield moment(at=delivery.settled_at, mark="ok", what="delivered")


def _tried(attempt: Attempt) -> str:
    status = f", status {attempt.status}" if attempt.status else ""
    took = span(attempt.duration)
    if attempt.result is Result.OK:
        return f"delivered with attempt {attempt.number}{status}, {took}"
    if attempt.result is Result.LOST:
        return f"attempt {attempt.number} was {LOST}"
    return f"attempt {attempt.number} failed: {result_words(attempt.result)}{status}, {took}"


def waiting_words(waiting: str) -> str:
    """Return in a word or two what a delivery waits for."""
    told = {"breaker": "failing, breaker open", "slowed": "asked to wait"}
    return told.get(waiting, waiting)


def result_words(result: Result) -> str:
    """Return an attempt's result in words."""
    return "cut short" if result is Result.LOST else result.value.replace("_", " ")
