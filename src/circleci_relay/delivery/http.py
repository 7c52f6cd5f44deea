"""Messages over HTTP: one POST to wherever each goes, and what may go wrong with it."""

from __future__ import annotations

import ssl
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp.http import HttpProcessingError
from yarl import URL

from circleci_relay.delivery.connections import Connector
from circleci_relay.delivery.tls import client_tls
from circleci_relay.delivery.wire import Wire
from circleci_relay.model import Result

if TYPE_CHECKING:
    from collections.abc import Callable

    from circleci_relay.config.model import Destination
    from circleci_relay.delivery.transport import Answer, Message

READ_BYTES = 6144
"""How much of a response's body is read; see `sender` for how much of it is kept."""

WIRES = 256
"""How many addresses of one destination are remembered, where its URL is made by a template."""


class Http:
    """See `transport.Transport`; *destination*'s proxy, certificates and authorities apply."""

    def __init__(self, destination: Destination) -> None:
        proxy = destination.proxy.get_secret_value() if destination.proxy else None
        own_tls = destination.tls is not None
        self._connector = Connector(
            limit=destination.concurrency,
            # True is one context shared by all: loading the CAs takes 20 ms each time.
            tls=client_tls(destination) if own_tls else True,
            # What is said of the destination's certificate, and ours, is not the proxy's.
            proxy_tls=ssl.create_default_context()
            if own_tls and proxy and proxy.lower().startswith("https:")
            else None,
        )
        self._proxy = URL(proxy) if proxy else None
        self._wires: OrderedDict[str, Wire] = OrderedDict()

    async def send(self, message: Message, answer: Answer) -> None:
        """See `transport.Transport`; any answer at all is no fault here."""
        wire = self._wires.get(message.url) or self._wire(message.url)
        await wire.post(message.headers, message.body, answer, most=READ_BYTES)

    def _wire(self, url: str) -> Wire:
        while len(self._wires) >= WIRES:
            self._wires.popitem(last=False)
        wire = Wire(URL(url, encoded=url.isascii()), connector=self._connector, proxy=self._proxy)
        self._wires[url] = wire
        return wire

    def explain(self, fault: Exception) -> tuple[Result, str]:
        """Sort *fault* by what an operator would look at."""
        sorted_ = next(
            (result, words(fault)) for kind, result, words in FAULTS if isinstance(fault, kind)
        )
        if sorted_[0] is Result.CONNECTION:
            self._connector.clear_dns_cache()  # it may have moved
        return sorted_

    async def close(self) -> None:
        """Close the connections."""
        await self._connector.close()


FAULTS: tuple[tuple[type[Exception], Result, Callable[[Any], str]], ...] = (
    (
        aiohttp.ClientConnectorCertificateError,
        Result.TLS,
        lambda fault: f"certificate not accepted: {fault.certificate_error}",
    ),
    (aiohttp.ClientSSLError, Result.TLS, lambda fault: f"TLS failed: {_words(fault)}"),
    (ssl.SSLError, Result.TLS, lambda fault: f"TLS failed: {_words(fault)}"),
    (
        aiohttp.ClientHttpProxyError,
        Result.CONNECTION,
        lambda fault: f"the proxy answered {fault.status}",
    ),
    (
        aiohttp.ClientProxyConnectionError,
        Result.CONNECTION,
        lambda fault: f"cannot reach the proxy: {_words(fault)}",
    ),
    (
        aiohttp.ClientConnectorDNSError,
        Result.CONNECTION,
        lambda fault: f"cannot resolve {fault.host}",
    ),
    (
        aiohttp.ClientConnectorError,
        Result.CONNECTION,
        lambda fault: f"cannot connect: {_words(fault)}",
    ),
    (
        aiohttp.ServerDisconnectedError,
        Result.CONNECTION,
        lambda _: "the connection was closed before an answer",
    ),
    (
        aiohttp.ClientResponseError,
        Result.PROTOCOL,
        lambda fault: f"not a valid HTTP answer ({type(fault).__name__})",
    ),
    (
        HttpProcessingError,
        Result.PROTOCOL,
        lambda fault: f"not a valid HTTP answer ({type(fault).__name__})",
    ),
    (
        aiohttp.ClientPayloadError,
        Result.PROTOCOL,
        lambda fault: f"not a valid HTTP answer ({type(fault).__name__})",
    ),
    (OSError, Result.CONNECTION, lambda fault: f"connection failed: {_words(fault)}"),
    (
        aiohttp.ClientError,
        Result.CONNECTION,
        lambda fault: f"connection failed: {_words(fault)}",
    ),
    (Exception, Result.INTERNAL, lambda fault: f"{type(fault).__name__} in the relay"),
)
"""What may go wrong, the most particular first; no words here carry a URL."""


def _words(fault: BaseException) -> str:
    if isinstance(fault, OSError) and fault.strerror:
        return fault.strerror
    return type(fault).__name__
