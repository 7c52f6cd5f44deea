"""
What the API is asked, checked: query parameters and bodies, the page's forms alike.

A time is RFC 3339 (`2026-01-31T03:00:00Z`), a date (`2026-01-31`: its midnight, UTC) or how long
ago it was (`90m`, `3d`).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    StringConstraints,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
)

from circleci_relay.console.given import Given
from circleci_relay.console.shapes import JobState, Span
from circleci_relay.model import Change, Reason, Result, State

_AGO = re.compile(r"([0-9]{1,6})(s|m|h|d)")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_MOST_AGO = 3650 * 86_400

TIMES = "2026-01-31T03:00:00Z, 2026-01-31, or how long ago: 90m, 3d"
"""How a time is written, for whoever wrote it otherwise."""


def _instant(value: Any) -> Any:
    """Leave it to pydantic unless it is a date, or says how long ago."""
    if not isinstance(value, str):
        if isinstance(value, datetime) or value is None:
            return value
        raise ValueError(f"should be {TIMES}")
    found = _AGO.fullmatch(value.strip())
    if found is not None:
        seconds = min(int(found[1]) * _SECONDS[found[2]], _MOST_AGO)
        return datetime.now(UTC) - timedelta(seconds=seconds)
    return f"{value.strip()}T00:00:00Z" if _DAY.fullmatch(value.strip()) else value


def _written(value: Any, read: ValidatorFunctionWrapHandler) -> datetime:
    """Say of what cannot be read how it could be."""
    try:
        found: datetime = read(value)
    except ValidationError:
        raise ValueError(f"should be {TIMES}") from None
    return found


def _aware(value: datetime) -> datetime:
    return value if value.tzinfo is not None else value.replace(tzinfo=UTC)


Text = Annotated[str, StringConstraints(min_length=1, max_length=500)]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
Key = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,19}$")]
"""A delivery's id."""
Id = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Cursor = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.~-]{1,200}$")]
Time = Annotated[
    datetime,
    BeforeValidator(_instant),
    WrapValidator(_written),
    AfterValidator(_aware),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "format": "date-time"},
                {"type": "string", "format": "date"},
                {"type": "string", "pattern": "^[0-9]{1,6}[smhd]$"},
            ]
        }
    ),
]
Limit = Annotated[int, Field(ge=1, le=200)]
IdempotencyKey = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.:-]{8,100}$")]

Outcome = Literal["unmatched", "duplicate", "conflict", "dead", "delivered", "pending"]


class Request(Given):
    """What is asked; unknown names are refused."""


class Facts(Request):
    """Facts that must be exactly so; `project` takes slug, name or id."""

    source: Name | None = None
    type: Text | None = None
    status: Text | None = None
    project: Text | None = None
    organization: Text | None = None
    workflow: Text | None = None
    job: Text | None = None
    branch: Text | None = None
    tag: Text | None = None
    revision: Text | None = None
    """A whole revision, or its beginning."""
    provider: Text | None = None
    trigger: Text | None = None
    pipeline_number: Annotated[int, Field(ge=0, lt=2**53)] | None = None
    author: Text | None = None
    change: Change | None = None
    text: Text | None = None
    """Each word of it stands somewhere in the facts, the title or an id, whatever its case."""
    since: Time | None = None
    until: Time | None = None


class EventQuery(Facts):
    """Which events to list."""

    id: Id | None = None
    """The relay's id, or CircleCI's."""
    outcome: Outcome | None = None
    """unmatched: no route took it; duplicate: it came again; conflict: with other bytes; dead: a
    delivery of it is, and was not replayed; delivered: one is, and none is pending or dead;
    pending: at least one is."""
    destination: Name | None = None
    """Events with a delivery there."""
    limit: Limit = 50
    before: Cursor | None = None


class DeliveryQuery(Request):
    """Which deliveries to list."""

    destination: Name | None = None
    state: State | None = None
    reason: Reason | None = None
    result: Result | None = None
    """Of the last attempt."""
    status: Annotated[int, Field(ge=100, le=599)] | None = None
    error: Text | None = None
    """Somewhere in the last error, whatever its case."""
    replayed: bool | None = None
    """Of dead ones: whether they were replayed."""
    job: Id | None = None
    since: Time | None = None
    until: Time | None = None
    """When they were made."""
    limit: Limit = 50
    before: Cursor | None = None


class DeadQuery(Request):
    """Which dead letters to group."""

    destination: Name | None = None
    since: Time | None = None
    until: Time | None = None
    """When they died."""


class OverviewQuery(Request):
    """What the first page shows."""

    span: Span = "hour"


class ListQuery(Request):
    """Any other list."""

    limit: Limit = 50
    before: Cursor | None = None


class JobQuery(ListQuery):
    """Which jobs to list."""

    state: JobState | None = None


