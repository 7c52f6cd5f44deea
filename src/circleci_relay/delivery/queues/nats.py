"""Delivery to NATS JetStream."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from nats import errors
from nats.aio.client import Client
from nats.js.api import StorageType, StreamConfig

from circleci_relay.config import brokers
from circleci_relay.delivery.queues.faults import (
    Lost,
    Refused,
    of_network,
    only_own_cancellation,
    strange_answers,
)
from circleci_relay.delivery.queues.link import CUT_PATIENCE, Link
from circleci_relay.delivery.tls import client_tls
from circleci_relay.delivery.transport import Throttled, Undeliverable
from circleci_relay.model import Result

if TYPE_CHECKING:
    from nats.aio.msg import Msg

    from circleci_relay.config.model import Destination
    from circleci_relay.delivery.transport import Answer, Message

PING = 10
"""Seconds; a server that leaves two pings unanswered is gone."""

LONGEST_SUBJECT = 1024
"""Bytes; the server's own limit is on a whole line of the protocol, 4096."""

MESSAGE_ID = "Nats-Msg-Id"
"""The header that JetStream knows a message again by."""

EXPECTED_STREAM = "Nats-Expected-Stream"

_FORBIDDEN = re.compile(r"[\s\x00-\x20\x7f-\x9f*>]")
_TAKEN = {"$": "_", "_INBOX": "__INBOX"}
_EXISTS = 10058

# The error codes of JetStream's API, from the server's errors.json.
_TOO_LARGE = {10054}
_FULL = {10077}
_EXHAUSTED = {10002, 10023, 10028, 10047}
_OTHER_STREAM = {10060}
_NO_JETSTREAM = {10039, 10076}

_LOGIN = (Result.CLIENT_ERROR, "the server refused the user, password or token")
_FAULTS: tuple[tuple[type[Exception], tuple[Result, str]], ...] = (
    (
        errors.SecureConnWantedError,
        (Result.TLS, "the server offers no TLS, and the URL asks for it"),
    ),
    (errors.AuthorizationError, _LOGIN),
    (errors.TimeoutError, (Result.TIMEOUT, "not confirmed within the timeout")),
    (errors.ConnectionClosedError, of_network(Lost())),
    (errors.StaleConnectionError, of_network(Lost())),
    (errors.NoServersError, (Result.CONNECTION, "cannot connect")),
)
"""What the library may raise, and what it means."""

# It tells of each lost connection; the attempts that fail tell it too.
logging.getLogger("nats").addHandler(logging.NullHandler())
logging.getLogger("nats").propagate = False


