"""A month of forty projects through the documented relay.yaml: who hears of what, and how often."""

from __future__ import annotations

import asyncio
import json
import re
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from circleci_relay.circleci import payload
from circleci_relay.config import load
from circleci_relay.delivery.compose import Composer, Surroundings
from circleci_relay.model import SECOND, Event, Intake
from circleci_relay.routing import Subject
from support.month import PROJECTS, START, Month, Sent
from support.storing import FOREVER, SQLITE, opened

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from circleci_relay.clock import ManualClock
    from circleci_relay.config import Config
    from circleci_relay.delivery.transport import Message
    from support.storing import Bench

PAGE = Path(__file__).parents[2] / "docs/how-to/forty-projects.md"
HOLD = timedelta(minutes=10)
TEAMS = {"pay": "payments", "web": "web", "core": "platform"}
TOLD = ("slack", "pager", "tracker")
LOUD = {
    # The same without what makes it quiet: each end of a build on main that is not good.
    "change: [broken, fixed]": "status: [failed, error]",
    "    hold: 10m\n": "",
    ", once_per: workflow": "",
    ", not: {change: still-broken}": "",
    "change: fixed": "status: success",
}


TEXT = PAGE.read_text()
[DOCUMENTED] = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)


def loaded(folder: Path, text: str) -> Config:
    """Load *text* as it would lie beside its secrets."""
    secrets = folder / "secrets"
    for name in ("pagerduty", "datadog", "warehouse", "tracker"):
        _put(secrets / name, f"{name}-0123456789abcdef0123456789abcdef")
    for team in TEAMS.values():
        _put(secrets / "slack" / team, f"https://hooks.slack.com/services/T0/B0/{team}")
    for project in PROJECTS:
        _put(secrets / "circleci" / project, f"the-secret-of-{project}")
    _put(folder / "relay.yaml", text)
    return load([folder / "relay.yaml"]).config


def _put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@dataclass
class Relay:
    """The store under a clock that is moved, and all that is told to people."""

    config: Config
    bench: Bench
    told: list[tuple[str, str, Message]] = field(default_factory=list)  #: to whom, CircleCI's id
    ids: dict[str, str] = field(default_factory=dict)  #: CircleCI's ids by ours

    def __post_init__(self) -> None:
        """Make a composer for each destination that people read."""
        self._due: dict[str, int | None] = {}
        self._stale: set[str] = set()  #: where something was claimed since it was asked
        surroundings = Surroundings(
            external_url=self.config.server.external_url, labels=self.config.table.labels
        )
        self._composers = {
            name: Composer(each, clock=self.bench.clock, surroundings=surroundings)
            for name, each in self.config.destinations.items()
            if name in TOLD
        }

    async def take_in(self, batch: Iterable[Sent]) -> None:
        """Store them, each under the time it was sent at."""
        await asyncio.gather(
            *(self.bench.store.accept(self._intake(each), deadline=FOREVER) for each in batch)
        )

    def _intake(self, sent: Sent) -> Intake:
        parsed = payload.parse(sent.body)
        facts = payload.read_facts(parsed)
        event = Event(
            public_id=f"{len(self.ids):026}",
            source="projects",
            id=sent.id,
            type=sent.type,
            received_at=self.bench.clock.now(),
            body=sent.body,
            headers=(),
            facts=facts,
        )
        self.ids[event.public_id] = sent.id
        subject = Subject(facts=facts, source="projects", payload=parsed)
        return Intake(
            event=event,
            line=payload.line_of("projects", facts),
            good=payload.is_good(facts),
            choose=partial(self.config.table.choose, subject),
        )

    async def run_until(self, instant: int) -> None:
        """Let time pass, and tell what comes due on the way."""
        clock = self.bench.clock
        while (due := await self._next_due()) is not None and due <= instant:
            if due > clock.now():
                clock.advance((due - clock.now()) / SECOND)
            for name in [name for name, at in self._due.items() if at is not None and at <= due]:
                self._stale.add(name)
                for claim in await self.bench.claim(name, limit=1000):
                    message = self._composers[name].compose(claim)
                    self.told.append((name, self.ids[claim.told[-1].event], message))
                    self.bench.store.settle(self.bench.settlement(claim))
            await self.bench.store.flush()
        if instant > clock.now():
            clock.advance((instant - clock.now()) / SECOND)

    async def _next_due(self) -> int | None:
        # Asked only of who was woken: nothing else can have changed.
        for name in TOLD:
            lanes = self.bench.lanes
            if lanes.woken.pop(name, 0) or lanes.expected.pop(name, 0) or name in self._stale:
                self._due[name] = await self.bench.store.next_due(name)
                self._stale.discard(name)
        return min((due for due in self._due.values() if due is not None), default=None)


def batches(sent: Iterable[Sent]) -> Iterator[list[Sent]]:
    """What nobody can be told of goes in together with what follows it; the rest one by one."""
    batch: list[Sent] = []
    for each in sent:
        batch.append(each)
        if is_news(each):
            yield batch
            batch = []
    yield batch


def is_news(sent: Sent) -> bool:
    """Whether anybody but machines might hear of it."""
    if sent.branch == "main":
        return sent.job is None
    return sent.branch.startswith("release") and sent.job is not None


