"""Reloads without end while events stream in: destinations come and go, files are at fault."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from support.faults import FULL, SEED, scaled
from support.ledger import Ledger, look
from support.program import Program, running, write_config
from support.receiver import Receiver, answer

if TYPE_CHECKING:
    from pathlib import Path

StartReceiver = Callable[..., Awaitable[Receiver]]

RELOADS = scaled(16, 90)
EVERY = 1.0 if FULL else 0.0  #: seconds from one reload to the next
COMING_AND_GOING = ("first", "second", "third")
ALWAYS = "always"
NAMES = (ALWAYS, *COMING_AND_GOING)
OWED = "SELECT e.id, d.destination, d.state FROM deliveries d JOIN events e ON e.key = d.event"

FAULTS: tuple[Callable[[str], str], ...] = (
    lambda text: text.replace("routes:", "rutes:"),
    lambda text: text.replace("url: http", "url: gopher"),
    lambda text: text[: len(text) // 2] + '"',
    lambda text: text.replace("to:", "to: [nowhere]\n    too:"),
)


@dataclass
class Turn:
    """What one reload brought: from when to when it may have been in force, and what it said."""

    names: tuple[str, ...]  #: the destinations that everything is routed to
    began: float  #: when the reload that took it up was asked for
    done: float  #: when it was in force for sure
    replaced: float = float("inf")  #: when the next one was in force for sure


@dataclass
class Reloads:
    """A relay.yaml that changes all the time, and a record of what held when."""

    folder: Path
    receivers: dict[str, Receiver]
    chance: random.Random
    turns: list[Turn] = field(default_factory=list)
    results: Counter[str] = field(default_factory=Counter)

    def write(self, names: tuple[str, ...]) -> Path:
        """Write a faultless file that leads everything to these, under drawn settings."""
        number = len(self.turns)
        return write_config(
            self.folder,
            destinations={
                name: {
                    "url": self.receivers[name].url(f"/{number}"),
                    "concurrency": self.chance.randrange(1, 9),
                    "timeout": f"{self.chance.randrange(5, 30)}s",
                    "retry": {"initial": "50ms", "max_interval": "200ms"},
                    "breaker": None,
                }
                for name in names
            },
            routes={f"route-{number}-{place}": {"to": name} for place, name in enumerate(names)},
        )

    def start(self, names: tuple[str, ...]) -> Path:
        """Write the file the program starts with."""
        path = self.write(names)
        self.turns.append(Turn(names, 0.0, 0.0))
        return path

    async def one(self, program: Program) -> None:
        """Change the file, rightly or wrongly, and have it taken up in one of the ways."""
        if self.chance.random() < 0.25:
            await self._faulty(program)
            return
        some = self.chance.sample(COMING_AND_GOING, self.chance.randrange(4))
        await self.to(program, (ALWAYS, *sorted(some)))

    async def to(self, program: Program, names: tuple[str, ...]) -> None:
        """Lead everything to these from here on."""
        began = time.monotonic()
        turn = Turn(names, began, began)
        self.write(names)
        self.turns.append(turn)  # the watch over the files may be quicker than we are
        said = await self._ask(program, ("config_reloaded", "config_unchanged"))
        turn.done = time.monotonic()
        self.turns[-2].replaced = turn.done
        self.results[said] += 1

    async def _faulty(self, program: Program) -> None:
        path = self.folder / "relay.yaml"
        whole = path.read_text()
        path.write_text(self.chance.choice(FAULTS)(whole))
        assert await self._ask(program, ("config_reload_failed",)) == "config_reload_failed"
        self.results["config_reload_failed"] += 1
        path.write_text(whole)

    async def _ask(self, program: Program, wanted: tuple[str, ...]) -> str:
        """Ask by signal or over the API; return what was said of it."""
        if self.chance.random() < 0.5:
            before = len(program.lines)
            program.signal(signal.SIGHUP)
            async with asyncio.timeout(30), program.written:
                while True:
                    for line in program.lines[before:]:
                        if line.get("event") in wanted and line.get("cause") == "SIGHUP":
                            return str(line["event"])
                    await program.written.wait()
        async with (
            aiohttp.ClientSession() as session,
            session.post(program.url("admin", "/api/v1/reload")) as response,
        ):
            said: dict[str, Any] = await response.json()
            status = response.status
        assert status == (422 if "config_reload_failed" in wanted else 200), said
        return "config_reload_failed" if status == 422 else f"config_{said['result']}"

    def owed(self, began: float, ended: float) -> tuple[set[str], set[str]]:
        """Return where an event must go that was accepted in this span, and where it may."""
        inside = [t for t in self.turns if t.began <= ended and began <= t.replaced]
        return set.intersection(*(set(t.names) for t in inside)), {
            name for turn in inside for name in turn.names
        }


class Spans(Ledger):
    """A ledger that also notes between which instants each event was first accepted."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed, {"success": NAMES})
        self.spans: dict[str, tuple[float, float]] = {}

    async def post(self, sender: Any, name: str) -> int:
        """See `Ledger`."""
        began = time.monotonic()
        status = await super().post(sender, name)
        if status == 202:
            self.spans[name] = (began, time.monotonic())
        elif name in self.spans:
            # A duplicate may be answered before the first is: it was accepted in between.
            self.spans[name] = (min(began, self.spans[name][0]), self.spans[name][1])
        return status


