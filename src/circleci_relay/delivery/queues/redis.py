"""Delivery into a Redis stream."""

from __future__ import annotations

import contextlib
import math
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from redis import exceptions
from redis.asyncio import Connection, SSLConnection

from circleci_relay.config import brokers
from circleci_relay.delivery.queues.faults import Lost, Refused, of_network, strange_answers
from circleci_relay.delivery.tls import client_tls
from circleci_relay.delivery.transport import Undeliverable
from circleci_relay.model import Result

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator
    from ssl import SSLContext

    from circleci_relay.config.model import Destination
    from circleci_relay.delivery.transport import Answer, Message

ADD_ONCE = """
local id = redis.call('GET', KEYS[2]) or redis.call('XADD', KEYS[1], unpack(ARGV, 2))
redis.call('SET', KEYS[2], id, 'EX', ARGV[1])
return id
"""
"""
Adds the entry, unless there is a mark of it, and the mark, both or none.

The mark is written each time: WAIT waits for what its own connection wrote, and would say of
a repeat that wrote nothing that every replica has it.
"""

BODY = "body"
"""The field with the body; each header is a field of its own name."""

LEAST_BULK = 1 << 20
"""Bytes: the least that a server may be told to take at most."""

_NAME = "a Redis server"
_WAIT = 0.8
"""The part of the timeout that replicas are waited for, so that the answer comes in time."""

_ANSWERS = (
    ("OOM", Result.SERVER_ERROR, "its memory is full (maxmemory)"),
    ("READONLY", Result.SERVER_ERROR, "it is a replica, which takes no writes"),
    ("LOADING", Result.SERVER_ERROR, "it is still loading its data"),
    ("BUSY", Result.SERVER_ERROR, "it is busy running a script"),
    ("MISCONF", Result.SERVER_ERROR, "it takes no writes, since it cannot save to its disk"),
    ("NOREPLICAS", Result.SERVER_ERROR, "it has too few replicas to take writes"),
    ("MASTERDOWN", Result.SERVER_ERROR, "it has lost its master"),
    ("WRONGTYPE", Result.CLIENT_ERROR, "what is under the stream's key is no stream"),
    ("NOPERM", Result.CLIENT_ERROR, "the user may not run a command that is needed"),
    ("MOVED|ASK|CROSSSLOT|CLUSTERDOWN", Result.CLIENT_ERROR, "it is a cluster, which is not known"),
    ("max number of clients", Result.THROTTLED, "it has as many clients as it takes"),
)
"""What the server may answer: a word of it, and what it means."""

_TOO_LARGE = re.compile(
    "invalid bulk length|max request size|string exceeds maximum", re.IGNORECASE
)


