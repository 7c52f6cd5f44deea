"""Records with sensible values, for tests that care about one of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from circleci_relay.config.model import Destination
from circleci_relay.model import SECOND, Choice, Claim, Event, Facts, Intake

if TYPE_CHECKING:
    from circleci_relay.clock import ManualClock


def a_destination(url: str, **settings: Any) -> Destination:
    """Return a destination called chat at *url*."""
    return Destination.model_validate({"url": url, **settings}).named("chat")


def a_claim(clock: ManualClock, body: bytes = b'{"id": "1"}', **changes: Any) -> Claim:
    """Return a claim in hand."""
    values: dict[str, Any] = {
        "delivery": 1,
        "token": 1,
        "destination": "chat",
        "attempt": 1,
        "event": "01AN4Z07BY79KA1307SR9X4MV3",
        "webhook_id": "01AN4Z07BY79KA1307SR9X4MV3-chat",
        "body": body,
        "headers": (
            ("content-type", "application/json"),
            ("user-agent", "CircleCI-Webhook/1.0"),
            ("circleci-event-type", "ping"),
            ("circleci-signature", "v1=00"),
        ),
        "received_at": clock.now(),
        "aged_from": clock.now(),
        "lease_until": clock.now() + 40 * SECOND,
    }
    return Claim(**values | changes)


def an_intake(clock: ManualClock, number: int, *destinations: str) -> Intake:
    """Return an event on its way into the store, routed to *destinations*."""
    facts = Facts(type="workflow-completed", status="success")
    choice = Choice(routes=("all",), destinations=destinations)
    return Intake(
        event=Event(
            public_id=f"{number:026}",
            source="circleci",
            id=f"event-{number}",
            type="workflow-completed",
            received_at=clock.now(),
            body=f'{{"id": "event-{number}"}}'.encode(),
            headers=(("content-type", "application/json"),),
            facts=facts,
        ),
        line=None,
        good=None,
        choose=lambda _: choice,
    )
