"""Delivery into streams of a real Redis."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from redis.asyncio import Redis as Client

from circleci_relay.config.model import ClientTLS
from circleci_relay.delivery.queues.redis import Redis, seen_key
from circleci_relay.delivery.transport import Answer, Undeliverable
from circleci_relay.model import Result
from support.brokers import Redis as Server
from support.brokers import TlsFiles
from support.queueing import cut_short, destination, failing, insist, message, opened, send

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from circleci_relay.delivery.transport import Message

pytestmark = pytest.mark.skipif(bool(Server.missing()), reason=Server.missing() or "")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One Redis for all the tests here that do it no harm."""
    with Server(tmp_path_factory.mktemp("redis") / "server") as running:
        yield running


@pytest.fixture
async def client(server: Server) -> AsyncIterator[Client]:
    """A client of the test's own; the server is empty."""
    async with Client.from_url(server.url, protocol=2) as connected:
        await connected.flushall()
        yield connected


def transport(
    url: str, *, timeout: float = 5.0, tls: ClientTLS | None = None, **more: object
) -> Redis:
    """Return one with *more* as its settings."""
    return Redis(destination(url, redis=more, timeout=timeout, tls=tls))


def to(stream: str, number: int | str, body: bytes | None = None) -> Message:
    """Return a message to *stream*."""
    return message(number, {"stream": stream}, body=body)


async def entries(client: Client, stream: str = "s") -> list[dict[bytes, bytes]]:
    """Return all that is in *stream*, in order."""
    found: Any = await client.xrange(stream)
    return [fields for _, fields in found]


async def numbers(client: Client, stream: str = "s") -> list[str]:
    """Return the ids of all that is in *stream*, in order."""
    return [fields[b"webhook-id"].decode() for fields in await entries(client, stream)]


async def test_a_message_arrives_with_body_and_headers(server: Server, client: Client) -> None:
    """The entry has the very bytes as body, and a field for each header."""
    sent = to("acme/api", 1, b"\x00\xff bytes")
    async with opened(transport(server.url)) as queue:
        await queue.send(sent, Answer())
    [fields] = await entries(client, "acme/api")
    assert next(iter(fields)) == b"body"
    assert fields.pop(b"body") == sent.body
    assert {name.decode(): value.decode() for name, value in fields.items()} == sent.headers


async def test_a_header_called_body_hides_no_body(server: Server, client: Client) -> None:
    """Readers make a map of the fields: there is one of each name."""
    sent = to("s", 1)
    named = type(sent)(
        url="", headers={**sent.headers, "body": "x"}, body=b"B", address=sent.address
    )
    async with opened(transport(server.url)) as queue:
        await queue.send(named, Answer())
    [fields] = await entries(client)
    assert fields[b"body"] == b"B"


async def test_a_repeat_is_added_once(server: Server, client: Client) -> None:
    """A message that was taken and is sent again is not added again; its mark ends by itself."""
    async with opened(transport(server.url, deduplicate="90s")) as queue:
        await send(queue, *[to("s", 1)] * 20)
        await queue.send(to("other", 1), Answer())
    assert await numbers(client) == ["msg_1"]
    assert await numbers(client, "other") == ["msg_1"]
    assert 80 < await client.ttl(seen_key("s", "msg_1")) <= 90


async def test_without_deduplication_each_is_added(server: Server, client: Client) -> None:
    """With null there are no marks, and a repeat is a second entry."""
    async with opened(transport(server.url, deduplicate=None)) as queue:
        await queue.send(to("s", 1), Answer())
        await queue.send(to("s", 1), Answer())
    assert await numbers(client) == ["msg_1", "msg_1"]
    assert await client.keys() == [b"s"]


async def test_a_stream_is_bounded(server: Server, client: Client) -> None:
    """The oldest go; about so many stay, since whole blocks of 100 are dropped."""
    async with opened(transport(server.url, max_length=100, deduplicate=None)) as queue:
        for start in range(0, 500, 50):
            await send(queue, *(to("s", n) for n in range(start, start + 50)))
    assert 100 <= await client.xlen("s") < 250


async def test_two_hundred_at_once(server: Server, client: Client) -> None:
    """All arrive, each once."""
    async with opened(transport(server.url)) as queue:
        await send(queue, *(to("s", n) for n in range(200)))
    assert sorted(await numbers(client)) == sorted(f"msg_{n}" for n in range(200))


