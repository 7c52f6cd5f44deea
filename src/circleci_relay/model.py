"""
The records that pass between the parts: frozen, keyword-only, free of behaviour.

Instants are whole microseconds since the Unix epoch, UTC (`Micros`): both databases
keep and compare them exactly, and the hot path never builds a `datetime`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

Micros = int
"""An instant, or a span, in microseconds."""

SECOND: Micros = 1_000_000

RELAY = "relay"
"""The source of what the relay tells of itself; no source of a file may be called so."""


class EventType(StrEnum):
    """The types CircleCI documents. Others are taken in just the same."""

    WORKFLOW_COMPLETED = "workflow-completed"
    JOB_COMPLETED = "job-completed"
    PING = "ping"


ALERT = "relay-alert"
"""The type of what the relay tells of itself: no webhook, and nothing that is routed."""


class Change(StrEnum):
    """How an event compares with the last one of its line."""

    BROKEN = "broken"
    FIXED = "fixed"
    STILL_BROKEN = "still-broken"
    STILL_PASSING = "still-passing"


class State(StrEnum):
    """Where a delivery stands."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"
    CANCELLED = "cancelled"


class Result(StrEnum):
    """How one attempt ended; the closed set behind `attempts_total{result}`."""

    OK = "ok"
    REDIRECT = "redirect"
    CLIENT_ERROR = "client_error"
    THROTTLED = "throttled"
    SERVER_ERROR = "server_error"
    TIMEOUT = "timeout"
    CONNECTION = "connection"
    TLS = "tls"
    PROTOCOL = "protocol"
    TEMPLATE = "template"  #: the message could not be made; nothing was sent
    LOST = "lost"
    INTERNAL = "internal"


class Reason(StrEnum):
    """Why a delivery is dead, or cancelled."""

    REFUSED = "refused"  #: a status in `dead_on`, or what a broker will never take
    TEMPLATE = "template"  #: its message could not be made
    MAX_AGE = "max_age"
    MAX_ATTEMPTS = "max_attempts"
    EXPIRED = "expired"  #: still pending at `keep`
    SUPERSEDED = "superseded"  #: cancelled: what came after it made it needless
    CANCELLED = "cancelled"  #: cancelled: an operator said so


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing wrong with the configuration, and where."""

    file: str
    line: int  #: from 1; 0 where there is no place in the file
    column: int  #: from 1
    path: str  #: dotted path of the key
    message: str  #: what is wrong, and what would be right

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{place}: {self.path}: {self.message}" if self.path else f"{place}: {self.message}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """
    What routing and people need, read from any payload shape.

    Absent is None; an empty string counts as absent and never stands here. Surrogates
    and NUL are replaced, so RE2 and both databases take every string.
    """

    type: str
    status: str | None = None
    project: str | None = None  #: the slug
    project_name: str | None = None
    project_id: str | None = None
    organization: str | None = None  #: the name
    organization_id: str | None = None
    workflow: str | None = None
    job: str | None = None
    branch: str | None = None
    tag: str | None = None
    revision: str | None = None
    provider: str | None = None
    trigger: str | None = None
    pipeline_number: int | None = None
    subject: str | None = None
    author: str | None = None
    url: str | None = None
    change: Change | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One webhook exactly as CircleCI sent it."""

    public_id: str  #: the relay's own id, a ULID: what a 202 names
    source: str
    id: str  #: CircleCI's id; unique within the source
    type: str
    received_at: Micros
    body: bytes  #: the signed bytes; never parsed and encoded again
    headers: tuple[tuple[str, str], ...]  #: those that are forwarded, names in lower case
    facts: Facts  #: without `change`, which the accepting transaction adds


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What is compared over time: a project's workflow, or a job of it, on a branch."""

    source: str
    project: str
    workflow: str
    job: str  #: "" for the workflow itself
    branch: str


