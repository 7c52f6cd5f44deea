"""Delivery to an AMQP 0-9-1 broker, such as RabbitMQ."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
from typing import TYPE_CHECKING, Any

import aio_pika
from aio_pika import exceptions
from aiormq.connection import TransportFactory
from aiormq.exceptions import (
    ChannelAccessRefused,
    ChannelLockedResource,
    ChannelPreconditionFailed,
    InvalidFrameError,
    ProtocolSyntaxError,
)
from pamqp.commands import Basic
from pamqp.exceptions import PAMQPException
from yarl import URL

from circleci_relay.config import brokers
from circleci_relay.delivery.queues.faults import Lost, Refused, of_network
from circleci_relay.delivery.queues.link import CUT_PATIENCE, Link
from circleci_relay.delivery.tls import client_tls
from circleci_relay.delivery.transport import Throttled, Undeliverable
from circleci_relay.model import Result

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator

    from circleci_relay.config.model import Destination
    from circleci_relay.delivery.transport import Answer, Message

HEARTBEAT = 10
"""Seconds; a broker that is silent for some three times as long is gone."""

LONGEST_KEY = 255
"""Bytes of a routing key (AMQP 0-9-1, section 4.2.5.3: short strings)."""

LARGEST_HEADERS = 100_000
"""Bytes; they must fit a frame, which RabbitMQ has at 131,072, or it ends the connection."""

_PORTS = {"amqp": 5672, "amqps": 5671}

# They tell where they connect to, and of each lost connection; the attempts that fail tell it too.
for _name in ("aio_pika", "aiormq"):
    logging.getLogger(_name).addHandler(logging.NullHandler())
    logging.getLogger(_name).propagate = False


class Amqp:
    """
    Publishes each message persistently, and waits until the broker has confirmed it.

    All share one channel of one connection.
    """

    def __init__(self, destination: Destination) -> None:
        self._settings = destination.amqp or brokers.Amqp()
        self._url = URL(destination.url.get_secret_value(), encoded=True)
        self._tls = client_tls(destination) if self._url.scheme == "amqps" else None
        self._link = Link(self._connect)
        self._under_way: dict[str, asyncio.Event] = {}  # by message id

    async def send(self, message: Message, answer: Answer) -> None:  # noqa: ARG002 - says nothing
        """Publish *message*, and return once the broker has confirmed it."""
        key = message.address.get("routing_key", self._settings.routing_key)
        if len(key.encode()) > LONGEST_KEY:
            raise Undeliverable(f"its routing key is longer than {LONGEST_KEY} bytes")
        if (
            sum(len(name) + 2 * len(value) for name, value in message.headers.items())
            > LARGEST_HEADERS
        ):
            raise Undeliverable("its headers are larger than a frame of the protocol")
        async with self._alone(message.headers["webhook-id"]), self._link.use() as channel:
            try:
                await channel.exchange.publish(_published(message), key, mandatory=True)
            except exceptions.DeliveryError as fault:
                raise self._unconfirmed(fault, key) from None
            except ChannelPreconditionFailed as fault:
                raise _too_large(fault, len(message.body)) from None
            except exceptions.AMQPChannelError as fault:
                raise Refused(Result.CLIENT_ERROR, self._refusal(fault)) from None
            except (exceptions.AMQPError, RuntimeError, OSError) as fault:
                raise Lost from fault

    @contextlib.asynccontextmanager
    async def _alone(self, name: str) -> AsyncIterator[None]:
        """
        Keep a replay off the channel while what it replays, of the same id, is on it.

        The library finds what the broker returned by its id: of two, it would take the wrong
        one for lost, and the other for delivered.
        """
        while (other := self._under_way.get(name)) is not None:
            await other.wait()
        self._under_way[name] = over = asyncio.Event()
        try:
            yield
        finally:
            del self._under_way[name]
            over.set()

    def explain(self, fault: Exception) -> tuple[Result, str]:
        """What *fault* means, in words without URL, user or password."""
        match fault:
            case exceptions.ProbableAuthenticationError() | exceptions.AuthenticationError():
                return Result.CLIENT_ERROR, "the broker refused the user or password"
            case InvalidFrameError() if "OpenOk" in str(fault) and "Connection.Close" in str(fault):
                # What the broker says of it is dropped by the library.
                return Result.CLIENT_ERROR, "the broker has no such vhost for this user"
            case exceptions.IncompatibleProtocolError() | ProtocolSyntaxError() | PAMQPException():
                return Result.PROTOCOL, "not a valid answer of an AMQP 0-9-1 broker"
            case exceptions.AMQPChannelError():
                return Result.CLIENT_ERROR, self._refusal(fault)
            case exceptions.AMQPError() | exceptions.ChannelInvalidStateError():
                return of_network(Lost())
            case _:
                return of_network(fault)

    async def close(self) -> None:
        """Close the connections; a message under way is lost."""
        await self._link.close()

    async def _connect(self) -> _Channel:
        line = _Line(self._tls)
        connection = aio_pika.Connection(
            self._url.with_query(heartbeat=str(HEARTBEAT), name="circleci-relay")
        )
        connection.kwargs["transport_factory"] = line
        try:
            await connection.connect()
            channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
            await self._declare(channel)
            exchange = channel.default_exchange
            if self._settings.exchange:
                exchange = await channel.get_exchange(self._settings.exchange, ensure=False)
        except BaseException:
            line.cut()
            with contextlib.suppress(Exception):
                async with asyncio.timeout(CUT_PATIENCE):
                    await connection.close()
            raise
        return _Channel(connection, channel, exchange, line)

    async def _declare(self, channel: aio_pika.abc.AbstractChannel) -> None:
        name, wanted = self._settings.exchange, self._settings.declare
        if wanted is None:
            return
        if name:
            await channel.declare_exchange(name, wanted.type, durable=wanted.durable)
        if wanted.queue is not None:
            arguments: dict[str, Any] = dict(wanted.arguments)
            queue = await channel.declare_queue(
                wanted.queue, durable=wanted.durable, arguments=arguments
            )
            keys = wanted.keys or ("#" if wanted.type == "topic" else "",)
            for key in keys if name else ():
                await queue.bind(name, key)

    def _unconfirmed(self, fault: exceptions.DeliveryError, key: str) -> Exception:
        if isinstance(fault.frame, Basic.Return):
            return Refused(
                Result.CLIENT_ERROR,
                f"no queue is bound for routing key {_quoted(key)} on {self._place}",
            )
        return Throttled("the broker would not take it (nack): its queue is full, or failed")

    def _refusal(self, fault: Exception) -> str:
        match fault:
            case exceptions.ChannelNotFoundEntity():
                return f"the broker has not got {self._place}"
            case ChannelAccessRefused():
                return f"the user may not publish to {self._place}, or not declare it"
            case ChannelPreconditionFailed():
                return f"the broker has {self._place} or its queue with other properties"
            case ChannelLockedResource():
                return "the queue belongs to another connection alone"
            case _:
                return "the broker closed the channel"

    @property
    def _place(self) -> str:
        name = self._settings.exchange
        return f"exchange {_quoted(name)}" if name else "the default exchange"


class _Line(TransportFactory):
    """The socket below a connection, which can be cut off whatever the peer does."""

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        self._tls = tls
        self._writer: asyncio.StreamWriter | None = None

    async def create(self, url: URL, **_: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        port = url.port or _PORTS[url.scheme]
        reader, self._writer = await asyncio.open_connection(url.host, port, ssl=self._tls)
        return reader, self._writer

    def cut(self) -> None:
        if self._writer is not None:
            self._writer.transport.abort()


class _Channel:
    """A connection with its one channel."""

    def __init__(
        self,
        connection: aio_pika.abc.AbstractConnection,
        channel: aio_pika.abc.AbstractChannel,
        exchange: aio_pika.abc.AbstractExchange,
        line: _Line,
    ) -> None:
        self._connection = connection
        self._channel = channel
        self.exchange = exchange
        self._line = line

    @property
    def alive(self) -> bool:
        return not self._channel.is_closed and not self._connection.is_closed

    async def close(self) -> None:
        await self._connection.close()

    def cut(self) -> None:
        self._line.cut()


def _published(message: Message) -> aio_pika.Message:
    headers = message.headers
    return aio_pika.Message(
        message.body,
        headers=dict(headers),
        content_type=headers.get("content-type"),
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        message_id=headers["webhook-id"],
        timestamp=int(headers["webhook-timestamp"]),
        type=headers.get("circleci-event-type"),
        app_id="circleci-relay",
    )


def _too_large(fault: ChannelPreconditionFailed, size: int) -> Exception:
    """
    Tell the message that is too large from those that were on the channel with it.

    RabbitMQ closes a channel for it, "message size 3 is larger than configured max size 2".
    """
    most = re.search(r"larger than (?:configured )?max(?:imum)? size '?([0-9]+)", str(fault))
    if most and size > int(most[1]):
        return Undeliverable(f"the message is larger than the broker takes ({int(most[1])} bytes)")
    return Refused(Result.CONNECTION, "the broker closed the channel because of another message")


def _quoted(text: str) -> str:
    return json.dumps(text if len(text) <= 80 else f"{text[:79]}…")  # noqa: PLR2004
