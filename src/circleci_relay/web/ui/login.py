"""Signing in with a token, and out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from circleci_relay.web.access import CALLER, Denied
from circleci_relay.web.gate import FORM, GATE, local_path

if TYPE_CHECKING:
    from circleci_relay.web.ui.view import View

_WRONG = "This token is nobody's here. See server.admin_tokens in relay.yaml."


def login_routes(view: View) -> list[web.RouteDef]:
    """Return what serves signing in and out."""

    async def show(request: web.Request) -> web.Response:
        follows = local_path(request.query.get("next"))
        if CALLER in request:
            raise web.HTTPSeeOther(follows)
        return view.page(request, "login.html", next=follows)

    async def sign_in(request: web.Request) -> web.StreamResponse:
        form = request[FORM]
        follows = local_path(form.get("next"))
        try:
            cookie = await request.app[GATE].sign_in(request, form.get("token", "").strip())
        except Denied as denied:
            told = _WRONG if denied.status == 401 else denied.error  # noqa: PLR2004
            answer = view.page(
                request, "login.html", next=follows, problem=told, status=denied.status
            )
            answer.headers.update(denied.headers)
            return answer
        return web.Response(status=303, headers={"location": follows, "set-cookie": cookie})

    async def sign_out(request: web.Request) -> web.StreamResponse:
        cookie = request.app[GATE].sign_out(request)
        return web.Response(
            status=303, headers={"location": "/login?done=signed-out", "set-cookie": cookie}
        )

    return [
        web.get("/login", show),
        web.post("/login", sign_in),
        web.post("/logout", sign_out),
    ]
