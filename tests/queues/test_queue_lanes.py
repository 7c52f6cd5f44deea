"""A queue behind a lane: retried, broken off, counted and remembered like any destination."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from redis.asyncio import Redis as Client

from circleci_relay.clock import SystemClock
from circleci_relay.model import Quiet, Result, State
from support.brokers import Redis as Server
from support.delivering import delivering

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(bool(Server.missing()), reason=Server.missing() or "")

EVENTS = 400
QUICK: dict[str, Any] = {
    "timeout": "1s",
    "retry": {"initial": "50ms", "max_interval": "200ms"},
    "breaker": {"failures": 5, "pause": "200ms"},
}


async def test_a_broker_that_crashes_under_load_costs_nothing(tmp_path: Path) -> None:
    """Killed twice while events come in: all that was accepted is there, each once."""
    async with (
        Server(tmp_path / "redis") as server,
        delivering(tmp_path / "relay.db", SystemClock()) as relay,
    ):
        await relay.configure(bus={"url": server.url, "redis": {"stream": "ci"}, **QUICK})
        accepted: list[str] = []
        some = asyncio.Event()

        async def take_in() -> None:
            for _ in range(EVENTS):
                accepted.append(await relay.accept("bus", sample="gh_oauth_job_failed"))
                some.set()

        async with asyncio.TaskGroup() as group:
            group.create_task(take_in())
            for _ in range(2):
                some.clear()
                await some.wait()
                await server.kill()
                await relay.watch.wait_for(len(relay.watch.settlements) + 1)
                await server.start()
        await relay.emptied("bus")
        async with Client.from_url(server.url, protocol=2) as reader:
            found: Any = await reader.xrange("ci")
    ids = sorted(fields[b"webhook-id"].decode() for _, fields in found)
    assert ids == sorted(f"{event}-bus" for event in accepted)
    series = relay.watch._metrics.destination("bus")
    assert series.deliveries[State.DELIVERED]._value.get() == EVENTS
    failed = {each.outcome.result for each in relay.watch.settlements} - {Result.OK}
    assert Result.CONNECTION in failed


async def test_several_in_one_message_and_in_its_own_words(tmp_path: Path) -> None:
    """Bodies and groups are the same whatever carries them; addresses are templates too."""
    async with (
        Server(tmp_path / "redis") as server,
        delivering(tmp_path / "relay.db", SystemClock()) as relay,
    ):
        await relay.configure(
            bus={
                "url": server.url,
                "redis": {"stream": "ci:{{ branch }}"},
                "body": {"text": "{{ count }} of {{ project_name }}"},
                **QUICK,
            }
        )
        group = Quiet(group="run", wait=60_000_000, most=3)
        for _ in range(3):
            await relay.accept("bus", sample="gh_oauth_job_failed", quiet=group)
        await relay.emptied("bus")
        async with Client.from_url(server.url, protocol=2) as reader:
            found: Any = await reader.xrange("ci:main")
    [(_, fields)] = found
    assert fields[b"body"] == b"3 of launchpad"
    assert fields[b"content-type"] == b"text/plain; charset=utf-8"
