"""The log of events: the list, one whole, and its bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from circleci_relay.console.given import Given
from circleci_relay.console.requests import EventQuery, Id
from circleci_relay.console.shapes import Events, EventWhole
from circleci_relay.web.api.endpoints import Endpoint, Media, Reply, Request

if TYPE_CHECKING:
    from circleci_relay.console.looking import Looking

TAG = "events"

_PLAIN = "text/plain; charset=utf-8"


class OneEvent(Given):
    """Which event."""

    id: Id
    """The relay's id, or CircleCI's."""


def event_endpoints(looking: Looking) -> list[Endpoint]:
    """Return the endpoints that show what came in."""

    async def many(request: Request) -> Events:
        return await looking.events(request.query)

    async def one(request: Request) -> EventWhole:
        return await looking.event(request.path.id)

    async def body(request: Request) -> Reply:
        name, found = await looking.event_body(request.path.id)
        # Never shown in the relay's own origin: it is whatever somebody sent.
        shown = f'attachment; filename="{name}.json"'
        return Reply(content=found, headers={"content-disposition": shown})

    return [
        Endpoint(
            method="GET",
            path="/events",
            summary="What came in, newest first.",
            description=(
                "A list looks at stored events for a bounded time: a page may be short, even"
                " empty, with a `next` to go on from, and `searched_to`, how far it came."
            ),
            tag=TAG,
            handler=many,
            changes=False,
            query=EventQuery,
            answers={200: Events},
        ),
        Endpoint(
            method="GET",
            path="/events/{id}",
            summary="Everything known of one event.",
            tag=TAG,
            handler=one,
            changes=False,
            path_params=OneEvent,
            answers={200: EventWhole},
            problems=(404,),
        ),
        Endpoint(
            method="GET",
            path="/events/{id}/body",
            summary="The very bytes that CircleCI sent.",
            tag=TAG,
            handler=body,
            changes=False,
            path_params=OneEvent,
            answers={200: Media(type=_PLAIN, summary="The body, unchanged.")},
            problems=(404,),
        ),
    ]
