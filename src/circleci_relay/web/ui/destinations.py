"""One destination: how it stands, and what can be done about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from circleci_relay.console.requests import DeliveryQuery, Pause, Retry
from circleci_relay.errors import Conflict, Invalid
from circleci_relay.web.gate import FORM
from circleci_relay.web.ui.forms import operator, posted
from circleci_relay.web.ui.notices import seen
from circleci_relay.web.ui.overview import spark_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from circleci_relay.web.ui.desk import Desk, Handler

    Action = Callable[[web.Request], Awaitable[tuple[str, int | None]]]

RECENT = 20


def destination_routes(desk: Desk) -> list[web.RouteDef]:
    """Return what serves destinations."""

    async def show(
        request: web.Request, *, problem: str | None = None, status: int = 200
    ) -> web.Response:
        name = request.match_info["name"]
        state = await desk.console.standing.destination(name)
        query = DeliveryQuery(destination=state.name, limit=RECENT)
        return desk.view.page(
            request,
            "destination.html",
            state=state,
            spark=spark_of(state),
            recent=await desk.console.looking.deliveries(query),
            problem=problem,
            status=status,
        )

    async def pause(request: web.Request) -> tuple[str, int | None]:
        _sure(request)
        name, who = request.match_info["name"], operator(request)
        await desk.console.repairing.pause(name, posted(Pause, request), who)
        return "paused", None

    async def resume(request: web.Request) -> tuple[str, int | None]:
        name = request.match_info["name"]
        await desk.console.repairing.resume(name, operator(request))
        state = await desk.console.standing.destination(name)
        return "resumed-open" if state.breaker_open else "resumed", None

    async def retry(request: web.Request) -> tuple[str, int | None]:
        _sure(request)
        name, who = request.match_info["name"], operator(request)
        due = await desk.console.repairing.retry(name, posted(Retry, request), who)
        state = await desk.console.standing.destination(name)
        return "due" if state.paused else "retried", due

    def acting(act: Action) -> Handler:
        async def handler(request: web.Request) -> web.StreamResponse:
            operator(request)
            try:
                code, number = await act(request)
            except (Conflict, Invalid) as fault:
                return await show(request, problem=str(fault), status=fault.status)
            raise seen(request.rel_url.raw_path.rpartition("/")[0], code, number)

        return handler

    async def all_of_them(_request: web.Request) -> web.Response:
        raise web.HTTPSeeOther("/#destinations")

    return [
        web.get("/destinations", all_of_them),
        web.get("/destinations/{name:[^/]+}", show),
        web.post("/destinations/{name:[^/]+}/pause", acting(pause)),
        web.post("/destinations/{name:[^/]+}/resume", acting(resume)),
        web.post("/destinations/{name:[^/]+}/retry", acting(retry)),
    ]


def _sure(request: web.Request) -> None:
    if not request[FORM].get("sure"):
        raise Invalid("tick the box that says so: nothing was changed")
