"""How things stand: the overview, destinations, what went along the routes, alerts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from circleci_relay.console import shapes
from circleci_relay.console.given import Given
from circleci_relay.console.requests import Name, OverviewQuery
from circleci_relay.web.api.endpoints import Endpoint, Request

if TYPE_CHECKING:
    from circleci_relay.console.standing import Standing

TAG = "standing"


class OneDestination(Given):
    """Which destination."""

    name: Name


def standing_endpoints(standing: Standing) -> list[Endpoint]:
    """Return the endpoints that say how things stand; all of them only look."""

    async def overview(request: Request) -> shapes.Overview:
        return await standing.overview(request.query)

    async def destinations(_request: Request) -> shapes.Destinations:
        return await standing.destinations()

    async def destination(request: Request) -> shapes.DestinationState:
        return await standing.destination(request.path.name)

    async def routes(_request: Request) -> shapes.Routes:
        return await standing.routes()

    async def alerts(_request: Request) -> shapes.Alerts:
        return await standing.alerts()

    return [
        Endpoint(
            method="GET",
            path="/overview",
            summary="What is wrong now, what came in and went out, and each destination's state.",
            tag=TAG,
            description="Counts are by the minute or the quarter of an hour, and seconds old.",
            handler=overview,
            changes=False,
            query=OverviewQuery,
            answers={200: shapes.Overview},
        ),
        Endpoint(
            method="GET",
            path="/destinations",
            summary="Each destination's state, backlog, success and speed.",
            tag=TAG,
            handler=destinations,
            changes=False,
            answers={200: shapes.Destinations},
        ),
        Endpoint(
            method="GET",
            path="/destinations/{name}",
            summary="One destination's state, backlog, success and speed.",
            tag=TAG,
            handler=destination,
            changes=False,
            path_params=OneDestination,
            answers={200: shapes.DestinationState},
            problems=(404,),
        ),
        Endpoint(
            method="GET",
            path="/routes",
            summary="Sources, routes and destinations, and what went along them over a day.",
            tag=TAG,
            description=(
                "Counts are of the newest events, up to some 20,000 and up to a day back:"
                " `counted_from` says how far. They are up to half a minute old."
            ),
            handler=routes,
            changes=False,
            answers={200: shapes.Routes},
        ),
        Endpoint(
            method="GET",
            path="/alerts",
            summary="What is wrong enough to be told, and where it is told.",
            tag=TAG,
            handler=alerts,
            changes=False,
            answers={200: shapes.Alerts},
        ),
    ]
