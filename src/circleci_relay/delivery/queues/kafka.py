"""Messages into a Kafka topic."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import re
from contextvars import ContextVar
from functools import cache
from typing import TYPE_CHECKING, Any

from circleci_relay import __version__
from circleci_relay.config.kafka import Kafka as Settings
from circleci_relay.config.kafka import brokers_of
from circleci_relay.delivery.queues.faults import of_network
from circleci_relay.delivery.queues.link import Link
from circleci_relay.delivery.tls import client_tls
from circleci_relay.delivery.transport import Undeliverable
from circleci_relay.model import Result

if TYPE_CHECKING:
    from collections.abc import Callable

    from circleci_relay.config.model import Destination
    from circleci_relay.delivery.transport import Answer, Message

BATCH = 16_384
"""Bytes up to which messages go together; a larger one goes alone."""

LARGEST = 100 << 20
"""Bytes of a message before it is sent; how much is taken the topic says itself."""

GRACE = 0.8
"""Seconds for each of a producer's parts to end by itself; together less than `Link` waits."""

LOGGERS = (
    "aiokafka",
    "aiokafka.cluster",
    "aiokafka.conn",
    "aiokafka.producer.producer",
    "aiokafka.producer.sender",
)

_LONGEST_TOPIC = 249
_FOREIGN = re.compile(r"[^A-Za-z0-9._-]")


class Kafka:
    """
    Sends by an idempotent producer; the brokers confirm once all replicas in sync have a message.

    After anything that goes wrong the producer is given up and a new one made: aiokafka's goes
    on trying what nobody waits for any more, for ever, and leaves a gap in the numbers that
    brokers count its messages by where one was refused.
    """

    def __init__(self, destination: Destination) -> None:
        self._settings = destination.kafka or Settings()
        self._brokers = brokers_of(destination.url.get_secret_value())
        self._tls = client_tls(destination) if self._brokers.tls else None
        # A little less than the attempt may take, so that what the library says is heard.
        self._timeout = destination.timeout * 0.9
        self._link = Link(self._connect)

    async def send(self, message: Message, answer: Answer) -> None:  # noqa: ARG002 - says nothing
        """Send *message*; returns once the partition's leader confirms it."""
        topic = topic_of(message.address.get("topic", self._settings.topic))
        key = message.address.get("key", "").encode()
        headers = [(name, value.encode()) for name, value in message.headers.items()]
        async with self._link.use() as producer:
            try:
                await producer.send(topic, message.body, key=key or None, headers=headers)
            except Exception as fault:
                if _too_large(fault) and len(message.body) > BATCH:
                    raise Undeliverable("the message is larger than the topic takes") from None
                raise

    def explain(self, fault: Exception) -> tuple[Result, str]:
        """What *fault* means, in words without URL, user or password."""
        for kind, result, words in _faults():
            if isinstance(fault, kind):
                return result, words(fault)
        return of_network(fault)

    async def close(self) -> None:
        """Close the connections; a message under way is lost."""
        await self._link.close()

    async def _connect(self) -> _Producer:
        library = await asyncio.to_thread(_library)
        brokers = self._brokers
        secure = ("SASL_" if brokers.user else "") + ("SSL" if brokers.tls else "PLAINTEXT")
        producer = _Producer(
            library.AIOKafkaProducer(
                bootstrap_servers=[*brokers.hosts],
                client_id=f"circleci-relay/{__version__}",
                acks="all",
                enable_idempotence=True,
                request_timeout_ms=int(self._timeout * 1000),
                max_batch_size=BATCH,
                max_request_size=LARGEST,
                security_protocol=secure,
                ssl_context=self._tls,
                sasl_mechanism=self._settings.mechanism.upper(),
                sasl_plain_username=brokers.user,
                sasl_plain_password=brokers.password,
            )
        )
        causes: list[BaseException] = []
        overhearing = _CAUSES.set(causes)
        try:
            await producer.start()
        except BaseException as fault:
            await producer.close()
            if causes and isinstance(fault, library.errors.KafkaConnectionError):
                raise causes[-1] from None
            raise
        finally:
            _CAUSES.reset(overhearing)
        return producer


