"""An incident, from the first failure to the all-clear, with the relay killed in the middle."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from support.program import HOOKS, PATIENCE, CircleCI, an_event, write_config
from support.receiver import Receiver, answer
from support.stepped import Stepped

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from support.postgres import Postgres

StartReceiver = Callable[..., Awaitable[Receiver]]

EVENTS = 40
MINUTE = 60.0
STEP = 15 * MINUTE
LOOK = 2.0
"""Seconds; what is wrong is looked at every few."""

EVERY = 0.05
"""Seconds between two looks at what nobody tells of."""

RATE = 20
"""Replays a second: two seconds of them, in the middle of which the relay is killed."""


@dataclass
class Scene:
    """The replicas, and who watches them."""

    config: Path
    session: aiohttp.ClientSession
    warehouse: Receiver
    ops: Receiver
    programs: list[Stepped] = field(default_factory=list)
    ahead: float = 0.0

    async def start(self, count: int) -> None:
        """Have *count* more replicas."""
        self.programs += await asyncio.gather(
            *(Stepped.begin(self.config, ahead=self.ahead) for _ in range(count))
        )

    def step(self, seconds: float) -> None:
        """Let time pass for all of them."""
        self.ahead += seconds
        for program in self.programs:
            program.step(seconds)

    async def ask(self, method: str, path: str, **given: Any) -> tuple[int, Any]:
        """Ask the last replica's API."""
        url = self.programs[-1].url("admin", f"/api/v1{path}")
        async with self.session.request(method, url, **given) as response:
            return response.status, await response.json(content_type=None)

    async def get(self, path: str) -> Any:
        """Ask what must be there."""
        status, found = await self.ask("GET", path)
        assert status == 200, found
        return found

    async def page(self, path: str) -> str:
        """Read a page."""
        async with self.session.get(self.programs[-1].url("admin", path)) as response:
            assert response.status == 200
            return await response.text()

    async def eventually(self, reached: Callable[[], Awaitable[bool]]) -> None:
        """Wait for it, looking once in a while."""
        never = asyncio.Event()
        async with asyncio.timeout(PATIENCE):
            while not await reached():
                with suppress(TimeoutError):
                    async with asyncio.timeout(EVERY):
                        await never.wait()

    async def settled(self) -> bool:
        """Whether nothing waits that is due."""
        found = await self.get("/deliveries?state=pending&limit=200")
        return not any(each["waiting"] in {"due", "under way"} for each in found["items"])

    def told(self) -> Counter[tuple[str, str, str]]:
        """Which alerts came to the operators, and how often."""
        bodies = [json.loads(request.body) for request in self.ops.requests]
        alerts = [body["alert"] for body in bodies]
        return Counter((each["rule"], each["subject"], each["state"]) for each in alerts)


def configured(folder: Path, url: str, warehouse: Receiver, ops: Receiver) -> Path:
    """Write a relay.yaml whose deliveries die within the hour."""
    retry = {"initial": "1m", "factor": 2, "max_interval": "10m", "max_age": "40m", "jitter": 0}
    return write_config(
        folder,
        store={"url": url},
        destinations={
            "warehouse": {
                "url": warehouse.url(),
                "retry": retry,
                "breaker": None,
            },
            "ops": {"url": ops.url()},
        },
        routes={"everything": {"to": "warehouse"}},
        notify={"to": "ops", "failing_for": "15m", "silent_for": None, "store_full": None},
    )


@pytest.fixture(params=["sqlite", "postgresql"])
async def scene(
    request: pytest.FixtureRequest, tmp_path: Path, receiver: StartReceiver
) -> AsyncIterator[Scene]:
    """One relay on SQLite, or two replicas on PostgreSQL, and a warehouse that is down."""
    url, count = f"sqlite:///{tmp_path / 'relay.db'}", 1
    if request.param == "postgresql":
        server: Postgres = request.getfixturevalue("postgres")
        url, count = server.database("incident"), 2
    warehouse, ops = await receiver(answer(500)), await receiver(answer(200))
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PATIENCE))
        )
        made = Scene(configured(tmp_path, url, warehouse, ops), session, warehouse, ops)
        try:
            await made.start(count)
            yield made
        finally:
            await asyncio.gather(*(program.kill() for program in made.programs))


async def test_an_incident_is_seen_told_and_repaired(scene: Scene) -> None:
    """An hour of failures, one alert, a dry run, a replay of each exactly once, the all-clear."""
    await fail_for_an_hour(scene)
    await see_it(scene)
    failed = len(scene.warehouse.requests)
    scene.warehouse.answers = [answer(200)]
    job = await replay(scene)
    await kill_in_the_middle(scene, job)
    await scene.eventually(lambda: done(scene, job))
    await each_exactly_once(scene, job, failed)
    await cleared(scene)


