#!/usr/bin/env python3
"""Make docs/images/page.png: the page of a real relay, at the end of a mixed hour."""

from __future__ import annotations

import asyncio
import json
import random
import sys
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from aiohttp import web

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from support.browsing import browser, chromium  # noqa: E402
from support.program import circleci, write_config  # noqa: E402
from support.stepped import Stepped  # noqa: E402

if TYPE_CHECKING:
    from support.program import CircleCI

PICTURE = ROOT / "docs" / "images" / "page.png"

MINUTES = 58
"""How much happens before the picture is taken, by the relay's clock."""

DOWN_SINCE = 43
"""The minute in which the pager's service stops answering, and builds begin to fail."""

UNKNOWN = range(24, 33)
"""The minutes in which the tracker did not know one of the services."""

MISTYPED = 11
"""The minute in which a secret was wrong."""

AGAIN = 0.06
"""How much of what it sends CircleCI sends twice."""

SPEED = {"warehouse": 0.03, "slack": 0.09, "pager": 0.06, "tracker": 0.05}
"""How many seconds each destination takes to answer, about."""

PROJECTS = ("launchpad", "telemetry", "ground-control", "fuel-gauge")


@dataclass
class Hour:
    """An hour of CircleCI's, made up from a seed, and of those who hear of it."""

    minute: int = 0
    count: int = 0
    chance: random.Random = field(default_factory=lambda: random.Random(7))  # noqa: S311

    async def answer(self, request: web.Request) -> web.Response:
        """Answer as the destination would that the path names."""
        name = request.match_info["name"]
        body = await request.read()
        await asyncio.sleep(SPEED[name] * self.chance.uniform(0.7, 1.8))
        if name == "pager" and self.minute >= DOWN_SINCE:
            return web.Response(status=503, text="no healthy upstream")
        if name == "tracker" and self.minute in UNKNOWN and b'"telemetry"' in body:
            return web.Response(status=422, text='{"error": "unknown service: telemetry"}')
        return web.Response(text="ok")

    def bodies(self) -> list[bytes]:
        """Return what CircleCI sends within this minute."""
        busy = round(5 - abs(self.minute - 34) / 9) + self.chance.randrange(4)
        return [self._body() for _ in range(busy)]

    def _body(self) -> bytes:
        self.count += 1
        what = self.chance.choice(["job", "job", "workflow"])
        sample = files("circleci_relay.circleci") / "samples" / f"gh_oauth_{what}_failed.json"
        found = json.loads(sample.read_bytes())
        failing = 0.4 if self.minute >= DOWN_SINCE else 0.06
        found[what]["status"] = "failed" if self.chance.random() < failing else "success"
        found["id"] = str(UUID(int=self.chance.getrandbits(128), version=4))
        name = self.chance.choice(PROJECTS)
        found["project"] |= {"name": name, "slug": f"github/acme-rockets/{name}"}
        found["pipeline"]["number"] = 380 + self.count // 4
        found["pipeline"]["vcs"]["branch"] = self.chance.choice(["main", "main", "thrust"])
        return json.dumps(found, separators=(",", ":")).encode()


def _config(folder: Path, port: int) -> Path:
    red = {"status": "failed", "branch": "main"}
    return write_config(
        folder,
        destinations={name: {"url": f"http://127.0.0.1:{port}/{name}"} for name in SPEED},
        routes={
            "everything": {"to": "warehouse"},
            "main-is-red": {"match": red, "to": ["slack", "pager"]},
            "deploys": {"match": {"type": "workflow-completed"}, "to": "tracker"},
        },
    )


async def _receivers(stack: AsyncExitStack, hour: Hour) -> int:
    """Serve all destinations; return the port."""
    application = web.Application()
    application.router.add_post("/{name}", hour.answer)
    runner = web.AppRunner(application)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return int(runner.addresses[0][1])


async def _play(hour: Hour, relay: Stepped, sender: CircleCI) -> None:
    """Let the hour pass, a minute at a time."""
    for hour.minute in range(MINUTES):
        for body in hour.bodies():
            await sender.post(body, secret="mistyped" if hour.minute == MISTYPED else None)
            if hour.chance.random() < AGAIN:
                await sender.post(body)
        await asyncio.sleep(0.4)  # what can be delivered is
        relay.step(60)
    await asyncio.sleep(6)  # until it has counted what waits


async def _take(folder: Path, program: str) -> None:
    hour = Hour()
    async with AsyncExitStack() as stack:
        port = await _receivers(stack, hour)
        relay = await Stepped.begin(_config(folder, port), ahead=-60.0 * MINUTES)
        stack.push_async_callback(relay.kill)
        sender = await stack.enter_async_context(circleci(relay))
        await _play(hour, relay, sender)
        for body in hour.bodies():
            await sender.post(body)
        await asyncio.sleep(2)
        chromium_here = await stack.enter_async_context(browser(program))
        page = await chromium_here.new_page(viewport={"width": 1180, "height": 738})
        await page.goto(relay.url("admin", "/"))
        await page.wait_for_selector(".card")
        PICTURE.parent.mkdir(exist_ok=True)
        await page.screenshot(path=str(PICTURE))


def main() -> None:
    """Play the hour to a relay, and take the picture."""
    program = chromium()
    if program is None:
        sys.exit("screenshot: no Chromium here; scripts/chromium fetches it")
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_take(Path(folder), program))


if __name__ == "__main__":
    main()
