"""The log of deliveries, dead letters in groups, and who did what."""

from __future__ import annotations

from typing import TYPE_CHECKING

from circleci_relay.console.given import Given
from circleci_relay.console.requests import DeadQuery, DeliveryQuery, Key, ListQuery
from circleci_relay.console.shapes import Audit, Dead, Deliveries, DeliveryWhole
from circleci_relay.web.api.endpoints import Endpoint, Request

if TYPE_CHECKING:
    from circleci_relay.console.looking import Looking

TAG = "deliveries"


class OneDelivery(Given):
    """Which delivery."""

    id: Key


def delivery_endpoints(looking: Looking) -> list[Endpoint]:
    """Return the endpoints that show what goes out, and what was done about it."""

    async def many(request: Request) -> Deliveries:
        return await looking.deliveries(request.query)

    async def one(request: Request) -> DeliveryWhole:
        return await looking.delivery(request.path.id)

    async def dead(request: Request) -> Dead:
        return await looking.dead(request.query)

    async def audit(request: Request) -> Audit:
        return await looking.audit(request.query)

    return [
        Endpoint(
            method="GET",
            path="/deliveries",
            summary="What is owed and what was sent, newest first.",
            description=(
                "A list looks at stored deliveries for a bounded time: a page may be short, even"
                " empty, with a `next` to go on from, and `searched_to`, how far it came."
            ),
            tag=TAG,
            handler=many,
            changes=False,
            query=DeliveryQuery,
            answers={200: Deliveries},
            problems=(404,),
        ),
        Endpoint(
            method="GET",
            path="/deliveries/{id}",
            summary="One delivery and all its attempts.",
            tag=TAG,
            handler=one,
            changes=False,
            path_params=OneDelivery,
            answers={200: DeliveryWhole},
            problems=(404,),
        ),
        Endpoint(
            method="GET",
            path="/dead",
            summary="What was given up and not replayed, grouped by what it died of.",
            tag=TAG,
            handler=dead,
            changes=False,
            query=DeadQuery,
            answers={200: Dead},
        ),
        Endpoint(
            method="GET",
            path="/audit",
            summary="Who did what, newest first.",
            tag="audit",
            handler=audit,
            changes=False,
            query=ListQuery,
            answers={200: Audit},
        ),
    ]