async def fail_for_an_hour(scene: Scene) -> None:
    """Send events, and let time pass until all their deliveries are dead."""
    senders = [CircleCI(scene.session, each.url("listen", HOOKS)) for each in scene.programs]
    for number in range(EVENTS):
        status, _ = await senders[number % len(senders)].post(an_event(number))
        assert status == 202
    for _ in range(round(60 * MINUTE / STEP)):
        await scene.eventually(scene.settled)
        scene.step(STEP)

    async def dead() -> bool:
        return bool((await scene.get("/dead"))["total"] == EVENTS)

    await scene.eventually(dead)


async def see_it(scene: Scene) -> None:
    """The alerts went out, once each; the page shows what is wrong."""
    wanted = Counter(
        {
            ("failing", "warehouse", "started"): 1,
            ("dead_letters", "warehouse", "started"): 1,
        }
    )

    async def told() -> bool:
        scene.step(LOOK)
        return scene.told() == wanted

    await scene.eventually(told)
    overview = await scene.page("/")
    assert "warehouse" in overview
    letters = await scene.page("/dead")
    assert "warehouse" in letters
    assert str(EVENTS) in letters
    [group] = (await scene.get("/dead"))["groups"]
    assert (group["destination"], group["status"], group["count"]) == ("warehouse", 500, EVENTS)


async def replay(scene: Scene) -> str:
    """Count first; then begin, twice by accident; return the job."""
    request = {"select": {"destination": "warehouse"}, "rate": RATE}
    status, preview = await scene.ask("POST", "/replays", json=request)
    assert (status, preview["count"], preview["by_destination"]) == (
        200,
        EVENTS,
        {"warehouse": EVENTS},
    )
    key = preview["idempotency_key"]
    request |= {"dry_run": False, "idempotency_key": key}
    answers = [await scene.ask("POST", "/replays", json=request) for _ in range(2)]
    assert [status for status, _ in answers] == [202, 202]
    assert answers[0][1]["id"] == answers[1][1]["id"]
    return str(answers[0][1]["id"])


async def kill_in_the_middle(scene: Scene, job: str) -> None:
    """End a replica at once, however far the job has come; where it was the only one, restart."""

    async def begun() -> bool:
        found = await scene.get(f"/jobs/{job}")
        return bool(found["made"] >= EVENTS // 4 and not found["states"].get("pending"))

    await scene.eventually(begun)
    first = scene.programs.pop(0)
    await first.kill()
    if not scene.programs:
        await scene.start(1)
    found = await scene.get(f"/jobs/{job}")
    assert (found["state"], found["made"] < EVENTS) == ("running", True)


async def done(scene: Scene, job: str) -> bool:
    """Whether the job has ended, and all it made is delivered."""
    found = await scene.get(f"/jobs/{job}")
    if found["state"] == "done" and found["states"].get("pending"):
        scene.step(MINUTE)  # what the killed one had under way waits for the end of its lease
    return bool(found["state"] == "done" and found["states"] == {"delivered": EVENTS})


async def each_exactly_once(scene: Scene, job: str, failed: int) -> None:
    """One replay of each, delivered; a repeat only of what was under way at the kill."""
    found = await scene.get(f"/jobs/{job}")
    assert (found["made"], found["skipped"]) == (EVENTS, 0)
    assert (await scene.get("/dead"))["total"] == 0
    arrived = Counter(
        request.headers["webhook-id"] for request in scene.warehouse.requests[failed:]
    )
    before = {request.headers["webhook-id"] for request in scene.warehouse.requests[:failed]}
    assert arrived.keys() == before
    items = (await scene.get("/deliveries?destination=warehouse&limit=200"))["items"]
    replays = {each["webhook_id"]: each for each in items if each["replay_of"]}
    assert (len(items), len(replays)) == (2 * EVENTS, EVENTS)
    for webhook_id in (name for name, count in arrived.items() if count > 1):
        whole = await scene.get(f"/deliveries/{replays[webhook_id]['id']}")
        assert [each["result"] for each in whole["log"]] == ["lost", "ok"]


async def cleared(scene: Scene) -> None:
    """Both alerts end, once."""
    scene.step(MINUTE)

    async def told() -> bool:
        scene.step(LOOK)
        return sum(scene.told().values()) >= 4

    await scene.eventually(told)
    assert scene.told() == Counter(
        {
            (rule, "warehouse", state): 1
            for rule in ("failing", "dead_letters")
            for state in ("started", "ended")
        }
    )
    assert (await scene.get("/alerts"))["items"] == []
