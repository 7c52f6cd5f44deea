"""What is no broker, or one that answers as none should, at the other end of every queue."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from circleci_relay.delivery.queues.amqp import Amqp
from circleci_relay.delivery.queues.nats import Nats
from circleci_relay.delivery.queues.redis import Redis
from circleci_relay.model import Result
from support.queueing import destination, failing, message, opened

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from circleci_relay.delivery.transport import Transport

KINDS: dict[str, Any] = {"amqp": Amqp, "nats": Nats, "redis": Redis}
HTTP = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n"
SECRETS = ("secret-user", "secret-pw")


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Each kind of queue that is spoken to over a connection."""
    return str(request.param)


def transport(kind: str, port: int) -> Transport:
    """Return one to whatever listens on *port*."""
    made: Transport = KINDS[kind](
        destination(f"{kind}://secret-user:secret-pw@127.0.0.1:{port}", timeout=2)
    )
    return made


@asynccontextmanager
async def listening(says: bytes, *, ends: bool) -> AsyncIterator[int]:
    """Listen on a port, and say *says* to whoever comes, without listening."""
    done = asyncio.Event()

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(says)
        if not ends:
            await done.wait()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        done.set()
        server.close()


STRANGERS = {
    "nothing": b"",
    "HTTP": HTTP,
    "zeros": b"\x00" * 100,
    "a flood": b"\xff" * 300_000,
    "half of NATS": b"INFO {}\r\nPONG\r\n",
    "odd NATS": b'INFO {"max_payload": "x", "tls_required": 7}\r\n',
    "odder NATS": b"INFO []\r\n",
    "an error": b"-ERR \xff\r\n",
    "odd Redis": b"*2\r\n$-7\r\n",
    "short AMQP": b"\x01\x00\x00\x00\x00\x00\x04\x00\x0a\x00\x0a\xce",
}
AWAY = {Result.PROTOCOL, Result.CONNECTION, Result.TIMEOUT, Result.CLIENT_ERROR, Result.TLS}


@pytest.mark.parametrize("ends", [True, False], ids=["and-ends", "and-stays"])
async def test_strangers(kind: str, ends: bool) -> None:  # noqa: FBT001
    """It is an outage, in words that tell nothing secret; and never a fault of the relay's own."""

    async def meet(says: bytes) -> tuple[Result, str]:
        async with listening(says, ends=ends) as port, opened(transport(kind, port)) as queue:
            return await failing(queue, message(1), within=0.3)

    met = await asyncio.gather(*map(meet, STRANGERS.values()))
    for name, (result, words) in zip(STRANGERS, met, strict=True):
        assert result in AWAY, (name, words)
        assert not any(secret in words for secret in SECRETS)