async def test_a_password_that_is_wrong(server: Server) -> None:
    """It is the configuration's fault; nothing secret is said."""
    url = server.url.replace(server.password, "not-the-password")
    async with opened(transport(url)) as queue:
        result, words = await failing(queue, to("s", 1))
    assert result is Result.CLIENT_ERROR
    assert "refused the user or password" in words
    assert "not-the" not in words


async def test_a_user_who_may_not(server: Server, client: Client) -> None:
    """A user without the right is told so, and the connection is used again."""
    await client.acl_setuser(
        "weak", enabled=True, passwords=["+pw"], commands=["+ping"], keys=["*"]
    )
    url = f"redis://weak:pw@127.0.0.1:{server.port}"
    async with opened(transport(url)) as queue:
        result, words = await failing(queue, to("s", 1))
    assert (result, "may not run" in words) == (Result.CLIENT_ERROR, True)


async def test_a_user_who_may_just_do_it(server: Server, client: Client) -> None:
    """The rights that the how-to names are enough."""
    needed = ["+eval", "+get", "+set", "+xadd", "+wait"]
    await client.acl_setuser(
        "least", enabled=True, passwords=["+pw"], commands=needed, keys=["s", "*:seen:*"]
    )
    url = f"redis://least:pw@127.0.0.1:{server.port}"
    async with opened(transport(url)) as queue:
        await queue.send(to("s", 1), Answer())
    assert await numbers(client) == ["msg_1"]


async def test_a_key_that_is_no_stream(server: Server, client: Client) -> None:
    """The answer is put in words; nothing is marked as sent."""
    await client.set("s", "text")
    for seconds in ("1d", None):
        async with opened(transport(server.url, deduplicate=seconds)) as queue:
            result, words = await failing(queue, to("s", 1))
        assert (result, "no stream" in words) == (Result.CLIENT_ERROR, True)
    assert await client.keys() == [b"s"]


async def test_memory_that_is_full(server: Server, client: Client) -> None:
    """It counts as an outage; once there is room it is taken."""
    async with opened(transport(server.url)) as queue:
        await client.config_set("maxmemory", 1)
        result, words = await failing(queue, to("s", 1))
        await client.config_set("maxmemory", 0)
        assert (result, "memory is full" in words) == (Result.SERVER_ERROR, True)
        await queue.send(to("s", 1), Answer())
    assert await numbers(client) == ["msg_1"]


async def test_a_message_too_large(server: Server, client: Client) -> None:
    """It would never be taken; the next one is."""
    await client.config_set("proto-max-bulk-len", 1 << 20)
    async with opened(transport(server.url)) as queue:
        with pytest.raises(Undeliverable, match="larger than the server takes"):
            await queue.send(to("s", 1, b"x" * (1 << 20) + b"y"), Answer())
        await queue.send(to("s", 2), Answer())
    await client.config_set("proto-max-bulk-len", 512 << 20)
    assert await numbers(client) == ["msg_2"]


async def test_replicas_that_are_missing(server: Server) -> None:
    """What too few replicas have is not taken: it says how many had it."""
    async with opened(transport(server.url, wait=1, timeout=0.2)) as queue:
        result, words = await failing(queue, to("s", 1))
    assert (result, words) == (
        Result.SERVER_ERROR,
        "added, but only 0 of 1 replicas confirmed it in time",
    )


async def test_a_replica_that_is_there(server: Server, client: Client, tmp_path: Path) -> None:
    """With a replica, `wait: 1` returns once it has the message."""
    options = ("--replicaof", f"127.0.0.1 {server.port}", "--masterauth", server.password)
    await client.config_set("repl-diskless-sync-delay", 0)
    async with Server(tmp_path / "replica", *options) as replica:
        async with opened(transport(server.url, wait=1)) as queue:
            assert await insist(queue, to("s", 1)) >= 1
        async with opened(transport(server.url, wait=1, timeout=0.2)) as queue:
            with replica.frozen():
                for _ in range(2):
                    _, words = await failing(queue, to("s", 2))
                    assert "only 0 of 1 replicas" in words
            await insist(queue, to("s", 2))
        async with Client.from_url(replica.url, protocol=2) as reader:
            assert await numbers(reader) == ["msg_1", "msg_2"]
        async with opened(transport(replica.url)) as queue:
            result, words = await failing(queue, to("s", 3))
        assert (result, "a replica" in words) == (Result.SERVER_ERROR, True)


