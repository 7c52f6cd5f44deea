"""Deliveries: the list, and one with all its attempts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from circleci_relay.console.requests import DeliveryQuery, ReplayOne, Selection
from circleci_relay.console.shapes import Deliveries
from circleci_relay.errors import Conflict, Invalid
from circleci_relay.model import Reason, Result
from circleci_relay.web.gate import FORM
from circleci_relay.web.ui.forms import filled, kept, looked, operator, posted, tidy
from circleci_relay.web.ui.notices import seen
from circleci_relay.web.ui.timeline import WHY, of_delivery, result_words

if TYPE_CHECKING:
    from circleci_relay.web.ui.desk import Desk

_COMMON = {"destination", "state", "error", "result", "status", "since"}

_RESULTS = [(each.value, result_words(each)) for each in Result]
_REASONS = [(each.value, WHY[each]) for each in Reason]

NOTHING = Deliveries(items=[], next=None)


def delivery_routes(desk: Desk) -> list[web.RouteDef]:
    """Return what serves deliveries."""

    async def listed(request: web.Request) -> web.Response:
        tidy(request)
        query, faults = filled(DeliveryQuery, request.query)
        found = await looked(query, faults, desk.console.looking.deliveries, NOTHING)
        fields = kept(request.query, DeliveryQuery, "limit")
        return desk.view.page(
            request,
            "deliveries.html",
            found=found,
            fields=fields,
            faults=faults,
            more=bool(fields.keys() - _COMMON - {"before"}),
            destinations=desk.destinations,
            results=_RESULTS,
            reasons=_REASONS,
            selection=None if query is None else selection_of(query),
            status=422 if faults else 200,
        )

    async def show(
        request: web.Request, *, problem: str | None = None, status: int = 200
    ) -> web.Response:
        delivery = await desk.console.looking.delivery(request.match_info["id"])
        return desk.view.page(
            request,
            "delivery.html",
            delivery=delivery,
            moments=of_delivery(delivery),
            why=WHY,
            problem=problem,
            status=status,
        )

    async def replay(request: web.Request) -> web.Response:
        who = operator(request)
        try:
            wanted = posted(ReplayOne, request)
            made = await desk.console.repairing.replay_delivery(
                request.match_info["id"], wanted, who
            )
        except (Conflict, Invalid) as fault:
            return await show(request, problem=str(fault), status=fault.status)
        [new] = made.deliveries
        back = f"/events/{new.event}" if _from_event(request) else f"/deliveries/{new.id}"
        raise seen(back, "replayed", 1)

    async def cancel(request: web.Request) -> web.Response:
        who = operator(request)
        try:
            made = await desk.console.repairing.cancel_delivery(request.match_info["id"], who)
        except (Conflict, Invalid) as fault:
            return await show(request, problem=str(fault), status=fault.status)
        [old] = made.deliveries
        back = f"/events/{old.event}" if _from_event(request) else f"/deliveries/{old.id}"
        raise seen(back, "cancelled", 1)

    return [
        web.get("/deliveries", listed),
        web.get("/deliveries/{id:[^/]+}", show),
        web.post("/deliveries/{id:[^/]+}/replay", replay),
        web.post("/deliveries/{id:[^/]+}/cancel", cancel),
    ]


def selection_of(query: DeliveryQuery) -> str | None:
    """Return what a bulk job would take to concern what *query* lists; None if it cannot."""
    if query.job is not None or query.replayed is not None:
        return None
    known = query.model_dump(include=set(Selection.model_fields), exclude_none=True)
    return Selection(**known).model_dump_json(exclude_none=True) if known else None


def _from_event(request: web.Request) -> bool:
    return request[FORM].get("from") == "event"