@dataclass(slots=True, kw_only=True)  # not frozen: that would be three times as dear
class History:
    """
    Where an event's line stands with it, and where it stood before.

    Stored as JSON of the fields that are not None; instants in microseconds.
    """

    line: str  #: what stands for the line, hexadecimal; the same for all its events
    good: bool | None = None  #: None until something on it was good or bad
    since: Micros | None = None  #: when it came to stand so
    streak: int | None = None  #: how many events in a row stood so, this one included
    before_good: bool | None = None
    before_since: Micros | None = None
    before_streak: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Quiet:
    """How a delivery waits for what may make it needless."""

    hold: Micros = 0  #: told after this, unless its line turned good meanwhile
    once: str | None = None  #: what is told once: a later one takes an earlier one's place
    rank: int = 0  #: one of a lower rank does not take a higher one's place
    group: str | None = None  #: what it is told together with
    wait: Micros = 0  #: for how long others of the same `once` or `group` are waited for
    most: int = 0  #: so many of a group are told at once, without waiting further


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What routing made of one event."""

    routes: tuple[str, ...]  #: the names of the routes that matched, in file order
    destinations: tuple[str, ...]  #: each once, in the order first named
    quiet: Mapping[str, Quiet] = field(default_factory=dict)  #: of destinations that wait


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """An event on its way into the store, and how to route it once its change is known."""

    event: Event
    line: Line | None
    good: bool | None  #: the event's outcome on its line; None changes nothing
    choose: Callable[[Change | None], Choice]  #: pure; called inside the transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """What the store says once the transaction is durable."""

    event: str  #: the public id of the stored event
    duplicate: bool = False
    conflict: bool = False  #: a duplicate whose bytes differ from those stored
    change: Change | None = None
    choice: Choice | None = None  #: None for a duplicate


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """An event as those who tell of it need it; its texts are read only where one does."""

    event: str  #: public id
    source: str
    body: bytes
    received_at: Micros
    facts: str  #: JSON: the facts that are not absent, with `change`
    history: str | None = None  #: JSON: see `History`; None where the event has no line


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One delivery in this process's hands for one attempt."""

    delivery: int
    token: int
    destination: str
    attempt: int  #: counts from 1
    event: str  #: public id
    source: str
    webhook_id: str
    body: bytes
    headers: tuple[tuple[str, str], ...]
    received_at: Micros
    aged_from: Micros  #: on the destination's own clock, which stops while it is removed
    lease_until: Micros
    facts: str = "{}"  #: as in `Told`
    history: str | None = None  #: as in `Told`
    group: int | None = None  #: what those told together with it have in common
    others: tuple[Told, ...] = ()  #: the events told together with it, in the order they came
    replay: bool = False  #: made long after the event came

    @property
    def size(self) -> int:
        """Bytes of the bodies of all that it tells of."""
        return len(self.body) + sum(len(other.body) for other in self.others)

    @property
    def told(self) -> tuple[Told, ...]:
        """All the events it tells of, in the order they came; its own is the first."""
        own = Told(
            event=self.event,
            source=self.source,
            body=self.body,
            received_at=self.received_at,
            facts=self.facts,
            history=self.history,
        )
        return (own, *self.others)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How one attempt ended; an expected failure is a value."""

    result: Result
    started_at: Micros
    duration: Micros
    status: int | None = None
    error: str | None = None  #: without secrets
    excerpt: bytes = b""  #: the first 4 KiB of the response
    retry_after: float | None = None  #: seconds the destination asked for
    final: bool = False  #: no other attempt could end better


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What becomes of a delivery after an attempt."""

    state: State  #: PENDING means another attempt after `delay`
    delay: float = 0.0  #: seconds
    reason: Reason | None = None  #: why it is dead


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """An attempt's end, on its way into the store."""

    claim: Claim
    outcome: Outcome
    decision: Decision


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """What waits at one destination."""

    pending: int
    oldest: Micros | None  #: when the oldest pending one was created
    dead: int


Payload = Mapping[str, Any]
"""A parsed body."""
