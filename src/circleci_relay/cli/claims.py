"""Claims made up from payloads: what a delivery of one would hold, had it been stored."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Final

import click

from circleci_relay.circleci import payload as circleci
from circleci_relay.cli.payloads import headers_of
from circleci_relay.model import SECOND, Change, Claim, History, Micros, Told
from circleci_relay.ulid import Ulids

if TYPE_CHECKING:
    from collections.abc import Sequence

    from circleci_relay.config import Destination
    from circleci_relay.model import Facts, Line

STATUSES: Final = ("success", "failed", "error", "canceled", "unauthorized")
"""How workflows and jobs end."""

_HOUR: Final = 3600 * SECOND
_LEASE: Final = 3600 * SECOND

_HISTORIES: Final = {
    Change.BROKEN: History(
        line="",
        good=False,
        since=0,
        streak=1,
        before_good=True,
        before_since=-72 * _HOUR,
        before_streak=31,
    ),
    Change.FIXED: History(
        line="",
        good=True,
        since=0,
        streak=1,
        before_good=False,
        before_since=-2 * _HOUR,
        before_streak=4,
    ),
    Change.STILL_BROKEN: History(line="", good=False, since=-2 * _HOUR, streak=3),
    Change.STILL_PASSING: History(line="", good=True, since=-72 * _HOUR, streak=32),
}
"""What a line may well have behind it; instants as seen from the event."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What is said of an event's line before it, where anything is."""

    change: Change | None = None
    previous: str | None = None  #: the status that the line's last event had

    def before(self, source: str, facts: Facts) -> Change | None:
        """The change of an event, where it has a line and its outcome allows it."""
        good = circleci.is_good(facts)
        if good is None or circleci.line_of(source, facts) is None:
            return None
        if self.change is not None:
            return self.change if _HISTORIES[self.change].good == good else None
        if self.previous is None:
            return None
        return circleci.compare(circleci.is_good(replace(facts, status=self.previous)), good)


def told_of(
    body: bytes, *, source: str, past: Past, now: Micros, line_id: str | None = None
) -> Told:
    """
    An event as it would be told of, had *body* come in by *source* just now.

    *line_id* stands for the line's own. Raises `Malformed` for what the relay would not take.
    """
    facts = circleci.read_facts(circleci.parse(body))
    change = past.before(source, facts)
    known = {name: value for name, value in asdict(facts).items() if value is not None}
    if change is not None:
        known["change"] = change.value
    line = circleci.line_of(source, facts)
    history = None
    if line is not None:
        outcome = change, circleci.is_good(facts)
        history = _history(line_id or _id_of(line), *outcome, now)
    return Told(
        event=Ulids().next(now),
        source=source,
        body=body,
        received_at=now,
        facts=json.dumps(known),
        history=None if history is None else json.dumps(asdict(history)),
    )


def told_together(bodies: Sequence[bytes], *, source: str, past: Past, now: Micros) -> list[Told]:
    """Events as they would be told of together, a second after each other, the last one *now*."""
    last = len(bodies) - 1
    return [
        told_of(body, source=source, past=past, now=now - (last - number) * SECOND)
        for number, body in enumerate(bodies)
    ]


NO_CHANGE: Final = "(no change: its outcome or line does not allow it)"
"""What is said where `without_change` holds."""


def refuse_several(destination: Destination, bodies: Sequence[bytes]) -> None:
    """Refuse more *bodies* than a message to *destination* can tell of."""
    most = (destination.body.groups if destination.body is not None else 0) or 1
    if len(bodies) > most:
        told = "one event: give one PAYLOAD" if most == 1 else f"{most} events at most"
        raise click.UsageError(f"the body of {destination.name} tells of {told}")


def without_change(told: Sequence[Told], past: Past) -> bool:
    """Whether a *past* was given, and none of the events that are told of has a change by it."""
    given = past.change is not None or past.previous is not None
    return given and not any("change" in json.loads(one.facts) for one in told)


def claim_of(told: Sequence[Told], destination: str, *, signature: str | None = None) -> Claim:
    """The claim of a delivery that tells of *told*; *signature* is what CircleCI's header says."""
    first, *others = told
    headers = headers_of(first.body, None)
    headers.pop("accept-encoding", None)  # is for the relay alone
    if signature is not None:
        headers["circleci-signature"] = signature
    return Claim(
        delivery=0,
        token=0,
        destination=destination,
        attempt=1,
        event=first.event,
        source=first.source,
        webhook_id=f"{first.event}-{destination}",
        body=first.body,
        headers=tuple(headers.items()),
        received_at=first.received_at,
        aged_from=first.received_at,
        lease_until=first.received_at + _LEASE,
        facts=first.facts,
        history=first.history,
        others=tuple(others),
    )


def _id_of(line: Line) -> str:
    # With it comes the database's library, which most verbs do without.
    from circleci_relay.store.accept import line_key  # noqa: PLC0415

    return line_key(line).hex()


def _history(line_id: str, change: Change | None, good: bool | None, now: Micros) -> History:  # noqa: FBT001 - an outcome
    if change is None:
        known = good is not None
        return History(
            line=line_id, good=good, since=now if known else None, streak=1 if known else None
        )
    likely = _HISTORIES[change]
    return replace(
        likely,
        line=line_id,
        since=now + (likely.since or 0),
        before_since=None if likely.before_since is None else now + likely.before_since,
    )
