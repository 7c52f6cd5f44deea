"""The configuration in force as a picture, and trying another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web

from circleci_relay.console.requests import BacktestRequest, ExplainRequest
from circleci_relay.errors import ConfigError, Invalid, Unanswerable
from circleci_relay.web.gate import FORM
from circleci_relay.web.ui.forms import posted
from circleci_relay.web.ui.picture import picture, ways
from circleci_relay.web.ui.tree import tree

if TYPE_CHECKING:
    from circleci_relay.web.ui.desk import Desk

_TYPED = ("event", "payload", "change", "source", "config", "since", "until")


PERIOD = "3d"
"""How far a backtest goes back where nothing is said."""

_BOXES = {
    "body.event": "The stored event",
    "body.payload": "The payload",
    "body.source": "Source",
    "body.config": "The relay.yaml",
}


def route_routes(desk: Desk) -> list[web.RouteDef]:
    """Return what serves routes."""

    async def show(request: web.Request, *, status: int = 200, **values: Any) -> web.Response:
        routes = await desk.console.standing.routes()
        form = request.get(FORM) or {}
        found = {"tried": None, "backtest": None, "faulty": [], "problem": None} | values
        return desk.view.page(
            request,
            "routes.html",
            routes=routes,
            ways=ways(routes),
            picture=picture(routes),
            tree=tree(routes.config),
            sources=desk.sources,
            typed={"since": PERIOD} | {name: form[name] for name in _TYPED if form.get(name)},
            period=PERIOD,
            status=status,
            **found,
        )

    async def explain(request: web.Request) -> web.Response:
        try:
            tried = await desk.console.trying.explain(posted(ExplainRequest, request))
        except ConfigError as wrong:
            return await show(request, faulty=wrong.faults, status=422)
        except Unanswerable as fault:
            return await show(request, problem=_which(fault), status=fault.status)
        return await show(request, tried=tried)

    async def backtest(request: web.Request) -> web.Response:
        try:
            wanted = posted(BacktestRequest, request)
            if wanted.since is None and wanted.before is None:
                wanted = BacktestRequest.model_validate({**dict(wanted), "since": PERIOD})
            found = await desk.console.trying.backtest(wanted)
        except ConfigError as wrong:
            return await show(request, faulty=wrong.faults, status=422)
        except Unanswerable as fault:
            return await show(request, problem=_which(fault), status=fault.status)
        return await show(request, backtest=found)

    async def plain(_request: web.Request) -> web.Response:
        raise web.HTTPSeeOther("/routes")

    return [
        web.get("/routes", show),
        web.post("/routes/explain", explain),
        web.post("/routes/backtest", backtest),
        web.get("/routes/explain", plain),
        web.get("/routes/backtest", plain),
    ]


def _which(fault: Unanswerable) -> str:
    """Return what is wrong, and in which box."""
    where = fault.where if isinstance(fault, Invalid) else None
    box = _BOXES.get(where or "")
    return f"{box}: {fault}" if box else str(fault)
