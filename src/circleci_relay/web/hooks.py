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

REMEMBERED = 1 << 20
"""Bytes of a body that was turned away which may be wanted; `rejects.max_body` is no larger."""

_CREATED = head(202)
_KNOWN = head(200)
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Intake(Protocol):
    """Who takes hooks in; see `circleci_relay.ingest.Ingest`."""

    def find(self, path: str) -> Door | None:
        """Return where *path* leads."""

    def near(self, path: str) -> Door | None:
        """Return where *path* would lead, were there a secret of the name it gives."""

    def stray(self, door: Door, headers: CIMultiDictProxy[str], body: bytes) -> None:
        """Remember what came to a door that `near` found."""

    async def receive(
        self, door: Door, headers: CIMultiDictProxy[str], body: bytes, *, deadline: float
    ) -> Accepted:
        """Store what came to *door*."""

    def count(self, source: str, result: str) -> None:
        """Count what was turned away here."""

    def too_large(
        self, door: Door, headers: CIMultiDictProxy[str], start: bytes, *, size: int, detail: str
    ) -> None:
        """Count a body of at least *size* bytes, of which *start* was read."""


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
            if door is None:
                return await self._stray(request, began)
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

    def _door(self, request: web.BaseRequest) -> Door | None:
        """Return where it leads; None if that is a name that no secret has."""
        # As it was sent, first: decoding costs more than all the rest of this.
        door = self._intake.find(request.raw_path) or self._intake.find(request.path)
        encoding = request.headers.get("content-encoding", "")
        plain = encoding.strip().lower() in {"", "identity"}
        if door is None:
            if request.method == "POST" and plain and self._intake.near(request.path) is not None:
                return None
            raise _no_source()
        if request.method != "POST":
            raise _Refusal(405, "only POST is taken", headers={"allow": "POST"}, reason="method")
        if not plain:
            raise _Refusal(415, "a content-encoding is not taken", reason="encoding")
        return door

    async def _receive(self, request: web.BaseRequest, door: Door, began: float) -> Accepted:
        reserved = _Reserved(self, request, door)
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

    async def _stray(self, request: web.BaseRequest, began: float) -> web.StreamResponse:
        """Answer 404, and let it be remembered: the name may be mistyped, or not yet known."""
        refusal = _no_source()
        door = self._intake.near(request.path)
        if door is not None:
            reserved = _Reserved(self, request, door)
            try:
                body = await self._read(request, reserved, began)
                self._intake.stray(door, request.headers, body)
            except _Refusal as fault:
                if fault.status != 413:  # noqa: PLR2004 -- that is remembered as well
                    refusal = fault
            finally:
                reserved.release()
        return self._refuse(request, refusal)

    async def _read(self, request: web.BaseRequest, reserved: _Reserved, began: float) -> bytes:
        content = request.content
        try:
            if (request.content_length or 0) > self.max_body:
                reserved.chunks.append(content.read_nowait(-1))  # what came with the headers
                raise reserved.too_large(request.content_length or 0)
            if content.is_eof():  # all of it came with the headers
                body: bytes = content.read_nowait(-1)
                reserved.add(body)
                return body
            self._invite(request)
            left = self._limits.body - (time.monotonic() - began)
            async with asyncio.timeout(max(0.0, left)):
                while chunk := await content.readany():
                    reserved.add(chunk)
                body = b"".join(reserved.chunks)
                reserved.chunks.clear()
                return body
        except TimeoutError:
            raise _Refusal(408, "the body took too long", reason="slow") from None
        except (web.RequestPayloadError, ConnectionError) as fault:
            # The stream keeps the fault, and by that this frame: a ring that holds the body until
            # the collector comes by, while nobody counts it any more.
            fault.__traceback__ = None
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

    def too_large(self, request: web.BaseRequest, door: Door, start: bytes, size: int) -> _Refusal:
        """Have a body over `max_body` counted, of which *start* was read."""
        error = f"the body is larger than {self.max_body} bytes"
        self._intake.too_large(door, request.headers, start, size=size, detail=error)
        return _Refusal(413, error)

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


def _no_source() -> _Refusal:
    return _Refusal(404, "no such source", reason="path")


def _cut_short() -> _Refusal:
    return _Refusal(400, "the body is malformed or cut short", reason="http")


class _Reserved:
    """The bytes one request holds of the budget."""

    __slots__ = ("_door", "_hooks", "_request", "_size", "chunks")

    def __init__(self, hooks: Hooks, request: web.BaseRequest, door: Door) -> None:
        self._hooks = hooks
        self._request = request
        self._door = door
        self._size = 0
        self.chunks: list[bytes] = []

    def add(self, chunk: bytes) -> None:
        """Hold *chunk* too; raise the refusal if that is too much."""
        if self._size + len(chunk) > self._hooks.max_body:
            self.chunks.append(chunk)
            raise self.too_large(self._size + len(chunk))
        if not self._hooks.reserve(len(chunk)):
            raise self._hooks.too_much(self._door.source)
        self._size += len(chunk)
        self.chunks.append(chunk)

    def too_large(self, size: int) -> _Refusal:
        """Count and return the refusal of a body of at least *size* bytes."""
        start, most = bytearray(), self._hooks.max_body
        for chunk in self.chunks:
            if len(start) < min(most, REMEMBERED):
                start += chunk
        return self._hooks.too_large(
            self._request, self._door, bytes(start[: min(most, REMEMBERED)]), size
        )

    def release(self) -> None:
        """Give everything back."""
        self.chunks.clear()
        self._hooks.release(self._size)
