"""All of the page: its routes, its static files, and what it shows of an error."""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

from circleci_relay.web.application import Page
from circleci_relay.web.static import Static
from circleci_relay.web.ui.audit import audit_routes
from circleci_relay.web.ui.dead import dead_routes
from circleci_relay.web.ui.deliveries import delivery_routes
from circleci_relay.web.ui.desk import Desk
from circleci_relay.web.ui.destinations import destination_routes
from circleci_relay.web.ui.events import event_routes
from circleci_relay.web.ui.jobs import job_routes
from circleci_relay.web.ui.live import live_routes
from circleci_relay.web.ui.login import login_routes
from circleci_relay.web.ui.overview import overview_routes
from circleci_relay.web.ui.rejects import reject_routes
from circleci_relay.web.ui.routes import route_routes
from circleci_relay.web.ui.view import View

if TYPE_CHECKING:
    from aiohttp import web

    from circleci_relay.console.console import Console
    from circleci_relay.web.api import Describe

STATIC = Path(__file__).parent / "static"

_HEADINGS = {
    400: "That cannot be read",
    403: "Not allowed",
    404: "Not found",
    409: "Not as things are",
    422: "That cannot be",
    500: "A fault of the relay's own",
    503: "The store is away",
}


def page(console: Console, *, describe: Describe) -> Page:
    """
    Return the page of *console*.

    Reads templates and static files: before the event loop runs, or in a thread.
    """
    static = Static.read(STATIC)
    view = View(static.url)
    desk = Desk(console=console, view=view, describe=describe)

    async def show_error(request: web.Request, status: int, detail: str) -> web.Response:
        return view.page(
            request,
            "error.html",
            status=status,
            heading=_HEADINGS.get(status, HTTPStatus(status).phrase),
            detail=_detail(status, detail),
            back=_back(request),
        )

    return Page(
        routes=[
            *overview_routes(desk),
            *event_routes(desk),
            *delivery_routes(desk),
            *dead_routes(desk),
            *job_routes(desk),
            *destination_routes(desk),
            *route_routes(desk),
            *reject_routes(desk),
            *live_routes(desk),
            *audit_routes(desk),
            *login_routes(view),
        ],
        static=static,
        show_error=show_error,
    )


def _detail(status: int, detail: str) -> str:
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:
        return "The relay's log says more. What was stored is safe; try again."
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        return (
            "The store cannot be asked now. Hooks are answered with 503, and CircleCI sends "
            "them again; try again in a moment."
        )
    if detail in {"", "Not Found"}:
        return "There is nothing here, or no more: what is older than store.keep is gone."
    return detail


def _back(request: web.Request) -> str:
    """Return the page that stands above *request*."""
    first = request.path.strip("/").partition("/")[0]
    return f"/{first}" if first in {"events", "deliveries", "dead", "jobs", "rejects"} else "/"
