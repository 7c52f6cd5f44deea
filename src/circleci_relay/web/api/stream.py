"""What comes in and goes out, live, as server-sent events."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from aiohttp import web

from circleci_relay.console.requests import StreamQuery
from circleci_relay.live import Crowded, Over
from circleci_relay.web.api.endpoints import Endpoint, Media, Request
from circleci_relay.web.gate import GATE
from circleci_relay.web.problems import Refused

if TYPE_CHECKING:
    from collections.abc import Mapping

    from circleci_relay.clock import Clock, Timer
    from circleci_relay.console.names import Names
    from circleci_relay.live import Happening, Hub, Listener
    from circleci_relay.redaction import Redact

HEARTBEAT = 15.0
"""Seconds between two comments; at each it is asked whether the listener may still listen."""

LOOK = 1.0
"""Seconds after which it is noticed at last that a listener is gone."""

STALLED = 30.0
"""Seconds after which a listener that reads nothing is dropped."""

# HTML's "Server-sent events", section "Parsing an event stream".
TYPE = "text/event-stream"


def stream_endpoint(
    hub: Hub, *, clock: Clock, redact: Redact, names: Names | None = None
) -> Endpoint:
    """Return the endpoint that tells what happens in this process, while it happens."""

    async def listen(request: Request) -> web.StreamResponse:
        if names is not None:
            await names.check(destination=request.query.destination, source=request.query.source)
        try:
            with hub.listening(partial(_wanted, request.query)) as listener:
                return await _Stream(request, listener, clock, redact).run()
        except Crowded:
            raise Refused(503, "too many listen already", headers={"retry-after": "30"}) from None
        except Over:
            raise Refused(503, "the relay is stopping", headers={"retry-after": "5"}) from None

    return Endpoint(
        method="GET",
        path="/stream",
        summary="What comes in (`event`) and goes out (`attempt`), live.",
        description=(
            "Server-sent events, of the process that answers alone. `data` is a JSON object; the "
            "times in it are seconds since the epoch. A listener that is too slow hears of "
            "`dropped` with a `count`. Nothing is kept: what happens between two connections is "
            "in the lists of events and deliveries."
        ),
        tag="live",
        handler=listen,
        changes=False,
        query=StreamQuery,
        answers={200: Media(type=TYPE, summary="For as long as one listens.")},
        problems=(503,),
    )


class _Stream:
    """One listener's answer."""

    def __init__(self, request: Request, listener: Listener, clock: Clock, redact: Redact) -> None:
        self._http = request.http
        self._listener = listener
        self._clock = clock
        self._redact = redact
        self._response = web.StreamResponse(
            headers={
                "content-type": TYPE,
                "cache-control": "no-store",
                "x-accel-buffering": "no",  # nginx would keep it back
            }
        )
        self._number = 0
        self._late = False

    async def run(self) -> web.StreamResponse:
        """Write what happens until the listener is gone or may not listen any more, or it ends."""
        await self._response.prepare(self._http)
        with suppress(ConnectionError, Over):
            await self._write(b": the relay's stream\nretry: 2000\n\n")
            await self._tell()
        return self._response

    async def _tell(self) -> None:
        beat = self._clock.monotonic() + HEARTBEAT
        timer = self._look_again()
        try:
            while True:
                happening = await self._listener.next()
                if self._http.transport is None:  # a browser that went on to another page
                    return
                if missed := self._listener.missed():
                    await self._write(self._written("dropped", {"count": missed}))
                if happening is not None:
                    self._number += 1
                    text = self._written(happening.kind, happening.about, number=self._number)
                    await self._write(text)
                now = self._clock.monotonic()
                if now >= beat:
                    if not self._http.app[GATE].still_known(self._http):
                        return
                    await self._write(b":\n\n")
                    beat = now + HEARTBEAT
                if self._late:
                    timer = self._look_again()
        finally:
            timer.cancel()

    def _look_again(self) -> Timer:
        """Wake up in a while, though nothing may have happened."""
        self._late = False
        return self._clock.call_later(LOOK, self._wake)

    def _wake(self) -> None:
        self._late = True
        self._listener.wake()

    async def _write(self, data: bytes) -> None:
        try:
            async with asyncio.timeout(STALLED):
                await self._response.write(data)
        except TimeoutError:
            if self._http.transport is not None:
                self._http.transport.abort()
            raise ConnectionError("the listener reads nothing") from None

    def _written(self, kind: str, about: Mapping[str, Any], *, number: int | None = None) -> bytes:
        # One line: JSON's own escapes leave no line end in it.
        line = self._redact(json.dumps(about, separators=(",", ":")))
        name = "" if number is None else f"id: {number}\n"
        return f"event: {kind}\n{name}data: {line}\n\n".encode()


def _wanted(query: StreamQuery, happening: Happening) -> bool:
    about = happening.about
    if query.kind is not None and query.kind != happening.kind:
        return False
    if query.source is not None and query.source != about["source"]:
        return False
    to = about["destinations"] if happening.kind == "event" else [about["destination"]]
    return query.destination is None or query.destination in to
