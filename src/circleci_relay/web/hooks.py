"""Hooks: where CircleCI posts; 202 means stored."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Protocol

import structlog
from aiohttp import HttpVersion11, web

from circleci_relay.deadlines import Deadlines
from circleci_relay.errors import Rejected, StoreError
from circleci_relay.web.answers import Answer, failure, head

if TYPE_CHECKING:
    from collections.abc import Mapping

    from multidict import CIMultiDictProxy

    from circleci_relay.clock import Clock
    from circleci_relay.ingest import Door
    from circleci_relay.metrics import Metrics
    from circleci_relay.model import Accepted
    from circleci_relay.web.connections import Connection, Limits

log = structlog.get_logger()

RETRY_AFTER = {"retry-after": "5"}

QUIET = 60.0
"""Seconds between two lines for one kind of refusal: strangers scan every open port."""

MARGIN = 0.5
"""Seconds kept between the store's deadline and the answer's."""

_CREATED = head(202)
_KNOWN = head(200)
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Intake(Protocol):
    """Who takes hooks in; see `circleci_relay.ingest.Ingest`."""

    def find(self, path: str) -> Door | None:
        """Return where *path* leads."""

    async def receive(
        self, door: Door, headers: CIMultiDictProxy[str], body: bytes, *, deadline: float
    ) -> Accepted:
        """Store what came to *door*."""

    def count(self, source: str, result: str) -> None:
        """Count what was turned away here."""


class _Refusal(Exception):  # noqa: N818 -- it is an answer
    """An answer that is not 200 or 202."""

    def __init__(
        self, status: int, error: str, *, headers: Mapping[str, str] | None = None, reason: str = ""
    ) -> None:
        super().__init__(error)
        self.status = status
        self.error = error
        self.headers = headers
        self.reason = reason  #: counted as `requests_refused_total{reason}`, if any


class Hooks:
    """The handler of the hooks listener; no request takes longer than `limits.answer`."""

    def __init__(
        self, intake: Intake, *, max_body: int, limits: Limits, metrics: Metrics, clock: Clock
    ) -> None:
        self.max_body = max_body
        self.closing = False  #: answers end their connection: the listener is closed
        self._intake = intake
        self._limits = limits
        self._metrics = metrics
        self._clock = clock
        self._in_flight = 0
        self._said: dict[str, float] = {}
        self._deadlines = Deadlines()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Take in one request."""
        connection: Connection = request.protocol  # type: ignore[assignment]
        began = connection.taken()
        try:
            door = self._door(request)
            accepted = await self._receive(request, door, began)
        except _Refusal as refusal:
            return self._refuse(request, refusal)
        connection.proven()
        self._metrics.source(door.source).ack_duration.observe(time.monotonic() - began)
        content = b'{"event": "%b", "duplicate": %b}' % (
            accepted.event.encode(),
            b"true" if accepted.duplicate else b"false",
        )
        start = _KNOWN if accepted.duplicate else _CREATED
        return Answer(start, content, keep=self._keeps(request)).as_response()

    def _door(self, request: web.BaseRequest) -> Door:
        # As it was sent, first: decoding costs more than all the rest of this.
        door = self._intake.find(request.raw_path) or self._intake.find(request.path)
        if door is None:
            raise _Refusal(404, "no such source", reason="path")
        if request.method != "POST":
            raise _Refusal(405, "only POST is taken", headers={"allow": "POST"}, reason="method")
        encoding = request.headers.get("content-encoding", "")
        if encoding.strip().lower() not in {"", "identity"}:
            raise _Refusal(415, "a content-encoding is not taken", reason="encoding")
        return door

    async def _receive(self, request: web.BaseRequest, door: Door, began: float) -> Accepted:
        reserved = _Reserved(self, door.source)
        try:
            body = await self._read(request, reserved, began)
            left = self._limits.answer - (time.monotonic() - began)
            with self._deadlines.within(left):
                return await self._intake.receive(
                    door,
                    request.headers,
                    body,
                    deadline=self._clock.monotonic() + left - MARGIN,
                )
        except Rejected as fault:
            raise _Refusal(fault.status, str(fault)) from None
        except (StoreError, TimeoutError):
            error = "it cannot be stored now; please send it again"
            raise _Refusal(503, error, headers=RETRY_AFTER) from None
        finally:
            reserved.release()

    async def _read(self, request: web.BaseRequest, reserved: _Reserved, began: float) -> bytes:
        if (request.content_length or 0) > self.max_body:
            raise reserved.too_large()
        content = request.content
        try:
            if content.is_eof():  # all of it came with the headers
                body: bytes = content.read_nowait(-1)
                reserved.add(len(body))
                return body
            self._invite(request)
            left = self._limits.body - (time.monotonic() - began)
            async with asyncio.timeout(max(0.0, left)):
                chunks = []
                while chunk := await content.readany():
                    reserved.add(len(chunk))
                    chunks.append(chunk)
                return b"".join(chunks)
        except TimeoutError:
            raise _Refusal(408, "the body took too long", reason="slow") from None
        except (web.RequestPayloadError, ConnectionError):
            raise _cut_short() from None
        except RuntimeError:
            if request.transport is not None:
                raise
            # So says aiohttp where the client was gone before anyone asked for the body.
            raise _cut_short() from None

    def _invite(self, request: web.BaseRequest) -> None:
        """Answer `expect: 100-continue`, or the client waits before it sends the body."""
        expected = request.headers.get("expect", "")
        transport = request.transport
        if (
            expected.strip().lower() == "100-continue"
            and request.version >= HttpVersion11
            and transport is not None
        ):
            transport.write(_CONTINUE)

    def reserve(self, size: int) -> bool:
        """Take *size* bytes of the budget for bodies, if there are any left."""
        if self._in_flight + size > self._limits.in_flight:
            return False
        self._in_flight += size
        return True

    def release(self, size: int) -> None:
        """Give *size* bytes back."""
        self._in_flight -= size

    def too_large(self, source: str) -> _Refusal:
        """Count a body over `max_body`."""
        self._intake.count(source, "too_large")
        return _Refusal(413, f"the body is larger than {self.max_body} bytes")

    def too_much(self, source: str) -> _Refusal:
        """Count a body for which the budget has no room."""
        self._intake.count(source, "unavailable")
        return _Refusal(503, "too many bytes in flight", headers=RETRY_AFTER)

    def _refuse(self, request: web.BaseRequest, refusal: _Refusal) -> web.StreamResponse:
        if refusal.reason:
            self._metrics.refused(refusal.reason)
            self._say(request, refusal)
        return Answer(
            head(refusal.status, refusal.headers),
            failure(refusal.error),
            keep=self._keeps(request) and request.content.is_eof() and refusal.reason != "http",
            body=request.method != "HEAD",
        ).as_response()

    def _keeps(self, request: web.BaseRequest) -> bool:
        return request.keep_alive and not self.closing and request.version >= HttpVersion11

    def _say(self, request: web.BaseRequest, refusal: _Refusal) -> None:
        now = self._clock.monotonic()
        if now - self._said.get(refusal.reason, -QUIET) < QUIET:
            return
        self._said[refusal.reason] = now
        log.info(
            "request_refused",
            reason=refusal.reason,
            status=refusal.status,
            method=request.method[:20],
            path=request.raw_path.partition("?")[0][:200],
        )


def _cut_short() -> _Refusal:
    return _Refusal(400, "the body is malformed or cut short", reason="http")


class _Reserved:
    """The bytes one request holds of the budget."""

    __slots__ = ("_hooks", "_size", "_source")

    def __init__(self, hooks: Hooks, source: str) -> None:
        self._hooks = hooks
        self._source = source
        self._size = 0

    def add(self, size: int) -> None:
        """Hold *size* more; raise the refusal if that is too much."""
        if self._size + size > self._hooks.max_body:
            raise self.too_large()
        if not self._hooks.reserve(size):
            raise self._hooks.too_much(self._source)
        self._size += size

    def too_large(self) -> _Refusal:
        """Count and return the refusal of a body that is too large."""
        return self._hooks.too_large(self._source)

    def release(self) -> None:
        """Give everything back."""
        self._hooks.release(self._size)
