"""Requests written as bytes to one destination's connections, and the beginning of each answer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import aiohttp

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp.connector import Connection
    from yarl import URL

    from circleci_relay.delivery.transport import Answer

_NO_TIMEOUT = aiohttp.ClientTimeout(total=None)

_UNSEEN = 65_536
"""Bytes; of a longer request over TLS nothing tells how much has been sent."""


class Wire:
    """
    Posts to one URL.

    Looking up names, connecting, TLS, proxies and reading answers are aiohttp's. Its session
    is left out: what that does besides (cookies, redirects, forms, a task that writes the
    body) is not wanted here, and costs more than all the rest of an attempt.

    Sets no timeout: that is up to whoever calls.
    """

    def __init__(self, url: URL, *, connector: aiohttp.BaseConnector, proxy: URL | None) -> None:
        self._connector = connector
        # Never sent. It tells the connector where to connect, and is told by it how to
        # introduce itself to a proxy.
        self._request = aiohttp.ClientRequest(
            "POST", url, loop=asyncio.get_running_loop(), proxy=proxy
        )
        self._asks_proxy = proxy is not None and not self._request.is_ssl()
        target = str(url) if self._asks_proxy else url.raw_path_qs
        self._start = f"POST {target} HTTP/1.1\r\nhost: {url.host_port_subcomponent}\r\n"

    async def post(
        self, headers: Mapping[str, str], body: bytes, answer: Answer, *, most: int
    ) -> None:
        """
        Post once, and put into *answer* what comes, *most* bytes of the body at most.

        Raises what goes wrong, as aiohttp names it; what had come by then stays. *headers*
        have been checked: no line breaks, and none that say how the message is framed.
        """
        connection = await self._connector.connect(self._request, [], _NO_TIMEOUT)
        # The connection forgets its transport where the connector is closed meanwhile.
        transport = connection.transport
        again = False
        try:
            again = await self._exchange(connection, self._head(headers, body) + body, answer, most)
        finally:
            if again:
                connection.release()
            else:
                if transport is not None:
                    # To close it is to wait until all is sent: for ever, if nobody reads it.
                    transport.abort()
                connection.close()

    def _head(self, headers: Mapping[str, str], body: bytes) -> bytes:
        lines = [f"{name}: {value}\r\n" for name, value in headers.items()]
        if self._asks_proxy and (word := self._request.headers.get("proxy-authorization")):
            lines.append(f"proxy-authorization: {word}\r\n")
        return f"{self._start}{''.join(lines)}content-length: {len(body)}\r\n\r\n".encode()

    async def _exchange(
        self, connection: Connection, request: bytes, answer: Answer, most: int
    ) -> bool:
        """Send *request* and take the answer in; whether another may follow on *connection*."""
        protocol: Any = connection.protocol
        transport = connection.transport
        if transport is None or transport.is_closing():
            raise aiohttp.ServerDisconnectedError
        # No more is kept than *most*, and a flood of tiny chunks costs a lot.
        protocol.set_response_params(read_until_eof=True, auto_decompress=False, read_bufsize=most)
        transport.write(request)
        message, content = await protocol.read()
        while 100 <= message.code < 200 and message.code != 101:  # noqa: PLR2004 - RFC 9110, 15.2
            message, content = await protocol.read()
        answer.status = message.code
        answer.headers = message.headers
        excerpt = answer.excerpt
        while len(excerpt) < most and not content.at_eof():
            excerpt += await content.read(most - len(excerpt))
        # What is left of a long body is not worth the connection.
        return (
            bool(content.at_eof())
            and protocol.at_rest()
            and not transport.get_write_buffer_size()
            and (len(request) <= _UNSEEN or transport.get_extra_info("sslcontext") is None)
        )
