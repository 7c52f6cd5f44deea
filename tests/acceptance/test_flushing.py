"""Stopping with `server.shutdown.flush`: what is pending goes out first."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import aiohttp
import pytest

from support.ledger import look
from support.program import PATIENCE, SECRET, an_event, circleci, series, write_config
from support.receiver import Receiver, answer
from support.stepped import Stepped

if TYPE_CHECKING:
    from pathlib import Path

StartReceiver = Callable[..., Awaitable[Receiver]]

DOWN, UP = answer(503), answer(200)


def configured(folder: Path, **receivers: Receiver) -> Path:
    """Write a relay.yaml that leads to each of *receivers*; one of them is paused."""
    retry = {"initial": "30m", "factor": 1, "max_interval": "30m", "jitter": 0}
    retries = {"app": retry | {"initial": "1m"}, "late": retry}
    return write_config(
        folder,
        server={"shutdown": {"linger": "0s", "flush": "10m", "drain": "5s"}},
        destinations={
            name: {
                "url": each.url(),
                "retry": retries.get(name, retry | {"initial": "2m"}),
                "paused": name == "paused",
            }
            for name, each in receivers.items()
        },
        routes={"everything": {"to": list(receivers)}},
    )


async def attempted(folder: Path, times: int) -> None:
    """Return once so many attempts are durable: the clock is not stepped in their midst."""
    async with asyncio.timeout(PATIENCE):
        while len(look(folder / "relay.db", "SELECT number FROM attempts")) < times:  # noqa: ASYNC110
            await asyncio.sleep(0)


async def test_it_delivers_what_is_pending_before_it_ends(
    tmp_path: Path, receiver: StartReceiver
) -> None:
    """An app that comes up is told; what is left is said, and delivered at the next start."""
    app = await receiver(DOWN, DOWN, UP)
    dead = await receiver(DOWN)
    late, paused = await receiver(DOWN, DOWN, UP), await receiver(UP)
    config = configured(tmp_path, app=app, dead=dead, late=late, paused=paused)
    first = await Stepped.begin(config)
    try:
        async with circleci(first) as sender:
            assert (await sender.post(an_event()))[0] == 202
            await first.log("attempt", 3)
            first.signal(signal.SIGTERM)
            [begun] = await first.log("flush_begun")
            assert begun["pending"] == 3, "the paused one is not waited for"
            await attempted(tmp_path, 6)  # made due once
            with pytest.raises(aiohttp.ClientConnectionError):
                await sender.post(an_event(2))
        assert (await series(first))("ready") == 0, "still scraped, and not ready"
        first.step(60)
        await attempted(tmp_path, 7)
        async with asyncio.timeout(PATIENCE):
            while (await series(first))("deliveries_pending", destination="app"):
                pass  # the gauge goes on being right
        first.step(540)
        assert await first.ended() == 0
    finally:
        await first.kill()
    [ended] = first.logged("flush_ended")
    assert ended["left"] == {"dead": 1, "late": 1}
    assert ended["paused_or_gone"] == {"paused": 1}
    assert ended["level"] == "warning"
    assert SECRET not in "".join(first.raw)
    assert len(look(tmp_path / "relay.db", "SELECT id FROM events")) == 1
    second = await Stepped.begin(config, ahead=3600)
    try:
        await late.wait_for(3)
        assert len(app.requests) == 3, "what was delivered is not repeated"
    finally:
        await second.kill()
