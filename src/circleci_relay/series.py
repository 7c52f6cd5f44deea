"""The catalogue of the series: names, labels, help; the reference is generated from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from circleci_relay.model import EventType, Result, State

PREFIX = "circleci_relay_"

Kind = Literal["counter", "gauge", "histogram"]

OTHER = "other"
"""The label of every event type CircleCI does not document, and of those never learnt."""

TYPES = (*(str(known) for known in EventType), OTHER)
EVENT_RESULTS = (
    "accepted",
    "duplicate",
    "conflict",
    "unauthorized",
    "malformed",
    "too_large",
    "unavailable",
)
TYPELESS = frozenset({"unauthorized", "malformed", "too_large"})
"""Results that come before the type is known."""
DELIVERY_RESULTS = (State.DELIVERED, State.DEAD, State.CANCELLED)
RELOAD_RESULTS = ("reloaded", "unchanged", "failed")
REFUSALS = ("path", "method", "encoding", "http", "slow", "connections")

_FAST = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 9)
_ATTEMPT = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_DELIVERY = (0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 900, 3600, 21600, 86400, 259200)
_ITEMS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One series as the reference documents it; *name* is without the prefix."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    help: str
    buckets: tuple[float, ...] = ()
    values: str = ""  #: the closed set of a label's values, for people

    @property
    def full_name(self) -> str:
        """The name `/metrics` serves."""
        return PREFIX + self.name


def _series(
    kind: Kind,
    name: str,
    labels: str,
    text: str,
    *,
    values: str = "",
    buckets: tuple[float, ...] = (),
) -> Series:
    return Series(
        name=name,
        kind=kind,
        labels=tuple(labels.split()),
        help=text,
        buckets=buckets,
        values=values,
    )


SERIES: tuple[Series, ...] = (
    _series(
        "counter",
        "events_total",
        "source type result",
        "Webhooks that reached a source, by event type and what became of them.",
        values=f"type: {', '.join(TYPES)}; result: {', '.join(EVENT_RESULTS)}",
    ),
    _series(
        "counter",
        "requests_refused_total",
        "reason",
        "Requests to the hooks port that were refused before a source could judge them.",
        values=f"reason: {', '.join(REFUSALS)}",
    ),
    _series(
        "counter",
        "events_unmatched_total",
        "source",
        "Accepted events that no route sent anywhere.",
    ),
    _series("counter", "route_matches_total", "route", "Accepted events that the route matched."),
    _series(
        "histogram",
        "ack_duration_seconds",
        "source",
        "Seconds from the start of a request to its acknowledgement, 200 and 202 only.",
        buckets=_FAST,
    ),
    _series(
        "gauge",
        "source_last_event_timestamp_seconds",
        "source",
        "Unix time of the last event accepted; 0 before the first one since the start.",
    ),
    _series(
        "gauge",
        "secret_last_used_timestamp_seconds",
        "source secret",
        "Unix time of the last event this secret verified; 0 before the first one since the start.",
    ),
    _series(
        "counter",
        "deliveries_total",
        "destination result",
        "Deliveries that ended, by how they ended.",
        values=f"result: {', '.join(DELIVERY_RESULTS)}",
    ),
    _series(
        "counter",
        "attempts_total",
        "destination result",
        "Attempts that ended, by how they ended.",
        values=f"result: {', '.join(Result)}",
    ),
    _series(
        "histogram",
        "attempt_duration_seconds",
        "destination",
        "Seconds one attempt took, whatever its end.",
        buckets=_ATTEMPT,
    ),
    _series(
        "histogram",
        "delivery_duration_seconds",
        "destination",
        "Seconds from receiving an event to its delivery, retries and holds included, replays not.",
        buckets=_DELIVERY,
    ),
    _series(
        "gauge",
        "deliveries_pending",
        "destination",
        "Deliveries that are owed; those of a removed destination stay until nothing is.",
    ),
    _series("gauge", "deliveries_dead", "destination", "Dead deliveries not yet replayed."),
    _series(
        "gauge",
        "oldest_pending_seconds",
        "destination",
        "Age of the oldest delivery owed; 0 where none is.",
    ),
    _series(
        "gauge", "breaker_open", "destination", "1 while the breaker keeps attempts back, else 0."
    ),
    _series("gauge", "destination_paused", "destination", "1 while the destination is paused."),
    _series(
        "counter",
        "settles_fenced_total",
        "",
        "Attempts whose delivery was cancelled or in other hands by then: recorded, to no effect.",
    ),
    _series(
        "counter", "leases_lost_total", "", "Deliveries dropped because their lease would run out."
    ),
    _series(
        "histogram",
        "store_commit_duration_seconds",
        "",
        "Seconds one write transaction took, its fsync included.",
        buckets=_FAST,
    ),
    _series(
        "histogram",
        "store_commit_items",
        "",
        "Accepts, claims and settlements in one write transaction.",
        buckets=_ITEMS,
    ),
    _series("gauge", "store_size_bytes", "", "Size of the database."),
    _series(
        "gauge",
        "store_filled_ratio",
        "",
        "Used part of the file system that SQLite's file is on, or of `max_page_count`,"
        " whichever is more; 0 with PostgreSQL.",
    ),
    _series(
        "gauge",
        "ready",
        "",
        "1 while hooks should be sent here, as `/readyz` says: the store can be written, and the"
        " relay is not stopping.",
    ),
    _series(
        "gauge",
        "config_last_reload_successful",
        "",
        "1 if the configuration last read is the one in force, 0 if it was faulty.",
    ),
    _series(
        "gauge",
        "config_last_reload_success_timestamp_seconds",
        "",
        "Unix time the configuration in force was read.",
    ),
    _series(
        "counter",
        "config_reloads_total",
        "result",
        "Times the configuration was read again, by what came of it.",
        values=f"result: {', '.join(RELOAD_RESULTS)}",
    ),
    _series(
        "gauge",
        "config_restart_required",
        "",
        "1 if the configuration holds changes that only a restart brings into force.",
    ),
    _series(
        "gauge", "config_info", "hash", "1; the label is the digest of the configuration in force."
    ),
    _series("gauge", "build_info", "version", "1; the label is the version of circleci-relay."),
)


def documented() -> tuple[Series, ...]:
    """Return every series of the relay's own, in the order of the reference."""
    return SERIES


def type_label(event_type: str | None) -> str:
    """Return the label for *event_type*: itself if CircleCI documents it, else `other`."""
    return event_type if event_type in TYPES else OTHER


BY_NAME = {series.name: series for series in SERIES}
