"""Connections that slow or hostile clients cannot hold: deadlines, a bound, JSON errors."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import structlog
from aiohttp import web

from circleci_relay.web import answers

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    Refused = Callable[[str], None]
    Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a client may take; times in seconds from its request's first byte."""

    head: float = 8.0  #: all headers have come; also from connecting to the first byte
    body: float = 8.0  #: the whole body has come
    answer: float = 9.0  #: answered, whatever happens: CircleCI gives up at 10
    idle: float = 75.0  #: between requests; longer than the 60 s of common load balancers
    connections: int = 2000
    in_flight: int = 64 * 1024 * 1024  #: bytes of bodies being read or stored
    linger: float = 1.0  #: reading what is left of a refused body, so that the answer arrives


class Connection(web.RequestHandler):
    """One client; its headers must come in time."""

    __slots__ = ("_began", "_head_timer", "_server", "_turned_away")

    def __init__(self, server: Connections, **options: Any) -> None:
        super().__init__(server, **options)
        self._server = server
        self._began = 0.0
        self._head_timer: asyncio.TimerHandle | None = None
        self._turned_away = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`; one connection too many is told so and closed."""
        if not self._server.admit():
            self._turned_away = True
            cast("asyncio.Transport", transport).write(_TOO_MANY)  # uvloop's is no subclass
            transport.close()
            return
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: BaseException | None) -> None:
        """See `asyncio.Protocol`."""
        self._head_done()
        if not self._turned_away:
            super().connection_lost(exc)
            self._server.gone()

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`; also starts and stops the deadline for a request's headers."""
        if self._turned_away:
            return
        seen = self._request_count
        if not self._began and self.idle:
            self._began = time.monotonic()
        super().data_received(data)
        if self._request_count != seen:
            self._head_done()
        elif self._head_timer is None and self.idle:
            self._await_head()

    def resume_reading(self, resume_parser: bool = True) -> None:  # noqa: FBT001, FBT002
        """See aiohttp; where nothing was held back, there is nothing to parse once more."""
        if self._reading_paused or self._buffer_paused:
            super().resume_reading(resume_parser)

    @property
    def idle(self) -> bool:
        """Whether no request is complete up to its headers and unanswered."""
        return not (self._messages or self._request_in_progress)

    def taken(self) -> float:
        """Return when the request now handled began, on the monotonic clock."""
        self._head_done()
        began, self._began = self._began, 0.0
        return began or time.monotonic()

    def _handle_request(
        self, request: web.BaseRequest, start_time: float | None, request_handler: Handler
    ) -> Coroutine[Any, Any, tuple[web.StreamResponse, bool]]:
        """See aiohttp; the request is under way from here on, not from its task's first turn."""
        # Before Python 3.12 that turn is a later one, and `finish` might come in between.
        self._request_in_progress = True
        return super()._handle_request(request, start_time, request_handler)

    def finish(self) -> None:
        """Close unless a request is under way: its answer will end the connection."""
        if self.idle and (self._waiter is None or not self._waiter.done()):
            self.force_close()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 -- it may quote the request
    ) -> web.StreamResponse:
        """Answer in JSON; what is malformed is counted, a fault of our own is logged."""
        if status < 500:  # noqa: PLR2004 -- a client's fault
            self._server.refused("http")
            error = "malformed HTTP request"
        else:
            log.error("request_failed", exc_info=exc)
            status, error = 500, "internal error"
        if request.writer.output_size > 0:
            raise ConnectionError("an answer has begun already")
        return answers.Answer(
            answers.head(status), answers.failure(error), keep=False
        ).as_response()

    def log_exception(self, *_: Any, **details: Any) -> None:
        """Log what aiohttp could not make an answer of, the way we log everything."""
        log.error("connection_failed", exc_info=details.get("exc_info"))

    def _await_head(self) -> None:
        self._head_timer = self._loop.call_later(self._server.limits.head, self._too_slow)

    def _head_done(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _too_slow(self) -> None:
        self._head_timer = None
        if not self.idle:
            return
        if self._began and self.transport is not None:
            self._server.refused("slow")
            self.transport.write(_TOO_SLOW)
        self.force_close()


class Connections(web.Server):
    """All clients of one listener: a bounded number, and an end that answers them."""

    def __init__(
        self,
        handler: Handler,
        *,
        limits: Limits,
        refused: Refused,
        request_factory: Any = None,
    ) -> None:
        super().__init__(handler, request_factory=request_factory)
        self.limits = limits
        self.closing = False
        self._refused = refused
        self._live = 0
        self._none_left = asyncio.Event()
        self._none_left.set()
        self._options: dict[str, Any] = {
            "loop": asyncio.get_running_loop(),
            "keepalive_timeout": limits.idle,
            "lingering_time": limits.linger,
            "auto_decompress": False,
            "access_log": None,
        }

    def __call__(self) -> Connection:
        """Return the protocol for one more connection."""
        return Connection(self, **self._options)

    def refused(self, reason: str) -> None:
        """Count one request that was refused here."""
        self._refused(reason)

    def admit(self) -> bool:
        """Return whether there is room for one more, and count it."""
        if self._live >= self.limits.connections:
            self._refused("connections")
            return False
        self._live += 1
        self._none_left.clear()
        return True

    def gone(self) -> None:
        """Count one connection less."""
        self._live -= 1
        if not self._live:
            self._none_left.set()

    async def drain(self, timeout: float) -> None:  # noqa: ASYNC109 -- then they are dropped
        """Close who is idle, let the others be answered for up to *timeout* s, drop the rest."""
        self.closing = True
        for connection in self.connections:
            if isinstance(connection, Connection):
                connection.finish()
        try:
            await asyncio.wait_for(self._none_left.wait(), timeout)
        except TimeoutError:
            log.warning("requests_dropped", count=self._live)
        await self.shutdown(0.1)


_TOO_MANY = answers.whole(503, "too many connections", {"retry-after": "5"})
_TOO_SLOW = answers.whole(408, "the request's headers took too long")
