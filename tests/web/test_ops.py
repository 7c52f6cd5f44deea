"""Health and metrics."""

from __future__ import annotations

import pytest

from support.wire import Relay, Reply, Wire


async def get(relay: Relay, path: str, method: str = "GET") -> Reply:
    """Ask the ops listener."""
    async with Wire(relay.listeners.ops_address) as wire:
        wire.send(f"{method} {path} HTTP/1.1\r\nhost: 10.0.0.7:8081\r\n\r\n".encode())
        return await wire.reply(head=method == "HEAD")


async def test_alive(relay: Relay) -> None:
    """The process turns, ready or not."""
    relay.reasons.append("stopping")
    reply = await get(relay, "/healthz")
    assert (reply.status, reply.json) == (200, {"alive": True})


async def test_ready_and_why_not(relay: Relay) -> None:
    """Ready, until there is a reason not to be, which is named."""
    reply = await get(relay, "/readyz")
    assert (reply.status, reply.json) == (200, {"ready": True, "reasons": []})
    relay.reasons.append("the store cannot be written")
    reply = await get(relay, "/readyz")
    assert (reply.status, reply.json) == (
        503,
        {"ready": False, "reasons": ["the store cannot be written"]},
    )


async def test_metrics(relay: Relay) -> None:
    """Prometheus gets what the metrics render."""
    relay.metrics.refused("path")
    reply = await get(relay, "/metrics")
    assert reply.status == 200
    assert reply.headers["content-type"].startswith("text/plain")
    assert b'circleci_relay_requests_refused_total{reason="path"} 1.0' in reply.body


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
async def test_head_and_others(relay: Relay, path: str) -> None:
    """HEAD will do for a probe; nothing can be changed here."""
    assert (await get(relay, path + "?x=1", "HEAD")).status == 200
    reply = await get(relay, path, "POST")
    assert (reply.status, reply.headers["allow"]) == (405, "GET, HEAD")


async def test_nothing_else(relay: Relay) -> None:
    """Anything else is not there."""
    reply = await get(relay, "/webhooks/circleci")
    assert (reply.status, list(reply.json)) == (404, ["error"])