async def live_through(sent: Iterable[Sent], config: Config, bench: Bench) -> Relay:
    """Send all of it; nothing is under way at the end."""
    relay = Relay(config, bench)
    await bench.store.reconcile(tuple(config.destinations))
    beginning = bench.clock.now()
    for batch in batches(sent):
        if batch:
            at = beginning + round((batch[-1].at - START).total_seconds() * SECOND)
            await relay.run_until(at)
            await relay.take_in(batch)
    await relay.run_until(bench.clock.now() + 3600 * SECOND)
    return relay


def wanted(month: Month) -> Counter[tuple[str, str]]:
    """
    To whom, and of which event, a person would have told: written down from the history alone.

    Of main: when it was red for longer than it takes to mend itself, and then when it was green
    again; that a run was cancelled, once. Of release deploys: when they begin to fail, and when
    they work again. Of each deploy that worked: the tracker.
    """
    found: Counter[tuple[str, str]] = Counter()
    for sent in month.sent:
        if sent.job == "deploy" and sent.status == "success":
            found["tracker", sent.id] += 1
    for project in PROJECTS:
        mine = [each for each in month.sent if each.project == project]
        main = [each for each in mine if each.branch == "main" and each.job is None]
        last_of_run = {each.run: each for each in main if each.status == "canceled"}
        found.update(("slack", each.id) for each in last_of_run.values())
        for red, green in spells([each for each in main if each.status != "canceled"]):
            if green is None or green.at - red.at > HOLD:
                found["slack", red.id] += 1
                if green is not None:
                    found["slack", green.id] += 1
        for branch in {each.branch for each in mine if each.branch.startswith("release")}:
            deploys = [each for each in mine if each.branch == branch and each.job == "deploy"]
            for red, green in spells(deploys):
                found["pager", red.id] += 1
                if green is not None:
                    found["pager", green.id] += 1
    return found


def spells(line: list[Sent]) -> Iterator[tuple[Sent, Sent | None]]:
    """When it turned red, and when green again."""
    red: Sent | None = None
    for sent in line:
        if sent.status == "failed" and red is None:
            red = sent
        elif sent.status == "success" and red is not None:
            yield red, sent
            red = None
    if red is not None:
        yield red, None


def test_it_is_short() -> None:
    """Under forty lines, as the page says."""
    assert len(DOCUMENTED.splitlines()) < 40


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """Where a database costs no disk, if there is such a place: a month has many commits."""
    fast = Path("/dev/shm")  # noqa: S108 - a folder of its own is made in it
    with tempfile.TemporaryDirectory(dir=fast if fast.is_dir() else tmp_path) as folder:
        yield Path(folder) / "relay.db"


@pytest.fixture(scope="module")
def month() -> Month:
    """One month for all tests."""
    return Month(seed=4)


async def test_people_hear_just_what_they_would_want(
    tmp_path: Path, memory: Path, clock: ManualClock, month: Month
) -> None:
    """Every message, to the right team, once; and the machines get everything."""
    config = await asyncio.to_thread(loaded, tmp_path, DOCUMENTED)
    async with opened(f"{SQLITE}{memory}", clock=clock) as bench:
        relay = await live_through(month.sent, config, bench)
        counted = bench.rows("SELECT destination, count(*) AS n FROM deliveries GROUP BY 1")

    told = Counter((name, id_) for name, id_, _ in relay.told)
    assert told == wanted(month)
    everything = {row["destination"]: row["n"] for row in counted}
    assert everything["datadog"] == everything["warehouse"] == len(month.sent)
    by_id = {sent.id: sent for sent in month.sent}
    for name, id_, message in relay.told:
        sent = by_id[id_]
        if name == "slack":
            assert sent.project in message.body.decode()
            assert message.url.endswith("/" + TEAMS[sent.project.partition("-")[0]])
        if name == "pager":
            action = "trigger" if sent.status == "failed" else "resolve"
            assert json.loads(message.body)["event_action"] == action
        if name == "tracker":
            made = json.loads(message.body)
            assert (made["service"], made["team"]) == (
                sent.project,
                TEAMS[sent.project.partition("-")[0]],
            )
    assert numbers(told) == shown("with")


def test_without_the_quiet_features(tmp_path: Path, month: Month) -> None:
    """What the page compares with: every event that a route takes is a message."""
    text = DOCUMENTED
    for quiet, loud in LOUD.items():
        assert quiet in text
        text = text.replace(quiet, loud)
    config = loaded(tmp_path, text)
    told: Counter[tuple[str, str]] = Counter()
    for sent in month.sent:
        parsed = payload.parse(sent.body)
        subject = Subject(payload.read_facts(parsed), "projects", parsed)
        choice = config.table.choose(subject, None)
        assert choice.quiet == {}
        told.update((name, sent.id) for name in choice.destinations)
    assert numbers(told) == shown("without")


def numbers(told: Counter[tuple[str, str]]) -> dict[str, int]:
    """How many messages each destination of people had."""
    count = Counter(name for name, _ in told.elements())
    return {name: count[name] for name in ("slack", "pager")}


def shown(column: str) -> dict[str, int]:
    """What the page's table says."""
    rows = re.findall(r"^\| `(\w+)`[^|]*\| ([\d,]+) \| ([\d,]+) \|", TEXT, re.MULTILINE)
    index = {"without": 0, "with": 1}[column]
    found = {name: int(figures[index].replace(",", "")) for name, *figures in rows}
    assert found, "the page has no table of numbers"
    return found
