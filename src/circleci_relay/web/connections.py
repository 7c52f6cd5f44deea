"""Connections that slow or hostile clients cannot hold: deadlines, a bound, JSON errors."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from itertools import islice
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
    left_over: int = 1024 * 1024  #: bytes of it that are read, however fast they come
    ahead: int = 40  #: requests in a row of which none waited for the answer before
    unread: float = 5.0  #: an answer that the client does not take
    overhead: int = 32 * 1024  #: bytes that are no body: a request's headers, chunks' lengths


SLICE = 8192
"""Bytes that are parsed in one go."""

CANDIDATES = 100
"""How many connections are looked at for one that gives way."""


class Connection(web.RequestHandler):
    """One client; its headers must come in time."""

    __slots__ = (
        "_ahead",
        "_began",
        "_body",
        "_deaf",
        "_head_timer",
        "_left_over",
        "_overhead",
        "_server",
        "_turned_away",
        "_unread_timer",
        "_wire",
    )

    def __init__(self, server: Connections, **options: Any) -> None:
        super().__init__(server, **options)
        self._server = server
        self._began = 0.0
        self._head_timer: asyncio.TimerHandle | None = None
        self._unread_timer: asyncio.TimerHandle | None = None
        self._turned_away = False
        self._body: Any = None  # of the request that came last
        self._deaf = False  # whatever comes is dropped
        self._ahead = 0
        self._left_over = 0
        self._overhead = 0
        self._wire: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`; one connection too many is told so and closed."""
        self._wire = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        if not self._server.admit(self):
            self._turned_away = True
            self._wire.write(_TOO_MANY)
            self._wire.close()
            return
        # Tell at once when an answer is not taken: `pause_writing`.
        self._wire.set_write_buffer_limits(0)
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: BaseException | None) -> None:
        """See `asyncio.Protocol`."""
        self._head_done()
        self._taken_by_client()
        self._wire = None
        if not self._turned_away:
            super().connection_lost(exc)
            self._server.gone(self)

    def data_received(self, data: bytes) -> None:
        """
        See `asyncio.Protocol`; also starts and stops the deadline for a request's headers.

        A long piece is parsed in slices, each looked at: what comes at once may be tens of
        thousands of chunks of one byte, or headers that never end.
        """
        if len(data) <= SLICE:
            self._parse(data)
            return
        for start in range(0, len(data), SLICE):
            self._parse(data[start : start + SLICE])

    def _parse(self, data: bytes) -> None:
        if self._turned_away or self._deaf or self._force_close:
            return
        seen, body, idle = self._request_count, self._body, self.idle
        size = 0 if body is None else body.total_bytes
        if idle:
            self._ahead = 0
            self._began = self._began or time.monotonic()
            if seen and self._waiter is None and self._enough_left_over(len(data)):
                return
        super().data_received(data)
        if self._request_count != seen:
            self._head_done()
            self._look_at_requests(self._request_count - seen, idle=idle)
            body, size = self._body, 0
        elif self._head_timer is None and self.idle:
            self._await_head()
        self._overhead += len(data) - (0 if body is None else body.total_bytes - size)
        # While it is paused, what waits to be parsed may be body; it is counted once it is.
        paused = self._reading_paused or self._buffer_paused
        if self._overhead > self._server.limits.overhead and not paused:
            self._too_wordy()

    def _look_at_requests(self, count: int, *, idle: bool) -> None:
        """Take note of *count* new requests, which came while the connection was *idle* or not."""
        message, body = self._messages[-1]
        self._ahead += count
        if hasattr(message, "status"):
            # What follows malformed HTTP means nothing; aiohttp would refuse each piece anew.
            self._deaf = True
            if not idle:
                self._cut_short("malformed")
        elif self._ahead > self._server.limits.ahead:
            self._server.refused("http")
            self._deaf = True
            self.close()  # once the one under way has been answered
        self._body = body

    def _enough_left_over(self, size: int) -> bool:
        """Count what is left of a refused body, up to where it is no more worth reading."""
        self._left_over += size
        if self._left_over <= self._server.limits.left_over:
            return False
        self.force_close()
        return True

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`; the client has a moment to take what it was answered."""
        super().pause_writing()
        if self._unread_timer is None:
            self._unread_timer = self._loop.call_later(self._server.limits.unread, self._abort)

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        super().resume_writing()
        self._taken_by_client()

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
        self._left_over = 0
        if not self._messages:
            self._overhead = 0
        began, self._began = self._began, 0.0
        return began or time.monotonic()

    def proven(self) -> None:
        """Note that this client has sent what was worth storing; it is not made to give way."""
        self._server.proven(self)

    def give_way(self) -> bool:
        """End for the sake of another, unless a request is in our hands; return whether so."""
        request = self._current_request
        if not self.idle and (request is None or request.content.is_eof()):
            return False
        self._abort()
        return True

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
            if not self._gone(exc):
                log.error("request_failed", exc_info=exc)
            status, error = 500, "internal error"
        if request.writer.output_size > 0:
            raise ConnectionError("an answer has begun already")
        return answers.Answer(
            answers.head(status), answers.failure(error), keep=False
        ).as_response()

    def _gone(self, fault: BaseException | None) -> bool:
        """Whether the connection has ended, and that is all that is wrong."""
        ended = self.transport is None or self.transport.is_closing()
        return ended and isinstance(fault, ConnectionError)

    def log_exception(self, *_: Any, **details: Any) -> None:
        """Log what aiohttp could not make an answer of, the way we log everything."""
        fault = details.get("exc_info")
        if self.transport is None and isinstance(fault, RuntimeError):
            return  # so says aiohttp where the rest of a refused body does not come
        log.error("connection_failed", exc_info=fault)

    def _abort(self) -> None:
        if self._wire is not None:
            self._wire.abort()

    def _taken_by_client(self) -> None:
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None

    def _too_wordy(self) -> None:
        self._deaf = True
        if self.idle and (self._waiter is not None or not self._request_count):
            self._server.refused("http")
            if self.transport is not None:
                self.transport.write(_TOO_WORDY)
            self.force_close()
            return
        if not self.idle:
            self._cut_short("chunks too small")
        self.close()  # once what is under way has been answered

    def _cut_short(self, why: str) -> None:
        """Let the request under way end, without the rest of its body, and nothing follow."""
        if self._body is not None and not self._body.is_eof():
            self._body.set_exception(web.RequestPayloadError(why))
            self._body.feed_eof()

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
        self._unproven: dict[Connection, None] = {}  # the oldest first
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

    def admit(self, connection: Connection) -> bool:
        """
        Return whether there is room for one more, and count it.

        Where there is none, the oldest gives way that has shown nothing and asks for nothing:
        a crowd of them must not keep out who has something to say.
        """
        if self._live >= self.limits.connections:
            self._refused("connections")
            if not self._make_room():
                return False
        self._live += 1
        self._unproven[connection] = None
        self._none_left.clear()
        return True

    def _make_room(self) -> bool:
        for oldest in islice(self._unproven, CANDIDATES):
            if oldest.give_way():
                del self._unproven[oldest]
                return True
        return False

    def proven(self, connection: Connection) -> None:
        """Keep *connection* whatever comes."""
        self._unproven.pop(connection, None)

    def gone(self, connection: Connection) -> None:
        """Count one connection less."""
        self._unproven.pop(connection, None)
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
_TOO_WORDY = answers.whole(431, "the request's headers are too long, or its chunks too small")
_TOO_SLOW = answers.whole(408, "the request's headers took too long")
