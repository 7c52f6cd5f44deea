"""Whoever watches a store: upkeep and alerting over a bench, under a configuration of a test."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from circleci_relay.config import Loaded, load
from circleci_relay.console.alerting import Alerting
from circleci_relay.metrics import Metrics
from circleci_relay.model import RELAY, Decision, Reason, Result, State
from circleci_relay.upkeep import Upkeep

if TYPE_CHECKING:
    from pathlib import Path

    from support.storing import Bench

AGAIN = Decision(state=State.PENDING, delay=1.0)
DEAD = Decision(state=State.DEAD, reason=Reason.REFUSED)


async def loaded(folder: Path, **given: Any) -> Loaded:
    """`read`, off the event loop."""
    return await asyncio.to_thread(read, folder, **given)


def read(folder: Path, *, to: list[str] | str | None = "pager", **given: Any) -> Loaded:
    """A configuration of a source, and the destinations chat and pager; *given* stands above."""
    names = ("chat", "pager")
    settings: dict[str, Any] = {
        "sources": {"circleci": {"path": "/hook", "secrets": ["a secret of sixteen"]}},
        "destinations": {name: {"url": f"https://{name}.example.com/secret"} for name in names},
        "routes": {"all": {"to": [*names]}},
    }
    if to is not None:
        settings["notify"] = {"to": to, **given.pop("notify", {})}
    file = folder / "relay.yaml"
    file.write_text(json.dumps(settings | given))
    return load([file])


@dataclass
class Desk:
    """One process that watches."""

    bench: Bench
    loaded: Loaded
    upkeep: Upkeep = field(init=False)
    alerting: Alerting = field(init=False)

    def __post_init__(self) -> None:
        store, clock = self.bench.store, self.bench.clock
        self.upkeep = Upkeep(store=store, clock=clock, metrics=Metrics(process=False))
        self.alerting = Alerting(store=store, clock=clock, upkeep=self.upkeep)
        self.take_up(self.loaded)

    def take_up(self, loaded: Loaded) -> None:
        """Go on under another configuration."""
        self.loaded = loaded
        self.upkeep.configure(loaded.config)
        self.alerting.configure(loaded.config)

    async def look(self) -> None:
        """Count, judge and tell."""
        await self.bench.store.flush()
        await self.upkeep.count()
        await self.alerting.evaluate()

    async def attempt(self, name: str, *, ok: bool = False) -> None:
        """Make one attempt at *name*: of what is due there, or of something new."""
        bench = self.bench
        if not (due := await bench.claim(name, limit=1)):
            await bench.accept(name)
            due = await bench.claim(name, limit=1)
        if ok:
            await bench.settle(due[0])
        else:
            await bench.settle(due[0], AGAIN, result=Result.SERVER_ERROR, status=503)

    async def fail_for(self, name: str, minutes: int) -> None:
        """Count a failed attempt at *name* in each of so many minutes, and look."""
        for _ in range(minutes):
            await self.bench.store.do(lambda unit: unit.tally("attempts", name, "timeout"))
            self.bench.clock.advance(60)
        await self.look()

    async def die(self, name: str) -> int:
        """Have a delivery to *name* refused for good; its key."""
        await self.bench.accept(name)
        [claim] = await self.bench.claim(name, limit=1)
        await self.bench.settle(claim, DEAD, result=Result.CLIENT_ERROR, status=400)
        return claim.delivery

    def told(self) -> list[str]:
        """What was told so far: rule, subject and whether it began or ended."""
        rows = self.bench.rows(
            f"SELECT facts FROM events WHERE source = '{RELAY}' ORDER BY received_at, key"  # noqa: S608
        )
        found = [json.loads(row["facts"]) for row in rows]
        return [
            f"{each['workflow']} {each['job']} {'began' if each['status'] == 'failed' else 'ended'}"
            for each in found
        ]
