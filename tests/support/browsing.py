"""The page in a real browser: a relay with something to see, and Chromium to see it."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
from playwright.async_api import async_playwright, expect

from support.program import CircleCI, Program, an_event, circleci, running, write_config
from support.receiver import Receiver, answer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, Request

OPERATOR, VIEWER = "operator-token-of-the-tests", "viewer-token-of-the-tests"

SHOTS = Path(__file__).parents[2] / ".artifacts" / "screenshots"
"""Where pictures of the pages are left, to be looked at."""

PICTURES = bool(os.environ.get("RELAY_PICTURES"))
"""Whether they are taken: each takes as long as all that is asked of its page."""

PATIENCE = 20.0

expect.set_options(timeout=PATIENCE * 1000)

BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
"""The first is the same without its windows, and takes half the time."""

HOSTILE = "<img src=x onerror=alert(1)>\u202egpj" + "a" * 3000


def chromium() -> str | None:
    """Return where the system's Chromium is; None if it has none."""
    named = os.environ.get("CHROMIUM")
    if named:
        return named
    return next(filter(None, map(shutil.which, BROWSERS)), None)


@dataclass
class House:
    """A relay with a page, where it sends to, and who sends to it."""

    program: Program
    sender: CircleCI
    pager: Receiver
    warehouse: Receiver
    session: aiohttp.ClientSession

    def url(self, path: str) -> str:
        """Return the URL of a page."""
        return self.program.url("admin", path)

    async def api(self, path: str) -> Any:
        """Return what the API answers."""
        headers = {"authorization": f"Bearer {OPERATOR}"}
        async with self.session.get(self.url(f"/api/v1{path}"), headers=headers) as response:
            assert response.status == 200, await response.text()
            return await response.json()

    async def until(self, path: str, holds: Any) -> Any:
        """Return the API's answer once *holds* is true of it."""
        async with asyncio.timeout(PATIENCE):
            while not holds(found := await self.api(path)):
                await self.program.moment()
        return found

    async def send(self, number: int, **changes: Any) -> str:
        """Post an event; return the relay's id of it."""
        _, told = await self.sender.post(an_event(number, **changes))
        return str(told["event"])


@asynccontextmanager
async def house(folder: Path) -> AsyncIterator[House]:
    """Start a relay whose pager fails, and let things happen to it."""
    async with AsyncExitStack() as stack:
        pager = await _receiver(stack, answer(503, body=b"<b>down for maintenance</b>"))
        warehouse = await _receiver(stack, answer(200))
        config = _config(folder, pager, warehouse)
        program = await stack.enter_async_context(running(config))
        sender = await stack.enter_async_context(circleci(program))
        session = await stack.enter_async_context(
            aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))
        )
        yield House(program, sender, pager, warehouse, session)


def _config(folder: Path, pager: Receiver, warehouse: Receiver) -> Path:
    tokens = {
        "ci-team": {"token": OPERATOR, "role": "operator"},
        "dashboard": {"token": VIEWER, "role": "viewer"},
    }
    return write_config(
        folder,
        server={"admin_tokens": tokens},
        destinations={
            "pager": {"url": pager.url("/secret-of-pager"), "retry": {"max_attempts": 1}},
            "warehouse": {"url": warehouse.url()},
            "chat": {"url": warehouse.url("/chat"), "paused": True},
        },
        routes={
            "everything": {"to": "warehouse"},
            "main-is-red": {
                "match": {"type": "workflow-completed", "status": "failed", "branch": "main"},
                "to": ["pager", "chat"],
            },
        },
    )


async def _receiver(stack: AsyncExitStack, always: bytes) -> Receiver:
    made = Receiver([always])
    server = await asyncio.start_server(made.serve, "localhost", 0)
    made.port = server.sockets[0].getsockname()[1]
    stack.callback(server.close)
    return made


def failed(**vcs: Any) -> dict[str, Any]:
    """What makes an event one of a failed workflow."""
    return {
        "workflow": {"id": "f", "name": "build", "status": "failed"},
        "pipeline": {"id": "p", "number": 413, "vcs": {"branch": "main", **vcs}},
    }


