"""The admin listener's application: the API's endpoints and the page behind one gate."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog
from aiohttp import web

from circleci_relay.web import headers, static
from circleci_relay.web.access import CALLER, Denied
from circleci_relay.web.api.openapi import openapi_endpoint
from circleci_relay.web.api.serving import routes
from circleci_relay.web.connections import Connection
from circleci_relay.web.gate import GATE, RENEWED, login_path
from circleci_relay.web.problems import problem, problem_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from circleci_relay.web.api.endpoints import Endpoint
    from circleci_relay.web.gate import Gate
    from circleci_relay.web.static import Static

log = structlog.get_logger()

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

ShowError = Callable[[web.Request, int, str], Awaitable[web.Response]]
"""Makes a page of an error: its status, and what is wrong in plain words."""

API = "/api/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What stands on the listener beside the API."""

    routes: Sequence[web.RouteDef]
    static: Static
    show_error: ShowError
    public: frozenset[str] = frozenset({"/login"})  #: paths for whoever is not known yet


def application(
    endpoints: Sequence[Endpoint], *, gate: Gate, page: Page | None = None
) -> web.Application:
    """Return the application that serves *endpoints*, their documentation, and *page*."""
    app = web.Application(middlewares=[_Frame(gate, page).middleware])
    app[GATE] = gate
    app.add_routes(routes([*endpoints, openapi_endpoint(endpoints)]))
    if page is not None:
        app.add_routes(page.static.routes())
        app.add_routes(page.routes)
    app.on_response_prepare.append(headers.protect)
    app.on_response_prepare.append(_renew)
    return app


class _Frame:
    """Judges every request, and makes an answer of every error."""

    def __init__(self, gate: Gate, page: Page | None) -> None:
        self._gate = gate
        self._page = page

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer one request, whatever becomes of it."""
        if isinstance(request.protocol, Connection):
            request.protocol.taken()  # it counts what comes beside bodies, request by request
        page = self._page is not None and not request.path.startswith(API)
        try:
            return await self._admitted(request, handler, page=page)
        except web.HTTPException as answer:
            if answer.status < 400:  # noqa: PLR2004 -- a redirect is no error
                raise
            # Told here, not kept for below: a name for it would tie it to its own traceback, and
            # so hold a body of megabytes until the collector comes by.
            return await self._told(request, answer, page=page)
        except Exception as unexpected:  # noqa: BLE001 -- this is the edge; told apart there
            return await self._told(request, unexpected, page=page)

    async def _admitted(
        self, request: web.Request, handler: Handler, *, page: bool
    ) -> web.StreamResponse:
        public = page and self._public(request)
        try:
            await self._gate.admit(request, page=page, public=public)
        except Denied as denied:
            if page and denied.status == 401:  # noqa: PLR2004 -- nobody known: people log in
                return web.Response(status=303, headers={"location": login_path(request)})
            raise
        if CALLER in request and isinstance(request.protocol, Connection):
            request.protocol.proven()  # a crowd of strangers must not cost it its connection
        return await handler(request)

    def _public(self, request: web.Request) -> bool:
        if self._page is None:
            return False
        return request.path in self._page.public or request.path.startswith(static.PREFIX)

    async def _told(
        self, request: web.Request, fault: Exception, *, page: bool
    ) -> web.StreamResponse:
        told = problem_of(fault)
        if told is None:
            if _begun(request) or _gone(request, fault):
                return _broken_off(request, fault)
            _log(request, fault)
            told = problem(500, "a fault of the relay's own; its log says more")
        elif _begun(request):
            return _broken_off(request, fault)
        if self._page is None or not page:
            return told
        try:
            shown = await self._page.show_error(request, told.status, str(fault))
        except Exception as another:  # noqa: BLE001 -- an error's page must not hide the error
            _log(request, another)
            return told
        for name in {"allow", "retry-after"} & told.headers.keys():
            shown.headers[name] = told.headers[name]
        return shown


def _begun(request: web.Request) -> bool:
    """Whether an answer, such as a stream, is on its way already."""
    return request.writer.output_size > 0


def _gone(request: web.Request, fault: Exception) -> bool:
    """Whether nobody waits for an answer any more, and that is all that is wrong."""
    return isinstance(fault, ConnectionError) and (
        request.transport is None or request.transport.is_closing()
    )


def _broken_off(request: web.Request, fault: Exception) -> web.StreamResponse:
    """End what has begun, so that nobody takes it for whole."""
    if not isinstance(fault, ConnectionError):  # the client is gone: nothing to tell
        _log(request, fault)
    if request.transport is not None:
        request.transport.abort()
    raise ConnectionResetError("the answer was broken off") from fault


def _log(request: web.Request, fault: Exception) -> None:
    resource = request.match_info.route.resource
    log.error(
        "request_failed",
        method=request.method[:20],
        # Not the path itself: it is whoever asks who chooses that.
        path=None if resource is None else resource.canonical,
        exc_info=fault,
    )


async def _renew(request: web.Request, response: web.StreamResponse) -> None:
    if RENEWED in request and "set-cookie" not in response.headers:
        response.headers["set-cookie"] = request[RENEWED]