async def test_a_server_that_hangs(server: Server, client: Client) -> None:
    """What was cut short is not confirmed by what it answers later; the next ones are their own."""
    async with opened(transport(server.url)) as queue:
        await send(queue, *(to("s", f"a{n}") for n in range(4)))
        with server.frozen():
            hung = [failing(queue, to("s", f"b{n}"), within=0.2) for n in range(8)]
            hung += [failing(queue, to("s", "large", b"x" * (8 << 20)), within=0.2)]
            assert {result for result, _ in await asyncio.gather(*hung)} == {Result.TIMEOUT}
        with pytest.raises(Undeliverable):
            await queue.send(to("", "c"), Answer())
        await send(queue, *(to("s", f"c{n}") for n in range(8)))
    assert {f"msg_c{n}" for n in range(8)} <= set(await numbers(client))


async def test_closing_while_it_hangs(server: Server, client: Client) -> None:
    """Closing ends soon, and so does what is under way."""
    queue = transport(server.url)
    await queue.send(to("s", 1), Answer())
    with server.frozen():
        async with asyncio.timeout(5), asyncio.TaskGroup() as group:
            hung = group.create_task(failing(queue, to("s", 2)))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            group.create_task(queue.close())
        assert hung.result()[0] is Result.CONNECTION


async def test_messages_cut_short_anywhere(server: Server, client: Client) -> None:
    """Whatever was confirmed is there, and what could not be was not confirmed."""
    await client.set("text", "no stream")
    async with opened(transport(server.url)) as queue:
        confirmed = await cut_short(queue, lambda n: to("s", n), lambda n: to("text", n))
        await queue.send(to("s", "last"), Answer())
    assert confirmed
    assert confirmed <= set(await numbers(client))


async def test_a_connection_that_the_server_closed(server: Server, client: Client) -> None:
    """One that lay idle and was closed is not used: nothing fails."""
    async with opened(transport(server.url)) as queue:
        await queue.send(to("s", 1), Answer())
        assert await client.client_kill_filter(_type="normal", skipme=True)
        await queue.send(to("s", 2), Answer())
    assert await numbers(client) == ["msg_1", "msg_2"]


async def test_nothing_is_lost_when_it_crashes(tmp_path: Path) -> None:
    """Killed twice under load: what was confirmed is there afterwards, and nothing twice."""
    async with Server(tmp_path / "redis") as server, opened(transport(server.url)) as queue:
        taken: list[int] = []
        some = asyncio.Event()

        async def keep_sending(first: int) -> None:
            for number in range(first, 400, 8):
                await insist(queue, to("s", number))
                taken.append(number)
                some.set()

        async with asyncio.TaskGroup() as group:
            for first in range(8):
                group.create_task(keep_sending(first))
            for _ in range(2):
                some.clear()
                await some.wait()
                await server.kill()
                await server.start()
        async with Client.from_url(server.url, protocol=2) as reader:
            there = await numbers(reader)
        assert len(taken) == 400
        assert sorted(there) == sorted(f"msg_{n}" for n in taken)


async def test_a_server_that_is_not_there(server: Server) -> None:
    """A refused connection is one; so is a name that nobody knows."""
    async with opened(transport("redis://:pw@127.0.0.1:1")) as queue:
        result, words = await failing(queue, to("s", 1))
    assert result is Result.CONNECTION
    assert "pw" not in words


async def test_tls(tmp_path: Path) -> None:
    """With the right authority and client certificate it is taken; else the words say why."""
    files = TlsFiles(tmp_path / "tls")
    options = ["--tls-cert-file", str(files.cert), "--tls-key-file", str(files.key)]
    options += ["--tls-ca-cert-file", str(files.ca)]
    async with (
        Server(tmp_path / "redis", *options) as server,
        Client.from_url(server.url, protocol=2) as client,
    ):
        await client.config_set("tls-port", server.port + 1)
        url = f"rediss://:{server.password}@localhost:{server.port + 1}/3"
        async with opened(transport(url, tls=ClientTLS(ca=files.ca, cert=files.client))) as queue:
            await send(queue, to("s", 1), to("s", 2))
        await client.select(3)
        assert sorted(await numbers(client)) == ["msg_1", "msg_2"]
        async with opened(transport(url)) as queue:
            result, words = await failing(queue, to("s", 3))
        assert (result, words.startswith("certificate not accepted:")) == (Result.TLS, True)
        async with opened(transport(url, tls=ClientTLS(ca=files.ca))) as queue:
            result, words = await failing(queue, to("s", 3))
        assert result in {Result.TLS, Result.CONNECTION}, words