class _Producer:
    """A producer that is given up at the first failure."""

    def __init__(self, producer: Any) -> None:
        self._producer = producer
        self.alive = True

    async def start(self) -> None:
        """Reach one of the brokers."""
        await self._producer.start()

    async def send(self, topic: str, body: bytes, **rest: Any) -> None:
        """Send a message; returns once it is confirmed."""
        try:
            await self._producer.send_and_wait(topic, body, **rest)
        except BaseException:
            self.alive = False
            raise

    async def close(self) -> None:
        """Stop; what it still wanted to send is dropped, and sent anew by the relay."""
        # Its own stop() would first wait for that, without end where there is no broker.
        self._producer._closed = True  # noqa: SLF001 - there is no other way in
        sender = self._producer._sender.sender_task  # noqa: SLF001
        if sender is not None:
            sender.cancel()
            await asyncio.wait([sender], timeout=GRACE)
            sender.cancel()
        closing = asyncio.create_task(self._producer.client.close())
        await asyncio.wait([closing], timeout=GRACE)
        closing.cancel()

    def cut(self) -> None:
        """Nothing is left to end."""


_CAUSES: ContextVar[list[BaseException]] = ContextVar("_CAUSES")


class _Overheard(logging.Filter):
    """
    Drops what the library logs, and keeps why a broker could not be reached.

    The relay tells what comes of each attempt; the library would tell of each of its own, and
    names its causes nowhere else.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Let nothing pass."""
        last = record.args[-1] if isinstance(record.args, tuple) and record.args else None
        if isinstance(last, BaseException):
            _CAUSES.get([]).append(last)
        return False


@cache
def _library() -> Any:
    import aiokafka  # noqa: PLC0415 - it takes long

    overheard = _Overheard()
    for name in LOGGERS:
        logging.getLogger(name).addFilter(overheard)
    return aiokafka


def topic_of(text: str) -> str:
    """*text* as the name of a topic; raise `Undeliverable` if it is none whatever is replaced."""
    name = _FOREIGN.sub("_", text.strip().replace("/", "."))
    if name in {"", ".", ".."} or len(name) > _LONGEST_TOPIC:
        raise Undeliverable("the topic's name is empty, or longer than 249 characters")
    return name


def _too_large(fault: Exception) -> bool:
    from aiokafka import errors  # noqa: PLC0415 - it takes long

    return isinstance(fault, (errors.MessageSizeTooLargeError, errors.RecordListTooLargeError))


@cache
def _faults() -> tuple[tuple[type[Exception], Result, Callable[[Any], str]], ...]:
    """What may go wrong, the most particular first; no words here carry a URL."""
    from aiokafka import errors  # noqa: PLC0415 - it takes long

    def refused(words: str) -> tuple[Result, Callable[[Any], str]]:
        return Result.CLIENT_ERROR, lambda _: words

    return (
        (errors.KafkaTimeoutError, Result.TIMEOUT, lambda _: "not confirmed within the timeout"),
        (errors.RequestTimedOutError, Result.TIMEOUT, lambda _: "no answer within the timeout"),
        (
            errors.KafkaConnectionError,
            Result.CONNECTION,
            lambda _: "the connection was closed; does this port want TLS, or a user?",
        ),
        (errors.SaslAuthenticationFailed, *refused("user or password is not accepted")),
        (errors.UnsupportedSaslMechanismError, *refused("kafka.mechanism is not accepted")),
        (errors.IllegalSaslStateError, *refused("this port wants no user")),
        (errors.UnknownTopicOrPartitionError, *refused("there is no such topic")),
        (errors.TopicAuthorizationFailedError, *refused("this user may not write there")),
        (errors.ClusterAuthorizationFailedError, *refused("this user may not write there")),
        (errors.InvalidTopicError, *refused("this is no topic to write to")),
        (errors.MessageSizeTooLargeError, *refused("the topic takes even less than a batch")),
        (
            errors.KafkaError,
            Result.SERVER_ERROR,
            lambda fault: f"the brokers answered {type(fault).__name__}",
        ),
        (
            ConnectionError,
            Result.CONNECTION,
            # The library's words name the host.
            lambda fault: f"connection failed: {os.strerror(fault.errno or errno.ECONNRESET)}",
        ),
    )
