"""
Rows of the store as the answers show them: words for people, instants as times, no secret.

Whatever came from outside goes through `redact`: a secret may be known by now that was not when
it was stored. Bodies alone do not; they are CircleCI's own, and their signature covers each byte.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from circleci_relay.circleci.payload import clean
from circleci_relay.console.cursors import moment, moment_or_none
from circleci_relay.console.shapes import (
    Attempt,
    Delivery,
    DeliveryBrief,
    DeliveryLine,
    DeliveryWhole,
    EventBrief,
    Waiting,
)
from circleci_relay.model import SECOND, Reason, Result, State
from circleci_relay.rendering import words
from circleci_relay.store.encode import facts_of, parse
from circleci_relay.store.encode import text as json_text

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from typing import Literal

    from circleci_relay.delivery.lane import LaneState
    from circleci_relay.model import Facts, Micros
    from circleci_relay.store.log.deliveries import OneAttempt, OneDelivery, Titled
    from circleci_relay.store.log.events import Brief, OneEvent

    Outcome = Literal["good", "bad", "other"]

RESULTS: Final = {each.value: each for each in Result}
REASONS: Final = {each.value: each for each in Reason}


@dataclass(frozen=True, slots=True, kw_only=True)
class Showing:
    """
    Makes shapes of rows.

    *configured* says of each destination whether relay.yaml pauses it, *lanes* how it stands.
    """

    redact: Callable[[str], str]
    configured: Callable[[], Mapping[str, bool]]
    lanes: Callable[[], Mapping[str, LaneState]] = dict

    # Events

    def brief(self, event: OneEvent, deliveries: Sequence[Brief]) -> EventBrief:
        """Return an event in a list."""
        return EventBrief(**self.brief_parts(event, deliveries))

    def brief_parts(
        self, event: OneEvent, deliveries: Sequence[Brief | OneDelivery]
    ) -> dict[str, Any]:
        """Return what a brief and a whole event have in common."""
        stored = self.facts_text(event.facts)
        facts = facts_of(stored)
        title, outcome = _said(facts)
        return {
            "id": event.public_id,
            "circleci_id": self.text(event.id),
            "source": event.source,
            "type": facts.type,
            "received_at": moment(event.received_at),
            "title": title,
            "outcome": outcome,
            "facts": parse(stored),
            "duplicates": event.duplicates,
            "conflicts": event.conflicts,
            "routes": list(event.routes),
            "deliveries": [
                DeliveryBrief(
                    id=str(each.key),
                    destination=each.destination,
                    state=State(each.state),
                    replay=each.replay_of is not None or each.job is not None,
                    replayed=each.replayed_by is not None,
                )
                for each in deliveries
            ],
        }

    def facts_text(self, stored: str) -> str:
        """Return stored facts without secrets, as JSON."""
        if self.redact(stored) == stored:
            return stored
        told = {
            name: self.text(value) if isinstance(value, str) else value
            for name, value in parse(stored).items()
        }
        return json_text(told)

    # Deliveries

    def delivery(
        self, row: OneDelivery, *, event: str, now: Micros, paused: Collection[str]
    ) -> Delivery:
        """Return a delivery; *event* is its event's id, *paused* are those an operator paused."""
        return Delivery(**self._parts(row, event, now, paused))

    def line(
        self, row: OneDelivery, event: Titled | OneEvent, *, now: Micros, paused: Collection[str]
    ) -> DeliveryLine:
        """Return a delivery in a list."""
        return DeliveryLine(**self._line_parts(row, event, now, paused))

    def whole(
        self,
        row: OneDelivery,
        event: Titled | OneEvent,
        attempts: Sequence[OneAttempt],
        *,
        now: Micros,
        paused: Collection[str],
    ) -> DeliveryWhole:
        """Return a delivery and its attempts."""
        parts = self._line_parts(row, event, now, paused)
        return DeliveryWhole(**parts, log=[self._attempt(each) for each in attempts])

    def _line_parts(
        self, row: OneDelivery, event: Titled | OneEvent, now: Micros, paused: Collection[str]
    ) -> dict[str, Any]:
        facts = facts_of(self.facts_text(event.facts))
        title, outcome = _said(facts)
        return {
            **self._parts(row, event.public_id, now, paused),
            "title": title,
            "outcome": outcome,
            "pipeline_number": facts.pipeline_number,
            "revision": facts.revision,
            "received_at": moment(event.received_at),
        }

    def _parts(
        self, row: OneDelivery, event: str, now: Micros, paused: Collection[str]
    ) -> dict[str, Any]:
        waiting, due_at = None, None
        if row.state == State.PENDING:
            waiting, due_at = self.waiting(row, now=now, paused=paused)
        return {
            "id": str(row.key),
            "event": event,
            "destination": row.destination,
            "state": State(row.state),
            "waiting": waiting,
            "due_at": moment_or_none(due_at),
            "attempts": row.attempts,
            "created_at": moment(row.created_at),
            "settled_at": moment_or_none(row.settled_at),
            "reason": REASONS.get(row.reason or ""),
            "last_result": RESULTS.get(row.last_result or ""),
            "last_status": row.last_status,
            "last_error": None if row.last_error is None else self.text(row.last_error),
            "webhook_id": row.webhook_id or f"{event}-{row.destination}",
            "replay_of": _id(row.replay_of),
            "replayed_by": _id(row.replayed_by),
            "job": row.job,
            "together_with": _id(None if row.leader == row.key else row.leader),
        }

    def waiting(
        self, row: OneDelivery, *, now: Micros, paused: Collection[str]
    ) -> tuple[Waiting, Micros | None]:
        """Say what a pending delivery waits for, and until when."""
        later = row.due_at is None or row.due_at > now
        if row.token is not None and later:
            return "under way", row.due_at
        by_file = self.configured().get(row.destination)
        if by_file is None:
            return "removed", row.due_at
        if by_file or row.destination in paused:
            return "paused", row.due_at
        if later and not row.attempts:
            first = row.line is not None and row.leader is None
            return "held" if first else "gathering", row.due_at
        return self._kept(row) or ("retrying" if later else "due", row.due_at)

    def _kept(self, row: OneDelivery) -> tuple[Waiting, Micros | None] | None:
        """What its destination keeps it waiting for, longer than it would wait by itself."""
        lane, due_at = self.lanes().get(row.destination), row.due_at
        if lane is None or due_at is None:
            return None
        if lane.probe_at is not None and due_at <= lane.probe_at:
            return "breaker", max(lane.probe_at, lane.held_until or 0)
        if lane.held_until is not None and due_at <= lane.held_until:
            return "slowed", lane.held_until
        return None

    def _attempt(self, row: OneAttempt) -> Attempt:
        return Attempt(
            number=row.number,
            started_at=moment(row.started_at),
            duration=row.duration / SECOND,
            result=RESULTS.get(row.result, Result.INTERNAL),
            status=row.status,
            error=None if row.error is None else self.text(row.error),
            excerpt=self.text((row.excerpt or b"").decode(errors="replace")),
        )

    def text(self, text: str) -> str:
        """Return a text from outside as it may be shown."""
        return self.redact(clean(text))

    def tree(self, value: Any) -> Any:
        """Return what stands in JSON of our own as it may be shown."""
        if isinstance(value, Mapping):
            return {str(name): self.tree(each) for name, each in value.items()}
        if isinstance(value, list):
            return [self.tree(each) for each in value]
        return self.text(value) if isinstance(value, str) else value


def titled(stored: str) -> tuple[str, Outcome]:
    """Return one plain line on facts as they are stored, and how it ended."""
    return _said(facts_of(stored))


def _said(facts: Facts) -> tuple[str, Outcome]:
    return words.title(facts), cast("Outcome", words.outcome(facts))


def _id(key: int | None) -> str | None:
    return None if key is None else str(key)
