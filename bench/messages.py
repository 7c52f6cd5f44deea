"""Suite `messages`: what it costs to make a message, beside CircleCI's bytes as they are."""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING

from rich.table import Table

from bench.requests import SHAPES
from bench.stage import Finding
from circleci_relay.circleci import payload, samples
from circleci_relay.clock import SystemClock
from circleci_relay.config.model import Destination
from circleci_relay.delivery.compose import Composer, Surroundings
from circleci_relay.model import Claim
from circleci_relay.rendering import preset
from circleci_relay.store.encode import facts_text

if TYPE_CHECKING:
    from bench.stage import Stage

BODIES = 200
TURNS = 3
RAW = "CircleCI's bytes"
OWN = "a template of four leaves"
TEMPLATE = {
    "service": "{{ project_name }}",
    "version": "{{ revision }}",
    "failed": "{{ outcome == 'bad' }}",
    "text": "{{ title }}",
}


async def messages(stage: Stage) -> Finding:
    """Processor time to make one message, raw, of a template, and of each preset."""
    with stage.doing("messages"):
        costs = {name: measured(made) for name, made in destinations().items()}
    shown = Table("what is sent", "µs a message", "of raw", title="Making a message")
    for name, cost in costs.items():
        shown.add_row(name, f"{cost:.0f}", f"{cost / costs[RAW]:.1f}")
    return Finding(shown=[shown], data=costs)


def destinations() -> dict[str, Destination]:
    """One of each kind, by what it is called."""
    bodies: dict[str, object] = {RAW: None, OWN: {"template": TEMPLATE}}
    for name in preset.names():
        needed = {
            option: "unknown-0123456789"
            for option, about in preset.find(name).options.items()
            if about.required
        }
        bodies[name] = {"preset": name, **needed}
    return {name: _destination(body) for name, body in bodies.items()}


def _destination(body: object) -> Destination:
    chosen = preset.find(body["preset"]) if isinstance(body, dict) and "preset" in body else None
    settings: dict[str, object] = {"body": body}
    if chosen is None or "url" not in chosen.settings:
        settings["url"] = "https://service.example.com/hook"
    return Destination.model_validate(settings).named("there")


def measured(destination: Destination) -> float:
    """Microseconds of processor time a message: the best of a few turns."""
    composer = Composer(destination, clock=SystemClock(), surroundings=Surroundings())
    shapes = [samples.load(name) for name in SHAPES]
    claims = [_claim(body) for _, body in zip(range(BODIES), itertools.cycle(shapes), strict=False)]
    spans = []
    for _ in range(TURNS):
        began = time.process_time()
        for claim in claims:
            composer.compose(claim)
        spans.append(time.process_time() - began)
    return min(spans) / BODIES * 1e6


def _claim(body: bytes) -> Claim:
    return Claim(
        delivery=1,
        token=1,
        destination="there",
        attempt=1,
        event="01AN4Z07BY79KA1307SR9X4MV3",
        source="circleci",
        webhook_id="01AN4Z07BY79KA1307SR9X4MV3-there",
        body=body,
        headers=(("content-type", "application/json"),),
        received_at=0,
        aged_from=0,
        lease_until=2**62,
        facts=facts_text(payload.read_facts(payload.parse(body)), None),
    )
