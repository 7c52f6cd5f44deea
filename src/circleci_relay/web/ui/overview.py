"""The first page: what is wrong now, and how things went."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from circleci_relay.console.requests import OverviewQuery
from circleci_relay.web.ui import charts
from circleci_relay.web.ui.forms import filled

if TYPE_CHECKING:
    from circleci_relay.console.shapes import DestinationState
    from circleci_relay.web.ui.desk import Desk

_SPANS = {"hour": "the last hour", "day": "the last day", "week": "the last week"}


def overview_routes(desk: Desk) -> list[web.RouteDef]:
    """Return what serves the first page."""

    async def show(request: web.Request) -> web.Response:
        query, _ = filled(OverviewQuery, request.query)
        found = await desk.console.standing.overview(query or OverviewQuery())
        alerts = await desk.console.standing.alerts()
        said = {(each.subject, each.text) for each in found.troubles}
        over = _SPANS[found.span]
        return desk.view.page(
            request,
            "overview.html",
            found=found,
            alerts=alerts,
            others=[each for each in alerts.items if (each.subject, each.text) not in said],
            events=charts.stacked(found.events, title=f"Events over {over}"),
            deliveries=charts.stacked(found.deliveries, title=f"Deliveries over {over}"),
            sparks={each.name: spark_of(each) for each in found.destinations},
            paths=desk.paths,
        )

    return [web.get("/", show)]


def spark_of(state: DestinationState) -> str:
    """Draw the last hour of a destination."""
    title = f"{state.name}: the last hour"
    return charts.spark(state.spark, state.spark_failed, title=title)
