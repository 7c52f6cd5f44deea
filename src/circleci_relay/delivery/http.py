"""One attempt: a request to a destination, and what came of it as an `Outcome`."""

from __future__ import annotations

import contextlib
import email.utils
import math
import ssl
from datetime import UTC
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp.http import HttpProcessingError
from yarl import URL

from circleci_relay import __version__
from circleci_relay.deadlines import Deadlines
from circleci_relay.delivery.connections import Connector
from circleci_relay.delivery.signing import SCHEMES
from circleci_relay.delivery.wire import Answer, Wire
from circleci_relay.errors import StartupError
from circleci_relay.model import Claim, Outcome, Result

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from circleci_relay.clock import Clock
    from circleci_relay.config.model import Destination
    from circleci_relay.redaction import Redact

EXCERPT_BYTES = 4096
"""How much of a response is kept."""

SPARE = 2048
"""How much more is read: a secret that begins in what is kept must be seen whole to be hidden."""

LONGEST_WAIT = 366 * 86_400.0
"""Seconds; an absurd `Retry-After` becomes this before anything is computed from it."""

USER_AGENT = f"circleci-relay/{__version__}"
"""Sent where CircleCI's own is not known."""


class Sender:
    """
    Sends to one destination, over connections of its own.

    Nothing another destination does can take its connections away, and a proxy, a client
    certificate or a private CA is its own affair.
    """

    def __init__(self, destination: Destination, *, clock: Clock, redact: Redact) -> None:
        self._clock = clock
        self._redact = redact
        # As written: encoding anew what is encoded already breaks signed URLs.
        url = destination.url.get_secret_value()
        self._headers = {
            name.lower(): value.get_secret_value() for name, value in destination.headers.items()
        }
        self._sign = None
        if destination.sign:
            secrets = tuple(secret.get_secret_value() for secret in destination.sign.secrets)
            self._sign = SCHEMES[destination.sign.scheme](secrets)
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
        self._wire = Wire(
            URL(url, encoded=url.isascii()),
            connector=self._connector,
            proxy=URL(proxy) if proxy else None,
        )
        self._timeout = destination.timeout
        self._deadlines = Deadlines()

    async def attempt(self, claim: Claim) -> Outcome:
        """
        Try *claim* once. Every way it can fail is an `Outcome`.

        Redirects are answers like any other: a destination must not send CircleCI's
        bytes, or our credentials, to wherever it likes.
        """
        clock = self._clock
        started = clock.now()
        answer = Answer()
        error: str | None = None
        result = Result.OK
        try:
            with self._deadlines.within(self._timeout):
                await self._wire.post(
                    self._headers_of(claim), claim.body, answer, most=EXCERPT_BYTES + SPARE
                )
        except Exception as fault:  # noqa: BLE001 - a bug in one attempt is a failed attempt
            result, error = _classify(fault)
        status = answer.status
        if status is not None and result is not Result.INTERNAL:
            # Once the status is in, the answer is given: an endless body takes nothing back.
            result = _judge(status)
            if result is Result.OK:
                error = None
        elif result is Result.CONNECTION:
            self._connector.clear_dns_cache()  # it may have moved
        if error is not None:
            error = self._redact(error)
        return Outcome(
            result=result,
            started_at=started,
            duration=clock.now() - started,
            status=status,
            error=error,
            excerpt=self._clean(answer.excerpt),
            retry_after=self._retry_after(answer.headers.get("retry-after")),
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._connector.close()

    def _headers_of(self, claim: Claim) -> dict[str, str]:
        timestamp = int(self._clock.wall())
        headers = dict(claim.headers)
        headers.update(self._headers)
        headers["webhook-id"] = claim.webhook_id
        headers["webhook-timestamp"] = str(timestamp)
        headers["relay-attempt"] = str(claim.attempt)
        headers.setdefault("user-agent", USER_AGENT)
        if self._sign is not None:
            headers.update(self._sign(claim.webhook_id, timestamp, claim.body))
        return headers

    def _retry_after(self, value: str | None) -> float | None:
        return parse_retry_after(value, wall=self._clock.wall()) if value else None

    def _clean(self, excerpt: bytearray) -> bytes:
        if not excerpt:
            return b""
        kept = self._redact(excerpt.decode("utf-8", "replace")).encode()
        if len(excerpt) >= EXCERPT_BYTES + SPARE:
            # The last secret may be cut off, and half of one is not known for one.
            kept = kept[:-SPARE]
        return kept[:EXCERPT_BYTES]


def _judge(status: int) -> Result:
    match status:
        case 429:
            return Result.THROTTLED
        case _ if 200 <= status < 300:  # noqa: PLR2004
            return Result.OK
        case _ if 300 <= status < 400:  # noqa: PLR2004
            return Result.REDIRECT
        case _ if 400 <= status < 500:  # noqa: PLR2004
            return Result.CLIENT_ERROR
        case _:
            return Result.SERVER_ERROR


FAULTS: tuple[tuple[type[Exception], Result, Callable[[Any], str]], ...] = (
    (TimeoutError, Result.TIMEOUT, lambda _: "no complete answer within the timeout"),
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


def _classify(fault: Exception) -> tuple[Result, str]:
    """Sort *fault* by what an operator would look at."""
    return next((result, words(fault)) for kind, result, words in FAULTS if isinstance(fault, kind))


def _words(fault: BaseException) -> str:
    if isinstance(fault, OSError) and fault.strerror:
        return fault.strerror
    return type(fault).__name__


def parse_retry_after(value: str, *, wall: float) -> float | None:
    """
    Return the seconds that a `Retry-After` of *value* asks for, or None if it says nothing.

    Takes seconds or a date (RFC 9110, section 10.2.3). Capped here, where hostile digits
    come in: `timedelta` and the database overflow on them.
    """
    text = value.strip()
    if text.isascii() and text.isdigit():
        return min(float(text), LONGEST_WAIT) if len(text) < 16 else LONGEST_WAIT  # noqa: PLR2004
    with contextlib.suppress(ValueError, TypeError, OverflowError, IndexError):
        when = email.utils.parsedate_to_datetime(text)
        seconds = when.replace(tzinfo=when.tzinfo or UTC).timestamp() - wall
        if math.isfinite(seconds):
            return min(max(seconds, 0.0), LONGEST_WAIT)
    return None


def client_tls(destination: Destination) -> ssl.SSLContext:
    """Return the TLS context *destination* asks for; a file that will not do is one clear line."""
    context = ssl.create_default_context()
    settings = destination.tls
    if settings is None:
        return context
    where = f"destinations.{destination.name}.tls"
    if settings.ca is not None:
        with _loading(f"{where}.ca", settings.ca):
            context = ssl.create_default_context(cafile=str(settings.ca))
    if settings.cert is not None:
        with _loading(f"{where}.cert", settings.cert):
            context.load_cert_chain(settings.cert, settings.key)
    if not settings.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


@contextlib.contextmanager
def _loading(where: str, path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ssl.SSLError) as fault:
        raise StartupError(f"{where}: {path} does not load: {_words(fault)}") from None
