"""Ops: health and metrics, without a token, for probes and Prometheus."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from aiohttp import web

from circleci_relay.web.answers import SERVER, json_error, json_response

if TYPE_CHECKING:
    from circleci_relay.metrics import Metrics

Readiness = Callable[[], Sequence[str]]
"""Returns why the process should get no hooks now, in plain words; nothing means it is ready."""


class Ops:
    """The handler of the ops listener."""

    def __init__(self, *, metrics: Metrics, readiness: Readiness) -> None:
        self._metrics = metrics
        self._readiness = readiness

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one probe or scrape."""
        path = request.path
        if path not in {"/healthz", "/readyz", "/metrics"}:
            return json_error(404, "there are /healthz, /readyz and /metrics")
        if request.method not in {"GET", "HEAD"}:
            return json_error(405, "only GET and HEAD are taken", headers={"allow": "GET, HEAD"})
        if path == "/metrics":
            return await self._scrape(request)
        if path == "/readyz":
            return self._ready()
        # That this answer comes is all it says: the event loop turns.
        return json_response({"alive": True})

    def _ready(self) -> web.Response:
        reasons = list(self._readiness())
        return json_response(
            {"ready": not reasons, "reasons": reasons}, status=503 if reasons else 200
        )

    async def _scrape(self, request: web.BaseRequest) -> web.Response:
        # Thousands of series take milliseconds, which acknowledgements need not wait for.
        accept = request.headers.get("accept", "")
        content, content_type = await asyncio.to_thread(self._metrics.render, accept)
        return web.Response(body=content, headers={"content-type": content_type, "server": SERVER})
