"""Delivery to a real RabbitMQ."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import aio_pika
import pytest

from circleci_relay.config.model import ClientTLS
from circleci_relay.delivery.queues import link
from circleci_relay.delivery.queues.amqp import Amqp
from circleci_relay.delivery.transport import Answer, Throttled, Undeliverable
from circleci_relay.model import Result
from support.brokers import RabbitMQ, TlsFiles
from support.queueing import cut_short, destination, failing, insist, message, opened, send

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from circleci_relay.delivery.transport import Message

pytestmark = pytest.mark.skipif(bool(RabbitMQ.missing()), reason=RabbitMQ.missing() or "")

BOUND = {"type": "topic", "queue": "bound", "keys": ["#"]}


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    """An authority, the server's certificate and a client's."""
    return TlsFiles(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, tls: TlsFiles) -> Iterator[RabbitMQ]:
    """One RabbitMQ for all the tests here: it takes seconds to start."""
    with RabbitMQ(tmp_path_factory.mktemp("rabbitmq") / "server", tls) as running:
        yield running


@pytest.fixture
async def channel(server: RabbitMQ) -> AsyncIterator[Any]:
    """A channel of the test's own; no queue of an earlier test is there."""
    connection = await aio_pika.connect(server.url)
    async with connection, connection.channel() as own:
        yield own
        for name in ("bound", "acme"):
            await own.queue_delete(name)


def transport(url: str, *, tls: ClientTLS | None = None, **more: object) -> Amqp:
    """Return one with *more* as its settings."""
    return Amqp(destination(url, amqp=more, tls=tls))


def to(key: str, number: int | str, body: bytes | None = None) -> Message:
    """Return a message with *key* for its routing key."""
    return message(number, {"routing_key": key}, body=body)


async def taken(channel: Any, name: str = "bound") -> list[Any]:
    """Take all messages out of a queue."""
    queue = await channel.declare_queue(name, passive=True)
    found = []
    while (each := await queue.get(no_ack=True, fail=False)) is not None:
        found.append(each)
    return found


async def test_a_message_arrives_with_body_and_headers(server: RabbitMQ, channel: Any) -> None:
    """The very bytes, persistent, with headers and properties; the topology is made for it."""
    sent = to("acme/api.workflow-completed", 1, b"\x00\xff bytes")
    async with opened(transport(server.url, exchange="circleci", declare=BOUND)) as queue:
        await queue.send(sent, Answer())
    [got] = await taken(channel)
    assert got.body == sent.body
    assert got.headers == sent.headers
    assert (got.message_id, got.content_type) == ("msg_1", "application/json")
    assert got.delivery_mode == aio_pika.DeliveryMode.PERSISTENT
    assert got.timestamp.timestamp() == 1700000000
    assert (got.routing_key, got.exchange) == ("acme/api.workflow-completed", "circleci")


async def test_the_default_exchange_takes_a_queues_name(server: RabbitMQ, channel: Any) -> None:
    """A queue with arguments is declared, and not bound: that exchange knows it by its name."""
    declare = {"queue": "acme", "arguments": {"x-max-length": "2", "x-overflow": "drop-head"}}
    async with opened(transport(server.url, declare=declare)) as queue:
        for number in range(3):
            await queue.send(to("acme", number), Answer())
    assert [each.message_id for each in await taken(channel, "acme")] == ["msg_1", "msg_2"]


async def test_a_replay_beside_what_it_replays(server: RabbitMQ, channel: Any) -> None:
    """Two of one id at once: each is told what became of it, be it refused or taken."""
    declare = {"type": "topic", "queue": "bound", "keys": ["known"]}
    async with opened(transport(server.url, exchange="circleci", declare=declare)) as queue:
        both = [queue.send(to("unbound", 1), Answer()) for _ in range(2)]
        refused = await asyncio.gather(*both, return_exceptions=True)
        both = [queue.send(to("known", 2), Answer()) for _ in range(2)]
        taken_in = await asyncio.gather(*both)
    told = [queue.explain(each)[1] for each in refused if isinstance(each, Exception)]
    assert ["no queue is bound" in words for words in told] == [True, True]
    assert taken_in == [None, None]
    assert [each.message_id for each in await taken(channel)] == ["msg_2", "msg_2"]


async def test_two_hundred_at_once(server: RabbitMQ, channel: Any) -> None:
    """All arrive, each once."""
    async with opened(transport(server.url, exchange="circleci", declare=BOUND)) as queue:
        await send(queue, *(to("k", n) for n in range(200)))
    found = sorted(each.message_id for each in await taken(channel))
    assert found == sorted(f"msg_{n}" for n in range(200))


