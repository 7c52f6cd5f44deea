"""A message as the relay makes it of a destination in relay.yaml."""

from __future__ import annotations

from typing import TYPE_CHECKING

from circleci_relay.circleci import samples
from circleci_relay.circleci.payload import parse, read_facts
from circleci_relay.clock import ManualClock
from circleci_relay.config import load
from circleci_relay.delivery.compose import Composer, Surroundings
from circleci_relay.model import Claim
from circleci_relay.store.encode import facts_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from circleci_relay.delivery.transport import Message

EVENT = "01KJPZK3YG6WQ4S0V5J4X7T2AB"
_RELAY = """
sources: {{circleci: {{path: /hook, unsigned: true}}}}
destinations: {{one: {{{settings}}}}}
routes: {{all: {{to: one}}}}
"""


def composed(folder: Path, settings: str, sample: str, headers: Mapping[str, str]) -> Message:
    """What a destination with *settings* is sent of *sample*, which came with *headers*."""
    file = folder / "relay.yaml"
    file.write_text(_RELAY.format(settings=settings))
    config = load([file]).config
    clock = ManualClock()
    body = samples.load(sample)
    claim = Claim(
        delivery=1,
        token=1,
        destination="one",
        attempt=1,
        event=EVENT,
        source="circleci",
        webhook_id=f"{EVENT}-one",
        body=body,
        headers=tuple(headers.items()),
        received_at=clock.now(),
        aged_from=clock.now(),
        lease_until=clock.now(),
        facts=facts_text(read_facts(parse(body)), None),
    )
    composer = Composer(config.destinations["one"], clock=clock, surroundings=Surroundings())
    return composer.compose(claim)
