"""The stream, as it happens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from circleci_relay.console.requests import EventQuery, StreamQuery
from circleci_relay.console.shapes import Events
from circleci_relay.web.ui.forms import filled, kept, looked, query_of, tidy

if TYPE_CHECKING:
    from circleci_relay.web.ui.desk import Desk

STREAM = "/api/v1/stream"
LAST = 20

NOTHING = Events(items=[], next=None)


def live_routes(desk: Desk) -> list[web.RouteDef]:
    """Return what serves the stream's page; the script listens to the stream itself."""

    async def show(request: web.Request) -> web.Response:
        tidy(request)
        query, faults = filled(StreamQuery, request.query)
        asked = query or StreamQuery()
        last = EventQuery(source=asked.source, destination=asked.destination, limit=LAST)
        found = await looked(last, faults, desk.console.looking.events, NOTHING)
        fields = kept(request.query, StreamQuery)
        return desk.view.page(
            request,
            "live.html",
            found=found,
            fields=fields,
            faults=faults,
            stream=STREAM + ("" if faults else query_of(fields)),
            sources=desk.sources,
            destinations=desk.destinations,
            status=422 if faults else 200,
        )

    return [web.get("/live", show)]