async def test_a_message_that_no_queue_wants(server: RabbitMQ, channel: Any) -> None:
    """It is tried again, with clear words, and is taken as soon as a queue is bound."""
    async with opened(
        transport(server.url, exchange="circleci", declare={"type": "topic"})
    ) as queue:
        result, words = await failing(queue, to("nowhere", 1))
        assert result is Result.CLIENT_ERROR
        assert words == 'no queue is bound for routing key "nowhere" on exchange "circleci"'
        bound = await channel.declare_queue("bound", durable=True)
        await bound.bind("circleci", "nowhere")
        outcomes = await asyncio.gather(
            *(queue.send(to(key, n), Answer()) for n, key in enumerate(["nowhere", "else"] * 20)),
            return_exceptions=True,
        )
    assert [type(each).__name__ for each in outcomes] == ["NoneType", "Refused"] * 20
    assert len(await taken(channel)) == 20


async def test_an_exchange_that_is_not_there(server: RabbitMQ, channel: Any) -> None:
    """It says which; once it is there, messages are taken."""
    async with opened(transport(server.url, exchange="later")) as queue:
        result, words = await failing(queue, to("k", 1))
        assert (result, words) == (Result.CLIENT_ERROR, 'the broker has not got exchange "later"')
        exchange = await channel.declare_exchange("later", "fanout")
        bound = await channel.declare_queue("bound", durable=True)
        await bound.bind(exchange)
        await queue.send(to("k", 2), Answer())
    assert [each.message_id for each in await taken(channel)] == ["msg_2"]
    await exchange.delete()


async def test_an_exchange_that_is_another(server: RabbitMQ, channel: Any) -> None:
    """One that is declared otherwise stays as it is."""
    exchange = await channel.declare_exchange("other", "fanout", durable=True)
    async with opened(transport(server.url, exchange="other", declare={"type": "topic"})) as queue:
        result, words = await failing(queue, to("k", 1))
    assert result is Result.CLIENT_ERROR
    assert words == 'the broker has exchange "other" or its queue with other properties'
    await exchange.delete()


async def test_a_queue_that_is_full(server: RabbitMQ, channel: Any) -> None:
    """Where the broker says no (nack), it wants fewer messages."""
    arguments = {"x-max-length": "1", "x-overflow": "reject-publish"}
    declare = {"queue": "acme", "arguments": arguments}
    async with opened(transport(server.url, declare=declare)) as queue:
        await queue.send(to("acme", 1), Answer())
        with pytest.raises(Throttled, match="its queue is full"):
            await queue.send(to("acme", 2), Answer())


async def test_a_message_too_large(server: RabbitMQ, channel: Any) -> None:
    """It would never be taken; those on their way with it are sent again."""
    async with opened(transport(server.url, exchange="circleci", declare=BOUND)) as queue:
        large = to("k", "large", b"x" * ((1 << 20) + 1))
        small = [insist(queue, to("k", n)) for n in range(20)]
        outcomes = await asyncio.gather(*small, queue.send(large, Answer()), return_exceptions=True)
        assert isinstance(outcomes.pop(), Undeliverable)
        assert all(isinstance(each, int) for each in outcomes)
    assert {each.message_id for each in await taken(channel)} == {f"msg_{n}" for n in range(20)}


async def test_headers_too_large(server: RabbitMQ, channel: Any) -> None:
    """They have to fit one frame; as many as fit are taken."""
    settings: dict[str, Any] = {"exchange": "circleci", "declare": BOUND}
    async with opened(transport(server.url, **settings)) as queue:
        sent = to("k", 1)
        with pytest.raises(Undeliverable, match="headers are larger"):
            await queue.send(
                replace(sent, headers={**sent.headers, "x": "\xe9" * 50_000}), Answer()
            )
        await queue.send(replace(sent, headers={**sent.headers, "x": "\xe9" * 49_000}), Answer())
    [got] = await taken(channel)
    assert got.headers["x"] == "\xe9" * 49_000


async def test_a_routing_key_too_long(server: RabbitMQ) -> None:
    """A branch's name may be any; the protocol's limit is 255 bytes."""
    async with opened(transport(server.url)) as queue:
        with pytest.raises(Undeliverable, match="longer than 255 bytes"):
            await queue.send(to("\xe9" * 128, 1), Answer())


async def test_a_login_that_is_refused(server: RabbitMQ) -> None:
    """A wrong password, an unknown vhost: the configuration's fault; nothing secret is said."""
    async with opened(transport(server.url.replace(server.password, "secret-pw"))) as queue:
        result, words = await failing(queue, to("k", 1))
    assert (result, words) == (Result.CLIENT_ERROR, "the broker refused the user or password")
    async with opened(transport(f"{server.url}/secret-vhost")) as queue:
        result, words = await failing(queue, to("k", 1))
    assert (result, words) == (Result.CLIENT_ERROR, "the broker has no such vhost for this user")


