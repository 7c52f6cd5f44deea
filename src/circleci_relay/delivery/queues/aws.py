"""What Amazon SQS and SNS have in common: clients, and what their faults mean."""

from __future__ import annotations

import asyncio
import os
import re
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp.http import HttpProcessingError

from circleci_relay import __version__
from circleci_relay.delivery.tls import client_tls
from circleci_relay.delivery.transport import Throttled, Undeliverable
from circleci_relay.model import Result

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from circleci_relay.config.aws import Place, Sns, Sqs
    from circleci_relay.config.model import Destination
    from circleci_relay.delivery.transport import Answer

_EXCERPT = 500

_STALE = frozenset(
    {
        "AuthFailure",
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSecurity",
        "InvalidSignatureException",
        "MissingAuthenticationToken",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
"""Answers that new credentials may mend."""

_CROWDED = frozenset(
    {
        "KMSThrottling",
        "KmsThrottled",
        "OverLimit",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "Throttled",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
_TOO_LARGE = re.compile(r"must be shorter|too (long|large)|exceeds? the (maximum|limit)")
_INVALID = frozenset({"InvalidParameter", "InvalidParameterValue", "ParameterValueInvalid"})

_HINTS: Mapping[str, str] = {
    "AccessDenied": "these credentials may not send there",
    "AccessDeniedException": "these credentials may not send there",
    "AuthorizationError": "these credentials may not send there",
    "KmsAccessDenied": "these credentials may not use the key it is encrypted with",
    "KMSAccessDenied": "these credentials may not use the key it is encrypted with",
    "NonExistentQueue": "there is no such queue",
    "QueueDoesNotExist": "there is no such queue",
    "NotFound": "there is no such topic",
    **dict.fromkeys(_STALE, "the credentials are not accepted"),
}


class Garbled(Exception):  # noqa: N818 - says what the answer is
    """An answer that does not confirm what was sent."""


@dataclass(slots=True, eq=False)
class _Held:
    """A client, and how many are using it."""

    client: Any
    users: int = 0
    retired: bool = False


class Client:
    """A client of one service for one destination, made when it is needed."""

    def __init__(
        self, service: str, place: Place, destination: Destination, settings: Sqs | Sns
    ) -> None:
        self._service = service
        self._endpoint = settings.endpoint or place.endpoint
        self._region = getattr(settings, "region", None) or place.region
        self._settings = settings
        self._destination = destination
        self._held: _Held | None = None
        self._making = asyncio.Lock()
        if destination.tls is not None:
            client_tls(destination)  # the SDK would tell of a bad file with each message

    async def call(self, operation: str, request: Mapping[str, Any], answer: Answer) -> Any:
        """
        Return what the service answers.

        Raises `Undeliverable` and `Throttled` where the service says so.
        """
        async with self._using() as client:
            try:
                return await getattr(client, operation)(**request)
            except (AttributeError, LookupError, TypeError, ValueError):
                # The SDK stumbles over what answers like no service of AWS's.
                raise Garbled("not a valid answer of the service") from None
            except Exception as fault:
                _look_at(fault, answer)
                raise

    async def close(self) -> None:
        """Close all connections."""
        async with self._making:
            held, self._held = self._held, None
        if held is not None:
            held.retired = True
            await held.client.__aexit__(None, None, None)

    @asynccontextmanager
    async def _using(self) -> AsyncIterator[Any]:
        """A client that stays open meanwhile; one whose credentials fail is made anew."""
        async with self._making:
            if self._held is None:
                self._held = _Held(await self._made())
            held = self._held
        held.users += 1
        try:
            yield held.client
        except Exception as fault:
            if _of_credentials(fault):
                # They may have been changed where the SDK looks for them.
                held.retired = True
                self._held = None if self._held is held else self._held
            raise
        finally:
            held.users -= 1
            if held.retired and not held.users:
                await held.client.__aexit__(None, None, None)

    async def _made(self) -> Any:
        settings, tls = self._settings, self._destination.tls
        # Files are read and credentials looked for in a thread: neither must hold up the loop.
        session = await asyncio.to_thread(
            _session, self._service, settings.profile, credentials=settings.access_key_id is None
        )
        secret = settings.secret_access_key
        creator = session.create_client(
            self._service,
            # Where a host tells no region the service is a stand-in, which minds none.
            region_name=self._region or session.get_config_variable("region") or "us-east-1",
            endpoint_url=self._endpoint,
            verify=None if tls is None else tls.verify and (tls.ca and str(tls.ca)),
            aws_access_key_id=settings.access_key_id,
            aws_secret_access_key=secret and secret.get_secret_value(),
            config=self._config(),
        )
        return await creator.__aenter__()

    def _config(self) -> Any:
        from aiobotocore.config import AioConfig  # noqa: PLC0415 - it takes long

        destination = self._destination
        tls, proxy = destination.tls, destination.proxy
        cert = tls.cert if tls else None
        return AioConfig(
            retries={"total_max_attempts": 1, "mode": "standard"},  # the relay's own count
            # Whoever calls cancels before.
            connect_timeout=destination.timeout + 1,
            read_timeout=destination.timeout + 1,
            max_pool_connections=destination.concurrency,
            proxies={}
            if proxy is None
            else dict.fromkeys(("http", "https"), proxy.get_secret_value()),
            client_cert=cert and ((str(cert), str(tls.key)) if tls and tls.key else str(cert)),
            user_agent_extra=f"circleci-relay/{__version__}",
        )


@cache
def _loader() -> Any:
    """What reads the SDK's descriptions of services, which all clients share."""
    from botocore import loaders  # noqa: PLC0415 - it takes long

    return loaders.create_loader()


def _session(service: str, profile: str | None, *, credentials: bool) -> Any:
    """Return a session that has read the files it needs, and found its credentials."""
    from aiobotocore.session import AioSession  # noqa: PLC0415 - it takes long

    session = AioSession(profile=profile)
    session.register_component("data_loader", _loader())
    session.warm_up_loader_caches(service)
    session.get_scoped_config()
    if credentials and asyncio.run(session.get_credentials()) is None:
        from botocore.exceptions import NoCredentialsError  # noqa: PLC0415

        raise NoCredentialsError
    return session


def _look_at(fault: Exception, answer: Answer) -> None:
    """Keep what the service says of itself; raise what the relay has words of its own for."""
    code, status, said = _told(fault)
    if not code:
        return
    # What follows the first line of a refused signature repeats the request's own headers.
    answer.excerpt += f"{code}: {said.split(chr(10), 1)[0]}".encode()[:_EXCERPT]
    if code in _CROWDED or status == 429:  # noqa: PLR2004 - HTTP's own number
        raise Throttled(f"too many requests ({code})") from None
    if code == "InvalidMessageContents":
        raise Undeliverable("the message holds characters that are not allowed") from None
    if code in _INVALID and _TOO_LARGE.search(said.lower()):
        raise Undeliverable("the message is larger than is taken there") from None


def _told(fault: Exception) -> tuple[str, int, str]:
    """What the service answered: its code, HTTP's status and its words."""
    response = getattr(fault, "response", None)
    if not isinstance(response, dict):
        return "", 0, ""
    error = response.get("Error", {})
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    # AWS.SimpleQueueService.NonExistentQueue
    code = str(error.get("Code", "")).rpartition(".")[2]
    return _plain(code) or "no code", status, str(error.get("Message", ""))


def _plain(code: str) -> str:
    return re.sub(r"[^A-Za-z0-9]", "", code)[:64]


def _of_credentials(fault: Exception) -> bool:
    from botocore import exceptions as sdk  # noqa: PLC0415 - it takes long

    lacking = (sdk.NoCredentialsError, sdk.PartialCredentialsError, sdk.CredentialRetrievalError)
    return isinstance(fault, lacking) or _told(fault)[0] in _STALE


def explain(fault: Exception) -> tuple[Result, str]:
    """What *fault* means, in words without URL, user or password."""
    code, status, _ = _told(fault)
    if code:
        result = Result.SERVER_ERROR if status >= 500 else Result.CLIENT_ERROR  # noqa: PLR2004
        hint = _HINTS.get(code)
        return result, f"answered {code}" + (f": {hint}" if hint else "")
    if isinstance(fault, Garbled):
        return Result.PROTOCOL, str(fault)
    if isinstance(_cause(fault), (aiohttp.ClientResponseError, HttpProcessingError)):
        return Result.PROTOCOL, "not a valid HTTP answer"
    for kind, result, words in _faults():
        if isinstance(fault, kind):
            return result, words(fault)
    return Result.INTERNAL, f"{type(fault).__name__} in the relay"


@cache
def _faults() -> tuple[tuple[type[Exception], Result, Callable[[Any], str]], ...]:
    """What may go wrong, the most particular first; no words here carry a URL."""
    from botocore import exceptions as sdk  # noqa: PLC0415 - it takes long
    from botocore import parsers  # noqa: PLC0415

    return (
        (sdk.ConnectTimeoutError, Result.TIMEOUT, lambda _: "no connection within the timeout"),
        (sdk.ReadTimeoutError, Result.TIMEOUT, lambda _: "no answer within the timeout"),
        (sdk.SSLError, Result.TLS, lambda fault: f"TLS failed: {_words(_cause(fault))}"),
        (sdk.ProxyConnectionError, Result.CONNECTION, lambda _: "cannot reach the proxy"),
        (
            sdk.ConnectionClosedError,
            Result.CONNECTION,
            lambda _: "the connection was closed before an answer",
        ),
        (
            sdk.ConnectionError,
            Result.CONNECTION,
            lambda fault: f"cannot connect: {_words(_cause(fault))}",
        ),
        (
            sdk.HTTPClientError,
            Result.CONNECTION,
            lambda fault: f"connection failed: {_words(_cause(fault))}",
        ),
        (
            parsers.ResponseParserError,
            Result.PROTOCOL,
            lambda _: "not a valid answer of the service",
        ),
        (
            sdk.NoCredentialsError,
            Result.CLIENT_ERROR,
            lambda _: "no credentials: neither in the settings nor where the SDK looks",
        ),
        (sdk.ParamValidationError, Result.INTERNAL, lambda fault: f"{type(fault).__name__}"),
        (
            sdk.BotoCoreError,
            Result.CLIENT_ERROR,
            lambda fault: f"the SDK's settings or credentials will not do ({type(fault).__name__})",
        ),
        (OSError, Result.CONNECTION, lambda fault: f"connection failed: {_words(fault)}"),
    )


def _cause(fault: Exception) -> Any:
    """What the SDK made *fault* of."""
    return getattr(fault, "kwargs", {}).get("error")


def _words(fault: object) -> str:
    """The system's own words, since those of a library may name the host."""
    number = getattr(fault, "errno", None)
    if isinstance(number, int) and number > 0:
        return os.strerror(number)
    name = type(fault).__name__
    return "the host's name is not known" if "DNS" in name else name
