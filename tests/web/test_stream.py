"""The live stream: what is told, to whom, and when it ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from circleci_relay.clock import ManualClock
from circleci_relay.config.model import Server
from circleci_relay.live import CROWD, MOST, Happening, Hub, Listener
from circleci_relay.web.api.stream import HEARTBEAT, LOOK, stream_endpoint
from support.wire import Relay

Begin = Callable[..., Awaitable[Relay]]

TOKENS = {"ann": {"token": "the-token-of-ann-here", "role": "viewer"}}


def event(number: int = 1, **about: Any) -> Happening:
    """An event that was taken in."""
    given = {"id": str(number), "source": "circleci", "destinations": ["chat"], "title": "a\nb"}
    return Happening(kind="event", about=given | about)


def attempt(**about: Any) -> Happening:
    """An attempt that was made."""
    return Happening(kind="attempt", about={"source": "circleci", "destination": "chat"} | about)


class Stream:
    """A listener over HTTP."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response

    async def block(self) -> str:
        """The next lines up to an empty one."""
        lines = []
        async with asyncio.timeout(10):
            while (line := await self.response.content.readline()) not in {b"\n", b""}:
                lines.append(line.decode())
        return "".join(lines)

    async def next(self) -> tuple[str, Any]:
        """The next thing told."""
        lines = (await self.block()).splitlines()
        named = dict(line.split(": ", 1) for line in lines)
        return named["event"], json.loads(named["data"])


@asynccontextmanager
async def listening(relay: Relay, query: str = "") -> AsyncIterator[Stream]:
    """Listen with a token."""
    host, port = relay.listeners.admin_address
    token = {"authorization": f"Bearer {TOKENS['ann']['token']}"}
    url = f"http://{host}:{port}/api/v1/stream{query}"
    async with aiohttp.ClientSession() as session, session.get(url, headers=token) as response:
        yield Stream(response)


def redact(text: str) -> str:
    """Take a secret out."""
    return text.replace("hunter2", "***")


async def test_a_stream(begin: Begin) -> None:
    """What happens is told as it happens, filtered; heartbeats ask who listens; it ends at once."""
    hub, clock = Hub(), ManualClock()
    endpoint = stream_endpoint(hub, clock=clock, redact=redact)
    relay = await begin(clock=clock, endpoints=[endpoint], settings={"admin_tokens": TOKENS})
    async with listening(relay) as every, listening(relay, "?kind=attempt&source=other") as some:
        assert every.response.content_type == "text/event-stream"
        assert "retry" in await every.block()
        assert "retry" in await some.block()
        assert hub.heard
        hub.tell(event(error="hunter2"))
        hub.tell(attempt(source="other"))
        assert await every.next() == ("event", {**event(error="***").about})
        assert await every.next() == ("attempt", {**attempt(source="other").about})
        assert (await some.next())[0] == "attempt"

        clock.advance(HEARTBEAT)
        assert await every.block() == ":\n"
        assert await some.block() == ":\n"
        for _ in range(MOST + 5):
            hub.tell(attempt())
        assert await every.next() == ("dropped", {"count": 5})
        for _ in range(MOST):
            assert (await every.next())[0] == "attempt"

        # Another token: whoever listens by the old one hears nothing after the next heartbeat.
        another = {"bob": {"token": "the-token-of-bob-here", "role": "viewer"}}
        await relay.listeners.configure(Server.model_validate({"admin_tokens": another}))
        clock.advance(HEARTBEAT)
        assert await every.block() == ""
        assert await some.block() == ""


async def test_who_is_gone_is_forgotten(begin: Begin) -> None:
    """A browser that went on to another page takes nobody's place."""
    hub, clock = Hub(), ManualClock()
    relay = await begin(clock=clock, endpoints=[stream_endpoint(hub, clock=clock, redact=str)])
    async with listening(relay) as stream:
        assert "retry" in await stream.block()
        assert hub.heard
    async with asyncio.timeout(10):
        while left(hub):
            clock.advance(LOOK)
            await asyncio.sleep(0)


def left(hub: Hub) -> bool:
    """Whether anybody listens."""
    return hub.heard


async def test_the_end_is_at_once(begin: Begin) -> None:
    """A relay that stops tells nobody more; beyond a crowd, nobody else is listened to."""
    hub, clock = Hub(), ManualClock()
    endpoint = stream_endpoint(hub, clock=clock, redact=str)
    relay = await begin(clock=clock, endpoints=[endpoint], settings={"admin_tokens": TOKENS})
    async with listening(relay, "?destination=chat") as stream:
        assert "retry" in await stream.block()
        hub.tell(event(destinations=["pager"]))
        hub.tell(event(2))
        assert (await stream.next())[1]["id"] == "2"
        hub._listeners.update({-number: Listener() for number in range(1, CROWD)})
        async with listening(relay) as refused:
            assert refused.response.status == 503
            assert "too many" in (await refused.response.json(content_type=None))["detail"]
        hub.close()
        assert await stream.block() == ""
    hub._listeners.clear()
    async with listening(relay) as late:
        assert late.response.status == 503
        assert "stopping" in (await late.response.json(content_type=None))["detail"]