class Nats:
    """
    Publishes each message to a stream, and waits until that has confirmed it.

    All share one connection; each is confirmed on a subject of its own.
    """

    def __init__(self, destination: Destination) -> None:
        self._settings = destination.nats or brokers.Nats()
        self._place = urlsplit(destination.url.get_secret_value())
        self._secure = self._place.scheme == "nats+tls"
        # Also for a server that asks for it where the URL does not.
        self._tls = client_tls(destination)
        self._timeout = destination.timeout
        self._link = Link(self._connect)

    async def send(self, message: Message, answer: Answer) -> None:  # noqa: ARG002 - says nothing
        """Publish *message*, and return once a stream has confirmed it."""
        subject = subject_of(message.address.get("subject", self._settings.subject))
        if len(subject.encode()) > LONGEST_SUBJECT:
            raise Undeliverable(f"its subject is longer than {LONGEST_SUBJECT} bytes")
        headers = {**message.headers, MESSAGE_ID: message.headers["webhook-id"]}
        if self._settings.stream is not None:
            headers[EXPECTED_STREAM] = self._settings.stream
        async with self._link.use() as session:
            most = session.client.max_payload
            if _size(headers) + len(message.body) > most:
                raise Undeliverable(f"the message is larger than the server takes ({most} bytes)")
            self._judge(await session.publish(subject, message.body, headers), subject)

    def explain(self, fault: Exception) -> tuple[Result, str]:
        """What *fault* means, in words without URL, user or password."""
        for kind, (result, words) in _FAULTS:
            if isinstance(fault, kind):
                return result, words
        if isinstance(fault, errors.Error):
            if "authorization" in str(fault).lower():
                return _LOGIN
            return Result.PROTOCOL, "not a valid answer of a NATS server"
        return of_network(fault)

    async def close(self) -> None:
        """Close the connections; a message under way is lost."""
        await self._link.close()

    async def _connect(self) -> _Session:
        session = _Session(_SecureClient() if self._secure else Client())
        try:
            await session.open(**self._options())
            await self._declare(session)
        except BaseException:
            session.cut()
            with contextlib.suppress(Exception):
                async with asyncio.timeout(CUT_PATIENCE):
                    await session.close()
            raise
        return session

    def _options(self) -> dict[str, Any]:
        place = self._place
        host = f"[{place.hostname}]" if ":" in (place.hostname or "") else place.hostname
        user, password = unquote(place.username or ""), unquote(place.password or "")
        options: dict[str, Any] = {
            "servers": [f"nats://{host}:{place.port or 4222}"],
            "connect_timeout": self._timeout,
            "tls": self._tls,
        }
        if user and place.password is None:
            return {**options, "token": user}
        return {**options, "user": user, "password": password} if user else options

    async def _declare(self, session: _Session) -> None:
        wanted = self._settings.declare
        if wanted is None:
            return
        window = wanted.duplicate_window
        config = StreamConfig(
            name=self._settings.stream,
            subjects=list(wanted.subjects),
            max_age=wanted.max_age or 0,
            max_bytes=wanted.max_bytes or -1,
            duplicate_window=min(window, wanted.max_age) if wanted.max_age else window,
            num_replicas=wanted.replicas,
            storage=StorageType.FILE,
        )
        name, body = self._settings.stream, json.dumps(config.as_dict()).encode()
        # Not by the library's own call for it, which goes on waiting where a connection ends.
        reply = await session.publish(f"$JS.API.STREAM.CREATE.{name}", body)
        if _unanswered(reply):
            raise Refused(Result.CLIENT_ERROR, "the server has no JetStream")
        error = _parsed(reply).get("error")
        if error is not None and error.get("err_code") != _EXISTS:
            self._refuse(error, str(name))

    def _judge(self, reply: Msg, subject: str) -> None:
        if _unanswered(reply):
            raise Refused(Result.CLIENT_ERROR, f"no stream takes subject {_quoted(subject)}")
        said = _parsed(reply)
        error = said.get("error")
        if error is not None:
            self._refuse(error, subject)
        if "seq" not in said:
            raise Refused(Result.PROTOCOL, "not a valid answer of a stream")

    def _refuse(self, error: dict[str, Any], subject: str) -> None:
        code, number = error.get("code"), error.get("err_code")
        if number in _TOO_LARGE:
            raise Undeliverable("the message is larger than the stream takes")
        if number in _FULL:
            raise Throttled("the stream is full, or could not store the message")
        if number in _EXHAUSTED:
            raise Refused(Result.SERVER_ERROR, "the server has no room left for streams")
        if number in _NO_JETSTREAM:
            raise Refused(Result.CLIENT_ERROR, "JetStream is not enabled for this user")
        if number in _OTHER_STREAM:
            words = f"subject {_quoted(subject)} belongs to another stream than is expected"
            raise Refused(Result.CLIENT_ERROR, words)
        server = isinstance(code, int) and code >= 500  # noqa: PLR2004
        described = _quoted(str(error.get("description", "")))
        raise Refused(
            Result.SERVER_ERROR if server else Result.CLIENT_ERROR,
            f"not taken: {described} ({number})",
        )


class _SecureClient(Client):
    """A client that says nothing, least of all a password, where TLS was wanted and is not."""

    def _connect_command(self) -> bytes:
        if not (self._server_info.get("tls_required") and "tls" in self.options):
            raise errors.SecureConnWantedError
        return super()._connect_command()