class Redis:
    """
    Adds each message to a stream, over connections of its own.

    A connection carries one message at a time and is thrown away when that is cut short,
    so that no answer is ever taken for another's.
    """

    def __init__(self, destination: Destination) -> None:
        self._settings = destination.redis or brokers.Redis()
        self._place = urlsplit(destination.url.get_secret_value())
        self._tls = client_tls(destination) if self._place.scheme == "rediss" else None
        self._patience = max(1, math.floor(destination.timeout * 1000 * _WAIT))
        self._idle: list[_Line] = []
        self._busy: set[_Line] = set()
        self._closed = False

    async def send(self, message: Message, answer: Answer) -> None:  # noqa: ARG002 - says nothing
        """Add *message*, and return once the server, and the replicas asked for, have it."""
        command = self._command(message)
        try:
            async with self._line() as line:
                await line.ask(*command)
                if self._settings.wait:
                    have = await line.ask("WAIT", self._settings.wait, self._patience)
                    self._enough(int(have))
        except exceptions.ResponseError as fault:
            if _TOO_LARGE.search(str(fault)):
                raise _too_large() from None
            raise
        except exceptions.ConnectionError:
            if not await self._takes(len(message.body)):
                raise _too_large() from None
            raise

    def explain(self, fault: Exception) -> tuple[Result, str]:
        """What *fault* means, in words without URL, user or password."""
        match fault:
            case exceptions.AuthenticationError() | exceptions.AuthorizationError():
                return Result.CLIENT_ERROR, "the server refused the user or password"
            case exceptions.TimeoutError():
                return Result.TIMEOUT, "not confirmed within the timeout"
            case exceptions.InvalidResponse():
                return Result.PROTOCOL, f"not a valid answer of {_NAME}"
            case exceptions.RedisError():
                return _of_answer(fault)
            case _:
                return of_network(fault)

    async def close(self) -> None:
        """Close the connections; a message under way is lost."""
        self._closed = True
        for line in [*self._idle, *self._busy]:
            await line.drop()
        self._idle.clear()

    def _command(self, message: Message) -> tuple[Any, ...]:
        stream = message.address.get("stream", self._settings.stream)
        if not stream:
            raise Undeliverable("the name of its stream is empty")
        fields: list[str | bytes] = [BODY, message.body]
        for name, value in message.headers.items():
            if name != BODY:  # readers make a map of the fields, and the body must be in it
                fields += [name, value]
        most = self._settings.max_length
        entry = [*(("MAXLEN", "~", most) if most else ()), "*", *fields]
        if self._settings.deduplicate is None:
            return ("XADD", stream, *entry)
        seen = seen_key(stream, message.headers["webhook-id"])
        return ("EVAL", ADD_ONCE, 2, stream, seen, math.ceil(self._settings.deduplicate), *entry)

    def _enough(self, have: int) -> None:
        if have < self._settings.wait:
            raise Refused(
                Result.SERVER_ERROR,
                f"added, but only {have} of {self._settings.wait} replicas confirmed it in time",
            )

    async def _takes(self, size: int) -> bool:
        """
        Whether the server takes a message of *size* bytes, as far as it says.

        It ends the connection on one that is too large, and what it says of that is often
        lost with what was still on its way to it.
        """
        if size < LEAST_BULK:
            return True
        try:
            async with self._line() as line:
                _, most = await line.ask("CONFIG", "GET", "proto-max-bulk-len")
                return size <= int(most)
        except (exceptions.RedisError, ValueError):
            return True

    @contextlib.asynccontextmanager
    async def _line(self) -> AsyncIterator[_Line]:
        line = await self._taken()
        self._busy.add(line)
        try:
            yield line
        finally:
            self._busy.discard(line)
            if line.sound and not self._closed:
                self._idle.append(line)
            else:
                await line.drop()

    async def _taken(self) -> _Line:
        while self._idle:
            line = self._idle.pop()
            if not await line.stale():
                return line
            await line.drop()
        if self._closed:
            raise Lost
        return await _Line.open(self._connection())

    def _connection(self) -> Connection:
        place = self._place
        options: dict[str, Any] = {
            "host": place.hostname,
            "port": place.port or 6379,
            "db": int(place.path.strip("/") or 0),
            "username": unquote(place.username or "") or None,
            "password": unquote(place.password or "") or None,
            "protocol": 2,  # any version of the server speaks it, and a proxy before it
            "driver_info": None,  # a command less that a user might not be allowed
            "socket_timeout": None,
            "socket_connect_timeout": None,
        }
        return _secured(SSLConnection(**options), self._tls) if self._tls else Connection(**options)


class _Line:
    """A connection, one question at a time."""

    def __init__(self, connection: Connection, transport: asyncio.WriteTransport) -> None:
        self._connection = connection
        self._transport = transport
        self.sound = True  #: whether every question has had its whole answer

    @classmethod
    async def open(cls, connection: Connection) -> _Line:
        try:
            with strange_answers(_NAME):
                await connection.connect()  # type: ignore[no-untyped-call]
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        # Closing waits for a peer that reads no more; only its transport can be cut off.
        return cls(connection, connection._writer.transport)  # type: ignore[union-attr]  # noqa: SLF001

    async def ask(self, *command: Any) -> Any:
        self.sound = False
        await self._connection.send_command(*command)
        try:
            with strange_answers(_NAME):
                answer = await self._connection.read_response()
        except exceptions.ResponseError as fault:
            self.sound = not _TOO_LARGE.search(str(fault))  # after that the server ends it
            raise
        self.sound = True
        return answer

    async def stale(self) -> bool:
        """Whether the server has closed it, or said what nobody asked for."""
        try:
            return not self._connection.is_connected or await self._connection.can_read()
        except exceptions.ConnectionError:
            return True

    async def drop(self) -> None:
        self._transport.abort()
        await self._connection.disconnect(nowait=True)


def seen_key(stream: str, webhook_id: str) -> str:
    """
    Return the key that marks a message as added.

    In a cluster, and for proxies that divide keys among servers, it has to lie where its
    stream lies: what is hashed is the part in braces.
    """
    tagged = stream if re.search(r"\{[^}]+\}", stream) else f"{{{stream}}}"
    return f"{tagged}:seen:{webhook_id}"


def _too_large() -> Undeliverable:
    return Undeliverable("the message is larger than the server takes")


def _secured(connection: SSLConnection, context: SSLContext) -> SSLConnection:
    connection.ssl_context.context = context
    return connection


def _of_answer(fault: exceptions.RedisError) -> tuple[Result, str]:
    said = f"{getattr(fault, 'status_code', '')} {fault}"
    for words, result, meaning in _ANSWERS:
        if re.search(rf"\b({words})\b", said):
            return result, f"not taken: {meaning}"
    if isinstance(fault, exceptions.ConnectionError):
        under = fault.__context__ or fault.__cause__
        if isinstance(under, OSError):
            return of_network(under)
        return Result.CONNECTION, "the connection was lost before the message was confirmed"
    return Result.CLIENT_ERROR, f"not taken: {type(fault).__name__}"
