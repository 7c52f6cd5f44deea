"""Events, their deliveries and attempts, and what is dead."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from circleci_relay.console.shapes.base import Page, Shape
from circleci_relay.model import Reason, Result, State

Waiting = Literal[
    "under way",  #: an attempt is being made, or its lease has not run out
    "due",  #: as soon as its destination has room
    "breaker",  #: for its destination's breaker, which lets a probe through at `due_at`
    "slowed",  #: until `due_at`: its destination asked for a pause (Retry-After)
    "retrying",  #: after a failed attempt
    "held",  #: for its line to turn good
    "gathering",  #: told once, or together with others, when they have come
    "paused",  #: its destination takes nothing now
    "removed",  #: its destination is not configured
]


class DeliveryBrief(Shape):
    """One delivery in an event's line."""

    id: str
    destination: str
    state: State
    replay: bool = False
    replayed: bool = False


class EventBrief(Shape):
    """An event in a list."""

    id: str
    """The relay's own id."""
    circleci_id: str
    source: str
    type: str
    received_at: datetime
    title: str
    """One plain line: "acme/api: workflow build failed on main"."""
    outcome: Literal["good", "bad", "other"]
    facts: dict[str, Any]
    """Those that are not absent, `change` among them."""
    duplicates: int
    conflicts: int
    routes: list[str]
    """The routes that matched when it came."""
    deliveries: list[DeliveryBrief]


class Events(Page):
    """Events, newest first."""

    items: list[EventBrief]


class RouteVerdict(Shape):
    """What one route said of an event, and why."""

    route: str
    matched: bool
    reason: str
    to: list[str]


class Duplicates(Shape):
    """How often an event came again."""

    count: int
    conflicts: int
    """Of these, how many had other bytes."""
    first_at: datetime | None
    last_at: datetime | None


class LineStanding(Shape):
    """Where the event's line stood with it, and before it."""

    good: bool | None = None
    since: datetime | None = None
    streak: int | None = None
    before_good: bool | None = None
    before_since: datetime | None = None
    before_streak: int | None = None


class Attempt(Shape):
    """One try of one delivery."""

    number: int
    started_at: datetime
    duration: float
    result: Result
    status: int | None
    error: str | None
    excerpt: str
    """The start of what the destination answered, as text; bytes that are none replaced."""


class Delivery(Shape):
    """One event owed to one destination."""

    id: str
    event: str
    destination: str
    state: State
    waiting: Waiting | None
    """What a pending one waits for."""
    due_at: datetime | None
    """When the next attempt is due, or the lease of the one under way ends."""
    attempts: int
    created_at: datetime
    settled_at: datetime | None
    reason: Reason | None
    last_result: Result | None
    last_status: int | None
    last_error: str | None
    webhook_id: str
    replay_of: str | None
    """The delivery that this one replays."""
    replayed_by: str | None
    """The newest replay of this one, if it was dead."""
    job: str | None
    """The bulk job that made it."""
    together_with: str | None
    """The delivery under whose attempts it is told, where several are told as one."""


class DeliveryLine(Delivery):
    """A delivery in a list, with what its event was about."""

    title: str
    outcome: Literal["good", "bad", "other"]
    received_at: datetime
    pipeline_number: int | None = None
    revision: str | None = None
    """The commit, whole."""


class DeliveryWhole(DeliveryLine):
    """A delivery and all its attempts."""

    log: list[Attempt]


class Deliveries(Page):
    """Deliveries, newest first."""

    items: list[DeliveryLine]


class EventWhole(EventBrief):
    """Everything known of one event."""

    headers: list[tuple[str, str]]
    body: str
    """As text; bytes that are none replaced. `/events/ID/body` has the very bytes."""
    payload: Any
    """The parsed body, for reading: depth and length cut where they are excessive."""
    size: int
    repeats: Duplicates
    line: LineStanding | None
    verdicts: list[RouteVerdict]
    """Each route's verdict as it was when the event came."""
    verdicts_note: str | None = None
    """Why there are none, or what is uncertain about them."""
    config_digest: str | None
    log: list[DeliveryWhole]
    """Its deliveries, replays included, the oldest first."""


class DeadGroup(Shape):
    """Dead deliveries that died alike: of one destination, for one reason."""

    destination: str
    reason: Reason | None
    result: Result | None
    status: int | None
    error: str | None
    """The last error, the same in all; cut to 200 characters."""
    count: int
    oldest: datetime
    newest: datetime
    """When the first and last of them died."""


class Dead(Shape):
    """All that is dead and not replayed, grouped."""

    groups: list[DeadGroup]
    total: int
    partial: bool
    """Whether there were too many to look at: then counts are lower bounds."""
