"""How things stand: destinations, charts, what is wrong, what went along the routes."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from circleci_relay.console.shapes.base import Shape

Span = Literal["hour", "day", "week"]


class Quantiles(Shape):
    """How a destination did over a time; None where nothing was attempted."""

    attempts: int
    delivered: int
    dead: int
    success_rate: float | None
    """Attempts that succeeded, of all, in [0, 1]."""
    p50: float | None
    p95: float | None
    """Seconds an attempt took; read off a histogram, good to about a fifth."""


class DestinationState(Shape):
    """A destination as it stands now."""

    name: str
    configured: bool
    url: str | None
    """Without path and query."""
    state: Literal["ok", "failing", "open", "held", "paused", "removed"]
    """`open`: its breaker; `held`: it asked for a pause (Retry-After)."""
    paused: bool
    paused_by: str | None
    """Who paused it; `relay.yaml` where the file says so."""
    paused_at: datetime | None
    paused_why: str | None
    breaker_open: bool
    held_until: datetime | None
    probe_at: datetime | None = None
    """While its breaker is open: when it is next tried at all, by this process."""
    backlog: int
    oldest: datetime | None
    dead: int
    hour: Quantiles
    day: Quantiles
    spark: list[int]
    """Deliveries that succeeded over the last hour, five minutes each, the oldest first."""
    spark_failed: list[int]
    """Attempts that failed, likewise."""


class Destinations(Shape):
    """All destinations, those that were removed and still have something pending included."""

    items: list[DestinationState]


class Series(Shape):
    """One curve of a chart: a count for each step."""

    name: str
    counts: list[int]


class Chart(Shape):
    """Counts over a time, in equal steps; the last step is the one under way."""

    span: Span
    begins_at: datetime
    step: int
    """Seconds."""
    series: list[Series]


class Trouble(Shape):
    """Something that is wrong now."""

    level: Literal["bad", "warn"]
    subject: str
    """A destination, a source, `store` or `config`."""
    text: str
    since: datetime | None
    """To the minute: it may have begun within it."""
    link: str | None
    """A path of the page."""


class Overview(Shape):
    """The first page."""

    span: Span
    troubles: list[Trouble]
    events: Chart
    """By result: accepted, duplicate, conflict, rejected."""
    deliveries: Chart
    """By how they ended: delivered, dead, cancelled."""
    destinations: list[DestinationState]
    last_event_at: datetime | None
    version: str
    started_at: datetime


class RouteCount(Shape):
    """What went along an arrow over the last day."""

    source: str | None
    route: str | None
    destination: str | None
    count: int


class Routes(Shape):
    """The configuration in force, and what went along it."""

    config: dict[str, Any]
    """Masked: sources, routes, destinations, labels."""
    digest: str
    restart_required: list[str]
    warnings: list[str]
    counts: list[RouteCount]
    """source and route: events of the source that the route took; route and destination:
    deliveries made. Over the last day, or as far as was looked (`counted_from`)."""
    counted_from: datetime | None


class Alert(Shape):
    """Something an operator is told of, once when it starts and once when it ends."""

    rule: Literal["failing", "dead_letters", "store_full", "silent"]
    subject: str
    since: datetime
    """To the minute: it may have begun within it."""
    text: str
    """As it stands now."""
    told: bool


class Alerts(Shape):
    """What is wrong enough to be told; under way only."""

    items: list[Alert]
    to: list[str]
    """Where they go: `notify.to`."""
