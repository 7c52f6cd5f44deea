"""Connections to one destination, which may say an answer and little else, and its lookups."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import threading
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import HttpProcessingError

if TYPE_CHECKING:
    import ssl

INTERIM = 16
"""How many 1xx answers may come before the answer."""

SLICE = 4096
"""Bytes that are parsed in one go."""

HEAD_END = b"\r\n\r\n"


class Answering(ResponseHandler):
    """
    A connection that ends where its other side says more than it was asked for.

    aiohttp parses whatever has come, a quarter of a megabyte at once, and keeps every head
    it finds, also while nobody waits for one: a flood of `100 Continue`, or of answers that
    nobody asked for, takes the event loop and the memory from everyone else.
    """

    _interim = 0
    _answered = False
    _again = False  # asked before

    def set_response_params(self, **params: Any) -> None:
        """See aiohttp; a request is about to be sent."""
        self._interim = 0
        self._again = self._answered
        self._answered = False
        super().set_response_params(**params)

    def at_rest(self) -> bool:
        """Whether the answer is in and nothing has come after it, not even half a head."""
        parser: Any = self._parser
        try:
            return parser is not None and parser.feed_eof() is None
        except Exception:  # noqa: BLE001 - what it makes of half a head is not said anywhere
            return False

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`; a long piece is parsed in slices, until it is enough."""
        # A head goes in alone: the parser forgets it where what follows does not parse, and
        # what was accepted would be sent again and again.
        while not self._answered and 3 < (end := data.find(HEAD_END) + 4) < len(data):  # noqa: PLR2004
            self._parse(data[:end])
            if self._is_over():
                return
            data = data[end:]
        if self._answered and (self._payload is None or self._payload.is_eof()):
            if data not in {b"", b"\r\n"}:  # RFC 9112, 2.2: some add a line end
                self._end()
            return
        self._parse(data)

    def _parse(self, data: bytes) -> None:
        if len(data) <= SLICE:
            super().data_received(data)
            return
        for start in range(0, len(data), SLICE):
            if self._is_over():
                return
            super().data_received(data[start : start + SLICE])

    def _is_over(self) -> bool:
        return self.transport is None or self.transport.is_closing()

    def feed_data(self, data: Any, size: int = 0) -> None:
        """See aiohttp; *data* is one head and its body."""
        code = data[0].code
        if self._answered:
            self._end()
        elif code == 101 or not 100 <= code < 200:  # noqa: PLR2004 - RFC 9110, 15.2
            self._answered = True
            if code == 408 and self._again and data[0].should_close:  # noqa: PLR2004
                # RFC 9110, 15.5.9: it had waited too long for a request, not read this one.
                self.set_exception(aiohttp.ServerDisconnectedError())
                self._end()
                return
            super().feed_data(data, size)
        elif self._interim < INTERIM:
            self._interim += 1
            super().feed_data(data, size)
        else:
            self.set_exception(HttpProcessingError(code=code, message="no answer but 1xx"))
            self._end()

    def set_exception(self, exc: BaseException, *cause: BaseException) -> None:
        """See aiohttp, which leaves whoever reads a body that does not parse waiting."""
        super().set_exception(exc, *cause)
        payload = self._payload
        if payload is not None and not payload.is_eof() and payload.exception() is None:
            payload.set_exception(exc)

    def _end(self) -> None:
        self.force_close()
        if self.transport is not None:
            self.transport.abort()


class Lookups(AbstractResolver):
    """
    Looks names up in threads of its own; they end with the process if nothing answers before.

    The event loop's few threads serve everyone: a handful of names whose servers do not
    answer would hold all of them, and with them every other destination. The connector asks
    once at a time and remembers for some seconds, so there is one thread a destination.
    """

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """See aiohttp."""
        loop = asyncio.get_running_loop()
        found: asyncio.Future[list[ResolveResult]] = loop.create_future()

        def tell(addresses: list[ResolveResult], fault: OSError | None) -> None:
            if found.done():
                return
            if fault is None:
                found.set_result(addresses)
            else:
                found.set_exception(fault)

        def look() -> None:
            addresses, fault = [], None
            try:
                addresses = _addresses(host, port, family)
            except OSError as error:
                fault = error
            except UnicodeError:
                fault = socket.gaierror(socket.EAI_NONAME, "not a name")
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(tell, addresses, fault)

        threading.Thread(target=look, name="lookup", daemon=True).start()
        return await found

    async def close(self) -> None:
        """See aiohttp."""


def _addresses(host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult]:
    numeric = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
    return [
        {
            "hostname": host,
            # Unlike the address itself, this keeps the scope of a link-local one.
            "host": socket.getnameinfo(address, numeric)[0],
            "port": port,
            "family": kind,
            "proto": protocol,
            "flags": socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
        }
        for kind, _, protocol, _, address in socket.getaddrinfo(
            host, port, family=family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
        )
    ]


class Connector(aiohttp.TCPConnector):
    """
    Makes the connections to one destination.

    *tls* is meant for the destination, and is used towards an `https` proxy too unless
    there is a *proxy_tls*.
    """

    def __init__(
        self,
        *,
        limit: int,
        tls: ssl.SSLContext | bool,
        proxy_tls: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(limit=limit, ssl=tls, resolver=Lookups())
        self._factory: Any = functools.partial(Answering, loop=self._loop)
        self._proxy_tls = proxy_tls

    def _get_ssl_context(self, req: aiohttp.ClientRequest) -> ssl.SSLContext | None:
        # The request for the destination names its proxy; that for the proxy names none.
        if self._proxy_tls is not None and req.proxy is None and req.is_ssl():
            return self._proxy_tls
        return super()._get_ssl_context(req)
