"""Who did what."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from circleci_relay.console.requests import ListQuery
from circleci_relay.web.ui.deeds import parts_of, target_of
from circleci_relay.web.ui.forms import filled, kept

if TYPE_CHECKING:
    from circleci_relay.web.ui.desk import Desk


def audit_routes(desk: Desk) -> list[web.RouteDef]:
    """Return what serves the audit log."""

    async def listed(request: web.Request) -> web.Response:
        query, _ = filled(ListQuery, request.query)
        found = await desk.console.looking.audit(query or ListQuery())
        fields = kept(request.query, ListQuery, "limit")
        deeds = [(each, target_of(each), parts_of(each)) for each in found.items]
        return desk.view.page(request, "audit.html", found=found, fields=fields, deeds=deeds)

    return [web.get("/audit", listed)]