async def furnish(there: House) -> dict[str, str]:
    """Let some of everything happen; return the ids of what a test asks for by name."""
    good = await there.send(1)
    await there.send(1)
    commit = {"subject": HOSTILE, "author": {"name": HOSTILE}}
    bad = await there.send(2, **failed())
    await there.send(3, **failed(commit=commit))
    hostile = await there.send(4, **failed(branch=HOSTILE, commit=commit))
    await there.sender.post(an_event(5, type=HOSTILE[:80]), secret="wrong")
    await there.until("/dead", lambda found: found["total"] >= 2)
    rejects = await there.until("/rejects", lambda found: found["items"])
    deliveries = (await there.api(f"/events/{bad}"))["log"]
    dead = next(each["id"] for each in deliveries if each["destination"] == "pager")
    return {
        "good": good,
        "bad": bad,
        "hostile": hostile,
        "dead": dead,
        "reject": rejects["items"][0]["id"],
    }


@dataclass
class Sight:
    """One page in a browser, and everything about it that should not have been."""

    page: Page
    wrong: list[str] = field(default_factory=list)

    def watch(self, home: str) -> None:
        """Note errors, alerts, and requests to anywhere but *home*."""
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda fault: self.wrong.append(f"pageerror: {fault}"))
        self.page.on("dialog", lambda dialog: self.wrong.append(f"dialog: {dialog.message}"))

        def requested(request: Request) -> None:
            if not request.url.startswith((home, "data:")):
                self.wrong.append(f"request: {request.url}")

        self.page.on("request", requested)

    def _console(self, message: ConsoleMessage) -> None:
        # That a page has an error's status is asked for where it is.
        if message.type in {"error", "warning"} and "status of 4" not in message.text:
            self.wrong.append(f"{message.type}: {message.text[:300]}")

    async def inspect(self, name: str, *, axe: bool = True, dark: bool = True) -> None:
        """Hold it against axe-core, *dark* too, and a phone's width; see `PICTURES`."""
        page = self.page
        await page.emulate_media(color_scheme="light")
        await page.set_viewport_size({"width": 1280, "height": 900})
        if axe:
            await page.evaluate(AXE)
            assert await self._complaints({"type": "tag", "values": WCAG}) == []
        await self._shoot(f"{name}-light")
        await page.emulate_media(color_scheme="dark")
        if axe and dark:
            assert await self._complaints({"type": "rule", "values": ["color-contrast"]}) == []
        await self._shoot(f"{name}-dark")
        await page.emulate_media(color_scheme="light")
        await page.set_viewport_size({"width": 390, "height": 844})
        assert await page.evaluate("document.documentElement.scrollWidth") <= 390
        await self._shoot(f"{name}-phone")
        assert self.wrong == []

    async def _complaints(self, rules: dict[str, Any]) -> list[str]:
        """Return what axe-core finds serious."""
        options = {
            "runOnly": rules,
            "resultTypes": ["violations"],
            "preload": False,
            "iframes": False,
            "selectors": False,
        }
        # Below, a tree looks as it does above; it is most of the work.
        context = {"exclude": [[".tree ul"]]}
        found = await self.page.evaluate(
            f"axe.run({json.dumps(context)}, {json.dumps(options)}).then(each => each.violations)"
        )
        return [
            f"{each['id']}: {node['html'][:200]}"
            for each in found
            if each["impact"] in {"serious", "critical"}
            for node in each["nodes"]
        ]

    async def _shoot(self, name: str) -> None:
        """Leave a picture of it, if any are wanted."""
        if not PICTURES:
            return
        picture = await self.page.screenshot(full_page=True, type="jpeg", quality=80)
        SHOTS.mkdir(parents=True, exist_ok=True)
        (SHOTS / f"{name}.jpg").write_bytes(picture)


WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]

AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8")


@asynccontextmanager
async def browser(program: str) -> AsyncIterator[Browser]:
    """Start Chromium."""
    async with async_playwright() as playwright:
        found = await playwright.chromium.launch(
            executable_path=program,
            # As root, as containers run it, its sandbox does not start.
            args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"],
        )
        try:
            yield found
        finally:
            await found.close()


async def sign_in(context: BrowserContext, there: House, token: str = OPERATOR) -> Page:
    """Return a page of somebody who has signed in, on the overview."""
    page = await context.new_page()
    page.set_default_timeout(PATIENCE * 1000)
    await page.goto(there.url("/"))
    await page.fill("#token", token)
    await page.click("main button")
    await page.wait_for_selector("h1")
    return page