class _Session:
    """A connection, and who on it waits for what."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._inbox = client.new_inbox()
        self._numbers = itertools.count()
        self._waiting: dict[str, tuple[str, asyncio.Future[Msg]]] = {}
        self._fault: Exception | None = None
        self._reading: asyncio.Task[Any] | None = None

    @property
    def alive(self) -> bool:
        return self.client.is_connected and not (self._reading is None or self._reading.done())

    async def open(self, **options: Any) -> None:
        try:
            with strange_answers("a NATS server"):
                await self.client.connect(
                    **options,
                    name="circleci-relay",
                    # One try, and never another behind anybody's back: attempts are counted.
                    allow_reconnect=False,
                    max_reconnect_attempts=1,
                    reconnect_time_wait=0,
                    ping_interval=PING,
                    error_cb=self._failed,
                )
        except errors.NoServersError:
            raise self._fault or Lost from None
        # Once it reads no more, nobody is answered. The client's own word for that does not
        # come where the connection ends while there is something to write.
        self._reading = self.client._reading_task  # noqa: SLF001
        if self._reading is None:
            raise Lost
        self._reading.add_done_callback(lambda _: self._end(Lost()))
        await self.client.subscribe(f"{self._inbox}.*", cb=self._answered)

    async def publish(
        self, subject: str, body: bytes, headers: dict[str, str] | None = None
    ) -> Msg:
        if not self.alive:
            raise Lost
        number = str(next(self._numbers))
        answer: asyncio.Future[Msg] = asyncio.get_running_loop().create_future()
        self._waiting[number] = (subject, answer)
        try:
            # The client swallows a cancellation while it waits for room to write.
            with only_own_cancellation():
                reply = f"{self._inbox}.{number}"
                await self.client.publish(subject, body, reply=reply, headers=headers)
            return await answer
        except (errors.Error, OSError) as fault:
            raise Lost from fault
        finally:
            del self._waiting[number]

    async def close(self) -> None:
        await self.client.close()

    def cut(self) -> None:
        # Closing waits for a peer that reads no more; only its transport can be cut off.
        writer = getattr(self.client._transport, "_io_writer", None)  # noqa: SLF001
        if writer is not None:
            writer.transport.abort()
        self._end(Lost())

    async def _answered(self, reply: Msg) -> None:
        _, answer = self._waiting.get(reply.subject.rpartition(".")[2], (None, None))
        if answer is not None and not answer.done():
            answer.set_result(reply)

    async def _failed(self, fault: Exception) -> None:
        """Take in what the client says has gone wrong: of one message, if it tells which."""
        self._fault = fault
        said = str(fault).lower()
        if "permissions violation" not in said:
            return
        if "publish" not in said:
            self._end(Refused(Result.CLIENT_ERROR, "the user may not subscribe to _INBOX.>"))
        for subject, answer in self._waiting.values():
            if f'"{subject.lower()}"' in said and not answer.done():
                words = f"the user may not publish to {_quoted(subject)}"
                answer.set_exception(Refused(Result.CLIENT_ERROR, words))

    def _end(self, fault: Exception) -> None:
        for _, answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(fault)


def subject_of(text: str) -> str:
    """
    Return *text* as a subject that can be published to.

    Branches are named by whoever can push. A space would end the subject, `*` and `>` are
    for those who listen, empty parts are refused, and what is published to subjects that
    begin with `$` are orders to the server: `$JS.API.STREAM.DELETE.orders`.
    """
    parts = [_FORBIDDEN.sub("_", part) or "_" for part in text.split(".")]
    for start, instead in _TAKEN.items():
        if parts[0].startswith(start):
            parts[0] = instead + parts[0].removeprefix(start)
    return ".".join(parts)


def _unanswered(reply: Msg) -> bool:
    """Whether the server says that nobody listens."""
    return bool(reply.headers) and reply.headers.get("Status") == "503"  # type: ignore[union-attr]


def _parsed(reply: Msg) -> dict[str, Any]:
    with contextlib.suppress(ValueError, RecursionError):
        said = json.loads(reply.data)
        if isinstance(said, dict) and isinstance(said.get("error", {}), dict):
            return said
    raise Refused(Result.PROTOCOL, "not a valid answer of a stream")


def _size(headers: dict[str, str]) -> int:
    """The bytes that *headers* add to a message: `NATS/1.0`, a line for each, an empty line."""
    return 12 + sum(len(name) + len(value.encode()) + 4 for name, value in headers.items())


def _quoted(text: str) -> str:
    return json.dumps(text if len(text) <= 80 else f"{text[:79]}…")  # noqa: PLR2004
