"""A local receiver that notes what arrives and answers as it is told; behind `sink` and `demo`."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

from aiohttp import web

from circleci_relay.circleci import payload, signature
from circleci_relay.errors import BadSignature, Malformed, StartupError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from aiohttp.web_request import BaseRequest

MAX_BODY = 64 * 1024 * 1024
"""Bytes of a body that are read; what comes after is left unread and answered 413."""

REMEMBERED = 100_000
"""How many webhook-ids are counted for `fail_first`, the oldest being forgotten."""

# The library logs what hostile clients do to it; a receiver has its own way of telling.
_silent = logging.getLogger("circleci_relay.receiver")
_silent.addHandler(logging.NullHandler())
_silent.propagate = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How a receiver answers."""

    status: int = 200
    fail_first: int = 0  #: attempts of each webhook-id that are answered with `fail_status`
    fail_status: int = 503
    stall: float | None = None  #: seconds before the answer
    hang: bool = False  #: never answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """One request, as it came in."""

    time: datetime
    method: str
    path: str  #: with its query
    webhook_id: str | None
    attempt: str | None  #: the relay-attempt header
    type: str | None  #: the body's, or else the header's
    id: str | None  #: the event's own id, out of the body
    body: bytes
    verified: bool | None  #: by circleci-signature; None where no secret was given
    answered: int | None  #: None where no answer will be given
    headers: tuple[tuple[str, str], ...] = ()  #: as they came, names in lower case

    @property
    def content(self) -> Any:
        """The body's JSON value; what is no JSON as text, bytes that are no UTF-8 replaced."""
        try:
            value = json.loads(self.body, parse_constant=_refuse)
            json.dumps(value, indent=1)  # what is nested too deeply to be written is shown as text
        except (ValueError, RecursionError):
            return self.body.decode(errors="replace")
        return value

    def record(self, *, whole: bool = False) -> dict[str, object]:
        """What scripts read, one JSON object an arrival; the *whole* with headers and body."""
        record = self._outline()
        if whole:
            record["headers"] = self._by_name()
            record["body"] = self.content
        return record

    def _by_name(self) -> dict[str, str]:
        """Headers by name; what came several times is joined, as HTTP has it."""
        found: dict[str, str] = {}
        for name, value in self.headers:
            found[name] = f"{found[name]}, {value}" if name in found else value
        return found

    def _outline(self) -> dict[str, object]:
        return {
            "time": self.time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "method": self.method,
            "path": self.path,
            "webhook_id": self.webhook_id,
            "attempt": self.attempt,
            "type": self.type,
            "id": self.id,
            "sha256": hashlib.sha256(self.body).hexdigest(),
            "bytes": len(self.body),
            "verified": self.verified,
            "answered": self.answered,
        }


def _refuse(constant: str) -> None:
    """NaN and its like are no JSON, and nobody could read them back."""
    raise ValueError(constant)


class Receiver:
    """
    An HTTP server for any request whatever, that calls *note* for each before answering it.

    Use as an async context manager; `url` holds the address it really listens on.
    """

    def __init__(
        self, manner: Manner, note: Callable[[Arrival], None], *, secret: bytes | None = None
    ) -> None:
        self.url = ""
        self._manner = manner
        self._note = note
        self._secret = secret
        self._seen: dict[str, int] = {}
        self._runner: web.ServerRunner | None = None
        self._address = ("127.0.0.1", 0)

    def at(self, host: str, port: int) -> Self:
        """Listen on *host* and *port* (0 takes any free one) once entered."""
        self._address = (host, port)
        return self

    async def __aenter__(self) -> Self:
        host, port = self._address
        # Bodies are shown as they came: nothing is unpacked.
        server = web.Server(self._handle, access_log=None, auto_decompress=False, logger=_silent)
        self._runner = web.ServerRunner(server, shutdown_timeout=0.5)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port).start()
        except OSError as error:
            await self._runner.cleanup()
            raise StartupError(f"cannot listen on {host}:{port}: {error.strerror}") from None
        bound_host, bound_port = self._runner.addresses[0][:2]
        name = f"[{bound_host}]" if ":" in bound_host else bound_host
        self.url = f"http://{name}:{bound_port}"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _handle(self, request: BaseRequest) -> web.Response:
        body = await _read(request)
        too_large = len(body) > MAX_BODY
        webhook_id = request.headers.get("webhook-id")
        status = (
            413 if too_large else self._answer_to(webhook_id or hashlib.sha256(body).hexdigest())
        )
        self._note(
            Arrival(
                time=datetime.now(UTC),
                method=request.method,
                path=request.raw_path,
                webhook_id=webhook_id,
                attempt=request.headers.get("relay-attempt"),
                body=body,
                headers=tuple((name.lower(), value) for name, value in request.headers.items()),
                verified=self._verify(body, request.headers.get(signature.HEADER)),
                answered=None if self._manner.hang else status,
                **_identity(body, request.headers.get("circleci-event-type")),
            )
        )
        if self._manner.hang:
            await asyncio.Event().wait()
        if self._manner.stall is not None:
            await asyncio.sleep(self._manner.stall)
        response = web.Response(status=status)
        if too_large:
            response.force_close()
        return response

    def _answer_to(self, key: str) -> int:
        """The status for one more attempt of the delivery called *key*."""
        if not self._manner.fail_first:
            return self._manner.status
        attempts = self._seen.pop(key, 0) + 1
        self._seen[key] = attempts
        if len(self._seen) > REMEMBERED:
            del self._seen[next(iter(self._seen))]
        failing = attempts <= self._manner.fail_first
        return self._manner.fail_status if failing else self._manner.status

    def _verify(self, body: bytes, header: str | None) -> bool | None:
        if self._secret is None:
            return None
        try:
            signature.verify(body, header, secret=self._secret)
        except BadSignature:
            return False
        return True


async def _read(request: BaseRequest) -> bytes:
    body = bytearray()
    while len(body) <= MAX_BODY and (chunk := await request.content.readany()):
        body += chunk
    return bytes(body)


def _identity(body: bytes, header: str | None) -> dict[str, str | None]:
    """The event's `type` and `id`, from a body that may be anything."""
    try:
        parsed = payload.parse(body)
    except Malformed:
        return {"type": header, "id": None}
    return {"type": payload.event_type(parsed), "id": payload.event_id(parsed)}
