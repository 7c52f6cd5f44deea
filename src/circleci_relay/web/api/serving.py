"""An endpoint as aiohttp serves it: the request read, the handler called, the answer written."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from aiohttp import web
from pydantic import BaseModel

from circleci_relay.web.access import CALLER, Denied
from circleci_relay.web.api.endpoints import Media, Reply
from circleci_relay.web.api.reading import read
from circleci_relay.web.problems import problem_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from circleci_relay.web.api.endpoints import Answer, Endpoint


class Undocumented(RuntimeWarning):
    """
    An answer that the documentation does not know.

    A warning: whoever asked gets it all the same, while a test that sees one fails.
    """


def routes(endpoints: Iterable[Endpoint]) -> list[web.RouteDef]:
    """Return the routes that serve *endpoints*; HEAD works where GET does."""
    # aiohttp adds HEAD to GET by itself.
    return [web.route(each.method, each.route, served(each)) for each in endpoints]


def served(endpoint: Endpoint) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Return the handler of *endpoint* for aiohttp."""

    async def serve(http: web.Request) -> web.StreamResponse:
        caller = http[CALLER]
        forbidden = endpoint.changes and caller.role != "operator"
        if forbidden and endpoint.spares is None:
            raise Denied(403, "your role is viewer; this takes an operator")
        request = await read(endpoint, http, caller)
        if forbidden and endpoint.spares is not None and not endpoint.spares(request.body):
            raise Denied(403, "your role is viewer; a dry run is all it may do here")
        if endpoint.streams and http.method == "HEAD":
            return web.Response(content_type="text/event-stream")
        try:
            answer = await endpoint.handler(request)
        except Exception as fault:
            told = problem_of(fault)
            if told is not None and told.status not in endpoint.errors:
                _note(endpoint, f"{told.status}, a problem it does not name")
            raise
        return _written(endpoint, answer)

    return serve


def _written(endpoint: Endpoint, answer: Answer) -> web.StreamResponse:
    if isinstance(answer, web.StreamResponse):
        return answer
    reply = answer if isinstance(answer, Reply) else Reply(content=answer)
    status = endpoint.usual if reply.status is None else reply.status
    content = reply.content
    wanted = endpoint.answers.get(status, ...)
    if isinstance(content, BaseModel):
        if not (isinstance(wanted, type) and type(content) is wanted):
            _note(endpoint, f"{status} with a {type(content).__name__}")
        # `model_dump_json` itself warns of a value that is not of its field's type.
        body, kind = content.model_dump_json(by_alias=True).encode(), "application/json"
        return web.Response(body=body, status=status, content_type=kind, headers=reply.headers)
    if content is None:
        if wanted is not None:
            _note(endpoint, f"{status} without a body")
        return web.Response(status=status, headers=reply.headers)
    if not isinstance(wanted, Media):
        _note(endpoint, f"{status} with bytes or text")
    kind = wanted.type if isinstance(wanted, Media) else "application/octet-stream"
    body = content.encode() if isinstance(content, str) else content
    return web.Response(body=body, status=status, headers={"content-type": kind, **reply.headers})


def _note(endpoint: Endpoint, what: str) -> None:
    warnings.warn(f"{endpoint.name} answered {what}", Undocumented, stacklevel=3)
