"""Records with sensible values, for tests that care about one of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from circleci_relay.circleci import payload, samples
from circleci_relay.config.model import Destination
from circleci_relay.model import SECOND, Choice, Claim, Event, Facts, Intake

if TYPE_CHECKING:
    from circleci_relay.clock import ManualClock
    from circleci_relay.model import Quiet

BODIES = {name: samples.load(name) for name in samples.names()}
"""The packaged samples, read before any event loop runs."""


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
        "source": "circleci",
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


def an_intake(
    clock: ManualClock,
    number: int,
    *destinations: str,
    quiet: Quiet | None = None,
    sample: str = "",
) -> Intake:
    """
    Return an event on its way into the store, routed to *destinations*.

    With *sample* it is that packaged one, on its line; all of them wait as *quiet* says.
    """
    waits = {} if quiet is None else dict.fromkeys(destinations, quiet)
    choice = Choice(routes=("all",), destinations=destinations, quiet=waits)
    name = f"event-{number}"
    body = samples.with_id(BODIES[sample], name) if sample else f'{{"id": "{name}"}}'.encode()
    facts = Facts(type="workflow-completed", status="success")
    if sample:
        facts = payload.read_facts(payload.parse(body))
    return Intake(
        event=Event(
            public_id=f"{number:026}",
            source="circleci",
            id=name,
            type=facts.type,
            received_at=clock.now(),
            body=body,
            headers=(("content-type", "application/json"), ("circleci-signature", "v1=00")),
            facts=facts,
        ),
        line=payload.line_of("circleci", facts) if sample else None,
        good=payload.is_good(facts) if sample else None,
        choose=lambda _: choice,
    )
