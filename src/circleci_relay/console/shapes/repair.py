"""What was repaired, or would be: replays, bulk jobs, who did what."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from circleci_relay.console.shapes.base import Page, Shape
from circleci_relay.console.shapes.log import Delivery, DeliveryLine

JobState = Literal["running", "done", "cancelled", "failed"]


class Made(Shape):
    """What a replay or cancellation of one thing did."""

    deliveries: list[Delivery]


class Due(Shape):
    """What a retry did."""

    due: int
    """Deliveries that wait there and are tried now, those that were due already included; where
    the destination is paused, once it is resumed."""


class Preview(Shape):
    """What a bulk job would do: nothing is changed."""

    count: int
    partial: bool
    """Whether the count is a lower bound: looking further took too long."""
    by_destination: dict[str, int]
    examples: list[DeliveryLine]
    idempotency_key: str
    """Give it with the job itself, so that it runs once however often it is asked for."""


class Job(Shape):
    """A replay or cancellation of many deliveries, step by step."""

    id: str
    kind: Literal["replay", "cancel"]
    state: JobState
    request: dict[str, Any]
    created_at: datetime
    created_by: str
    expected: int | None
    looked: int
    made: int
    skipped: int
    progress: float | None
    """Of what is to be looked at, in [0, 1]; None where that is not known."""
    finished_at: datetime | None
    ended_by: str | None
    error: str | None
    states: dict[str, int]
    """What became of the deliveries it made: how many in each state."""


class Jobs(Page):
    """Bulk jobs, newest first."""

    items: list[Job]


class Entry(Shape):
    """A line of the audit log."""

    id: str
    at: datetime
    who: str
    action: str
    target: str
    detail: dict[str, Any]


class Audit(Page):
    """Who did what, newest first."""

    items: list[Entry]
