"""What was turned away at the door, and checking it again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from circleci_relay.console.given import Given
from circleci_relay.console.requests import Id, Recheck, RejectQuery
from circleci_relay.console.shapes import Rechecked, Rejects, RejectWhole
from circleci_relay.web.api.endpoints import Endpoint, Request

if TYPE_CHECKING:
    from circleci_relay.console.doorstep import Doorstep

TAG = "rejects"


class OneReject(Given):
    """Which reject."""

    id: Id


def reject_endpoints(doorstep: Doorstep) -> list[Endpoint]:
    """Return the endpoints that show rejects, and check them again."""

    async def many(request: Request) -> Rejects:
        return await doorstep.rejects(request.query)

    async def one(request: Request) -> RejectWhole:
        return await doorstep.reject(request.path.id)

    async def recheck(request: Request) -> Rechecked:
        return await doorstep.recheck(request.body, request.caller.name)

    return [
        Endpoint(
            method="GET",
            path="/rejects",
            summary="What was turned away at the door; nothing in it is to be trusted.",
            tag=TAG,
            handler=many,
            changes=False,
            query=RejectQuery,
            answers={200: Rejects},
        ),
        Endpoint(
            method="GET",
            path="/rejects/{id}",
            summary="One reject with its headers, and what was kept of its body.",
            tag=TAG,
            handler=one,
            changes=False,
            path_params=OneReject,
            answers={200: RejectWhole},
            problems=(404,),
        ),
        Endpoint(
            method="POST",
            path="/rechecks",
            summary="Check rejects with the secrets in force, and take in what now holds.",
            tag=TAG,
            handler=recheck,
            changes=True,
            body=Recheck,
            answers={200: Rechecked},
        ),
    ]