class RejectQuery(ListQuery):
    """Which rejects to list."""

    source: Name | None = None
    reason: Literal["unauthorized", "malformed", "too_large"] | None = None


class StreamQuery(Request):
    """What of the stream to hear of."""

    source: Name | None = None
    destination: Name | None = None
    kind: Literal["event", "attempt"] | None = None


# Repair


class ReplayOne(Request):
    """How to replay one delivery."""

    new_id: bool = False
    """Under a webhook-id of its own, so that a receiver that deduplicates takes it as new."""
    again: bool = False
    """Even if one for the same event and destination is already waiting."""


class ReplayEvent(ReplayOne):
    """How to replay one event."""

    destinations: Annotated[list[Name], Field(min_length=1, max_length=200)] | None = None
    """Where to, whatever the routes say; else to all that it went to."""


class Selection(Request):
    """
    Which deliveries a bulk job concerns; without any of these, it is refused.

    A replay takes what is dead, unless `state`, `reason` or `deliveries` says otherwise: what was
    delivered only where `state` asks for it, and never what is dead and was replayed. Through the
    routes as they are now it takes events; where anything is said of deliveries (`destination`
    among it), those that have such a delivery.
    """

    deliveries: Annotated[list[Key], Field(min_length=1, max_length=1000)] | None = None
    """Just these."""
    destination: Name | None = None
    state: State | None = None
    reason: Reason | None = None
    result: Result | None = None
    status: Annotated[int, Field(ge=100, le=599)] | None = None
    error: Text | None = None
    """Somewhere in the last error, whatever its case."""
    last_error: Annotated[str, StringConstraints(max_length=200)] | None = None
    """Exactly the last error, as `/dead` groups by it; empty: there was none."""
    source: Name | None = None
    type: Text | None = None
    project: Text | None = None
    branch: Text | None = None
    since: Time | None = None
    until: Time | None = None
    """When the delivery was made; through the routes as they are now: when the event came."""


class BulkReplay(Request):
    """Replay everything that a filter selects."""

    select: Selection
    routes: Literal["then", "now"] = "then"
    """`then`: each delivery selected, once more to its destination. `now`: each event selected,
    to where the routes in force send it and where it has not been delivered nor is pending.
    What was superseded there counts as delivered, unless that is what is selected."""
    to: Annotated[list[Name], Field(min_length=1, max_length=200)] | None = None
    """With `now`: only to these."""
    new_id: bool = False
    rate: Annotated[float, Field(gt=0, le=10_000)] | None = None
    """Replays a second; null: as fast as the destinations take them."""
    dry_run: bool = True
    """Count, and change nothing: the default, since a replay cannot be taken back."""
    idempotency_key: IdempotencyKey | None = None
    """Needed unless it is a dry run, whose answer has one; asked for again under the same key,
    the same job is answered. 8 to 100 of the letters A to Z and a to z, digits, `_` `.` `:` `-`."""


class BulkCancel(Request):
    """Cancel everything pending that a filter selects."""

    select: Selection
    dry_run: bool = True
    idempotency_key: IdempotencyKey | None = None
    """As of a replay: 8 to 100 of the letters A to Z and a to z, digits, `_` `.` `:` `-`."""


class Pause(Request):
    """Why a destination is paused."""

    why: Annotated[str, StringConstraints(max_length=200)] | None = None


class Retry(Request):
    """What is made due."""

    held: bool = False
    """Also what waits for its line to turn good, or to be told with others."""


class Recheck(Request):
    """Which rejects to check again; all of a source, or just some."""

    source: Name | None = None
    ids: Annotated[list[Id], Field(min_length=1, max_length=200)] | None = None
    before: Cursor | None = None


class Nothing(Request):
    """No body, or an empty object."""


# Trials


FileName = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class ProposedFiles(Request):
    """A proposed configuration: texts by file name. Nothing in them is interpolated."""

    config: Annotated[str, StringConstraints(max_length=1 << 20)] | None = None
    """One relay.yaml."""
    files: (
        Annotated[
            dict[
                Annotated[str, StringConstraints(max_length=200)],
                Annotated[str, StringConstraints(max_length=1 << 20)],
            ],
            Field(max_length=64),
        ]
        | None
    ) = None
    """Or several, by name."""


class BacktestRequest(ProposedFiles):
    """A proposed configuration, and the period to hold it against."""

    since: Time | None = None
    until: Time | None = None
    before: Cursor | None = None
    """From the answer before, to go on."""
    limit: Annotated[int, Field(ge=1, le=5000)] = 2000
    """Events to look at in this call."""


class ExplainRequest(ProposedFiles):
    """A payload or a stored event, and optionally a proposed configuration."""

    event: Id | None = None
    payload: Annotated[str, StringConstraints(max_length=1 << 20)] | None = None
    """A webhook's body, as text."""
    source: Name | None = None
    change: Change | None = None
