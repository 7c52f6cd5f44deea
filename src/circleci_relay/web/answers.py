"""Answers as bytes made beforehand, and errors as JSON."""

from __future__ import annotations

import time
from email.utils import formatdate
from http import HTTPStatus
from json import dumps
from typing import TYPE_CHECKING, Any, cast

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Mapping

SERVER = "circleci-relay"
"""The `server` header: no versions, which only help those who look for old ones."""

UNREAD = 64 * 1024
"""Bytes of answers a client may leave unread before its connection is dropped."""


class _Date:
    """The `date` header, made once a second."""

    def __init__(self) -> None:
        self._second = -1
        self._text = b""

    def __call__(self) -> bytes:
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._text = b"\r\ndate: " + formatdate(second, usegmt=True).encode() + b"\r\n"
        return self._text


_date = _Date()


def head(status: int, headers: Mapping[str, str] | None = None) -> bytes:
    """Return an answer's first lines, up to where `date`, length and body follow."""
    lines = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        f"server: {SERVER}",
        "content-type: application/json",
        *(f"{name}: {value}" for name, value in (headers or {}).items()),
    ]
    return "\r\n".join(lines).encode("ascii")


def whole(
    status: int, error: str, headers: Mapping[str, str] | None = None, *, body: bool = True
) -> bytes:
    """Return all of an error that ends its connection."""
    return Answer(head(status, headers), failure(error), keep=False, body=body).encode()


def failure(error: str) -> bytes:
    """Return the body every error has."""
    return dumps({"error": error}).encode()


class Answer:
    """
    A small answer that goes to the transport in one write.

    aiohttp's own response costs as much as the rest of the request, and waits for a client
    that does not read; here such a client loses its connection. It stands in for a
    `StreamResponse`: `as_response` says so to the type checker.
    """

    __slots__ = ("_body", "_head", "_show", "keep_alive", "status")

    def __init__(self, head: bytes, content: bytes, *, keep: bool, body: bool = True) -> None:
        self._head = head
        self._body = content
        self._show = body  # HEAD is told the length only
        self.keep_alive = keep
        self.status = int(head[9:12])

    def as_response(self) -> web.StreamResponse:
        """Return this for a handler to return."""
        return cast("web.StreamResponse", self)

    def encode(self) -> bytes:
        """Return the bytes on the wire."""
        return b"".join(
            (
                self._head,
                _date(),
                b"" if self.keep_alive else b"connection: close\r\n",
                b"content-length: %d\r\n\r\n" % len(self._body),
                self._body if self._show else b"",
            )
        )

    async def prepare(self, request: web.BaseRequest) -> None:
        """Write all of it; called by aiohttp."""
        transport = request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client is gone")
        transport.write(self.encode())
        if transport.get_write_buffer_size() > UNREAD:
            transport.abort()

    async def write_eof(self) -> None:
        """Do nothing: `prepare` wrote everything."""


def json_response(
    content: Mapping[str, Any], *, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """Return an answer with the body *content*, where speed is no matter."""
    return web.Response(
        body=dumps(content).encode(),
        status=status,
        content_type="application/json",
        headers={"server": SERVER, "cache-control": "no-store", **(headers or {})},
    )


def json_error(
    status: int, error: str, *, headers: Mapping[str, str] | None = None, **more: Any
) -> web.Response:
    """Return an error as JSON, where speed is no matter."""
    return json_response({"error": error, **more}, status=status, headers=headers)
