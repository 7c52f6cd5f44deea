"""What was turned away at the door, and checking it again."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from aiohttp import web

from circleci_relay.console.requests import Recheck, RejectQuery
from circleci_relay.console.shapes import Rejects
from circleci_relay.web.ui.forms import filled, kept, looked, operator, posted, tidy
from circleci_relay.web.ui.notices import seen

if TYPE_CHECKING:
    from circleci_relay.web.ui.desk import Desk

NOTHING = Rejects(items=[], next=None)


def reject_routes(desk: Desk) -> list[web.RouteDef]:
    """Return what serves rejects."""

    async def listed(request: web.Request) -> web.Response:
        tidy(request)
        query, faults = filled(RejectQuery, request.query)
        found = await looked(query, faults, desk.console.doorstep.rejects, NOTHING)
        return desk.view.page(
            request,
            "rejects.html",
            found=found,
            fields=kept(request.query, RejectQuery, "limit"),
            faults=faults,
            sources=desk.sources,
            status=422 if faults else 200,
        )

    async def show(request: web.Request) -> web.Response:
        reject = await desk.console.doorstep.reject(request.match_info["id"])
        return desk.view.page(request, "reject.html", reject=reject)

    async def recheck(request: web.Request) -> web.Response:
        who = operator(request)
        wanted = posted(Recheck, request)
        found = await desk.console.doorstep.recheck(wanted, who)
        taken, events = found.taken, list(found.events)
        while found.next is not None:
            wanted = wanted.model_copy(update={"before": found.next})
            found = await desk.console.doorstep.recheck(wanted, who)
            taken += found.taken
            events += found.events
        if not taken:
            back = f"/rejects/{quote(wanted.ids[0], safe='')}" if wanted.ids else "/rejects"
            raise seen(back, "still")
        back = f"/events/{events[0]}" if len(events) == 1 else "/rejects"
        raise seen(back, "taken", taken)

    return [
        web.get("/rejects", listed),
        web.get("/rejects/{id:[^/]+}", show),
        web.post("/rejects/recheck", recheck),
    ]