async def paced(since: float) -> None:
    """Wait until the next reload's time has come: a pace, not a result, is waited for."""
    with suppress(TimeoutError):
        async with asyncio.timeout(since + EVERY - time.monotonic()):
            await asyncio.Event().wait()


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="needs SIGHUP")
async def test_reloads_under_load(tmp_path: Path, receiver: StartReceiver) -> None:
    """Whatever was configured when an event was accepted gets it, at once or once it is back."""
    chance = random.Random(SEED)  # noqa: S311 - to be repeated, not to be secret
    receivers = {
        ALWAYS: await receiver(),
        "first": await receiver(),
        "second": await receiver(*[answer(503)] * 20, answer(200)),
        "third": await receiver(),
    }
    reloads, ledger, database = (
        Reloads(tmp_path, receivers, chance),
        Spans(SEED),
        tmp_path / "relay.db",
    )
    config = reloads.start((ALWAYS, "first"))
    took = []
    async with running(config) as program:
        async with ledger.load(program, width=4):
            for _ in range(RELOADS):
                began = time.monotonic()
                await reloads.one(program)
                took.append(time.monotonic() - began)
                await ledger.more(5, 202)
                if EVERY:
                    await paced(began)
        await reloads.to(program, NAMES)
        await ledger.emptied(program, database)
        assert await program.stop() == 0
    repeats = audit(ledger, reloads, look(database, OWED))
    took.sort()
    print(  # noqa: T201 - shown by -rP
        f"{RELOADS} reloads, seed {SEED}: {dict(reloads.results)}, median"
        f" {took[len(took) // 2] * 1000:.0f} ms, slowest {took[-1] * 1000:.0f} ms;"
        f" {len(ledger.sent)} events, answers {dict(ledger.answers)}, arrivals"
        f" { {name: len(there.requests) for name, there in receivers.items()} },"
        f" repeats {dict(repeats)}"
    )
    assert set(ledger.answers) <= {200, 202}, "a reload turned an event away"
    assert sorted(repeats.elements()) == ["second"] * 20, "a reload made something be sent again"


def audit(ledger: Spans, reloads: Reloads, deliveries: list[tuple[Any, ...]]) -> Counter[str]:
    """Hold what is stored against what was configured, and what arrived against that."""
    stored = {(name, to) for name, to, _ in deliveries}
    assert len(stored) == len(deliveries)
    assert {state for _, _, state in deliveries} == {"delivered"}
    for name in ledger.acknowledged:
        must, may = reloads.owed(*ledger.spans[name])
        to = {destination for destination in NAMES if (name, destination) in stored}
        assert must <= to <= may, f"{name} went to {sorted(to)}"
        # From here on the ledger knows where it was to go.
        ledger.sent[name].to = tuple(sorted(to))
    for destination, there in reloads.receivers.items():
        bodies = {request.body for request in there.requests}
        for name, sent in ledger.acknowledged.items():
            assert (sent.body in bodies) == (destination in sent.to), (name, destination)
    return ledger.audit(reloads.receivers)