async def test_a_broker_that_is_not_there() -> None:
    """A refused connection is one."""
    async with opened(transport("amqp://u:secret-pw@127.0.0.1:1")) as queue:
        result, words = await failing(queue, to("k", 1))
    assert result is Result.CONNECTION
    assert "secret" not in words


async def test_tls(server: RabbitMQ, channel: Any, tls: TlsFiles) -> None:
    """With the right authority and client certificate it is taken; else the words say why."""
    settings: dict[str, Any] = {"exchange": "circleci", "declare": BOUND}
    known = ClientTLS(ca=tls.ca, cert=tls.client)
    async with opened(transport(server.tls_url, tls=known, **settings)) as queue:
        await queue.send(to("k", 1), Answer())
    assert [each.message_id for each in await taken(channel)] == ["msg_1"]
    async with opened(transport(server.tls_url, **settings)) as queue:
        result, words = await failing(queue, to("k", 1))
    assert (result, words.startswith("certificate not accepted:")) == (Result.TLS, True)
    async with opened(transport(server.tls_url, tls=ClientTLS(ca=tls.ca), **settings)) as queue:
        result, words = await failing(queue, to("k", 1))
    assert result in {Result.TLS, Result.CONNECTION}, words


async def test_a_broker_that_hangs(server: RabbitMQ, channel: Any) -> None:
    """What was cut short is not confirmed by what it answers later; the next ones are their own."""
    declare = {"type": "direct", "queue": "bound", "keys": ["k"]}
    async with opened(transport(server.url, exchange="direct", declare=declare)) as queue:
        await send(queue, *(to("k", f"a{n}") for n in range(4)))
        with server.frozen():
            hung = [failing(queue, to("k", f"b{n}"), within=0.3) for n in range(8)]
            hung += [failing(queue, to("k", "large", b"x" * (1 << 20)), within=0.3)]
            assert {result for result, _ in await asyncio.gather(*hung)} == {Result.TIMEOUT}
            result, _ = await failing(queue, to("k", "unconnected"), within=0.1)
            assert result is Result.TIMEOUT
        # The same ids again, to nowhere: what is confirmed now is not theirs.
        again = await asyncio.gather(*(failing(queue, to("nowhere", f"b{n}")) for n in range(8)))
        assert {result for result, _ in again} == {Result.CLIENT_ERROR}
        await send(queue, *(to("k", f"c{n}") for n in range(8)))
    found = {each.message_id for each in await taken(channel)}
    assert found >= {f"msg_c{n}" for n in range(8)} | {f"msg_a{n}" for n in range(4)}


async def test_closing_while_it_hangs(
    server: RabbitMQ, channel: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closing ends soon, and so does what is under way."""
    monkeypatch.setattr(link, "CLOSING_PATIENCE", 0.2)
    queue = transport(server.url, exchange="circleci", declare=BOUND)
    await queue.send(to("k", 1), Answer())
    with server.frozen():
        async with asyncio.timeout(5), asyncio.TaskGroup() as group:
            hung = group.create_task(failing(queue, to("k", 2)))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            group.create_task(queue.close())
        assert hung.result()[0] is Result.CONNECTION


async def test_messages_cut_short_anywhere(
    server: RabbitMQ, channel: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever was confirmed is there, and what could not be was not confirmed."""
    monkeypatch.setattr(link, "CLOSING_PATIENCE", 0.2)
    declare = {"type": "direct", "queue": "bound", "keys": ["k"]}
    async with opened(transport(server.url, exchange="direct", declare=declare)) as queue:
        confirmed = await cut_short(queue, lambda n: to("k", n), lambda n: to("nowhere", n))
        await queue.send(to("k", "last"), Answer())
    assert confirmed
    assert confirmed <= {each.message_id for each in await taken(channel)}


async def test_nothing_is_lost_when_it_crashes(server: RabbitMQ) -> None:
    """Killed under load and started again: what was confirmed is there afterwards."""
    settings: dict[str, Any] = {"exchange": "crash", "declare": {"queue": "crash"}}
    async with opened(transport(server.url, **settings)) as queue:
        confirmed: list[int] = []
        some = asyncio.Event()

        async def keep_sending(first: int) -> None:
            for number in range(first, 400, 8):
                await insist(queue, to("k", number))
                confirmed.append(number)
                if len(confirmed) == 100:
                    some.set()

        async with asyncio.TaskGroup() as group:
            for first in range(8):
                group.create_task(keep_sending(first))
            await some.wait()
            await server.kill()
            await server.start()
    connection = await aio_pika.connect(server.url)
    async with connection, connection.channel() as reader:
        there = {each.message_id for each in await taken(reader, "crash")}
    assert len(confirmed) == 400
    assert there == {f"msg_{n}" for n in range(400)}
