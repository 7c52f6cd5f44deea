"""Delivery to the JetStream of a real NATS server."""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING, Any

import nats
import pytest
from hypothesis import given
from hypothesis import strategies as st

from circleci_relay.config.model import ClientTLS
from circleci_relay.delivery.queues import link
from circleci_relay.delivery.queues.nats import Nats, subject_of
from circleci_relay.delivery.transport import Answer, Throttled, Undeliverable
from circleci_relay.model import Result
from support.brokers import Nats as Server
from support.brokers import TlsFiles
from support.queueing import cut_short, destination, failing, insist, message, opened, send

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from nats.js import JetStreamContext

    from circleci_relay.delivery.transport import Message

pytestmark = pytest.mark.skipif(bool(Server.missing()), reason=Server.missing() or "")

DECLARE = {"subjects": ["ci.>"]}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One NATS server for all the tests here that do it no harm."""
    with Server(tmp_path_factory.mktemp("nats") / "server") as running:
        yield running


@pytest.fixture
async def js(server: Server) -> AsyncIterator[JetStreamContext]:
    """A client of the test's own; afterwards no stream is left."""
    async with await nats.connect(server.url, allow_reconnect=False) as client:
        stream = client.jetstream()
        yield stream
        for each in await stream.streams_info():
            await stream.delete_stream(each.config.name or "")


def transport(url: str, *, tls: ClientTLS | None = None, **more: object) -> Nats:
    """Return one with *more* as its settings."""
    return Nats(destination(url, nats=more, tls=tls))


def to(subject: str, number: int | str, body: bytes | None = None) -> Message:
    """Return a message to *subject*."""
    return message(number, {"subject": subject}, body=body)


async def stored(js: JetStreamContext, stream: str = "ci") -> list[Any]:
    """Return all that a stream holds, in order."""
    state = (await js.stream_info(stream)).state
    return [
        await js.get_msg(stream, number)
        for number in range(state.first_seq, state.last_seq + 1)
        if state.messages
    ]


async def numbers(js: JetStreamContext, stream: str = "ci") -> list[str]:
    """Return the ids of all that a stream holds, in order."""
    return [each.headers["webhook-id"] for each in await stored(js, stream)]


async def test_a_message_arrives_with_body_and_headers(
    server: Server, js: JetStreamContext
) -> None:
    """The very bytes and headers; the stream is made for it, as was said."""
    sent = to("ci.acme/api.workflow-completed", 1, b"\x00\xff bytes")
    declare = {**DECLARE, "max_age": "30m", "max_bytes": "1MiB"}
    async with opened(transport(server.url, stream="ci", declare=declare)) as queue:
        await queue.send(sent, Answer())
    [got] = await stored(js)
    assert got.data == sent.body
    assert got.subject == "ci.acme/api.workflow-completed"
    own = {"Nats-Msg-Id": "msg_1", "Nats-Expected-Stream": "ci"}
    _, *lines = base64.b64decode(got.hdrs).decode().split("\r\n")
    assert dict(line.split(": ", 1) for line in lines if line) == {**sent.headers, **own}
    config = (await js.stream_info("ci")).config
    assert (config.max_age, config.max_bytes, config.duplicate_window) == (1800, 1 << 20, 1800)


async def test_a_repeat_is_stored_once(server: Server, js: JetStreamContext) -> None:
    """The stream knows a message again, and confirms it again."""
    async with opened(transport(server.url, stream="ci", declare=DECLARE)) as queue:
        await send(queue, *[to("ci.x", 1)] * 20)
    assert await numbers(js) == ["msg_1"]


async def test_two_hundred_at_once(server: Server, js: JetStreamContext) -> None:
    """All arrive, each once."""
    async with opened(transport(server.url, stream="ci", declare=DECLARE)) as queue:
        await send(queue, *(to("ci.x", n) for n in range(200)))
    assert sorted(await numbers(js)) == sorted(f"msg_{n}" for n in range(200))


async def test_a_stream_that_is_there_stays_as_it_is(server: Server, js: JetStreamContext) -> None:
    """What somebody else has made is not changed."""
    await js.add_stream(name="ci", subjects=["ci.>"], max_msgs=7)
    async with opened(transport(server.url, stream="ci", declare=DECLARE)) as queue:
        await queue.send(to("ci.x", 1), Answer())
    assert (await js.stream_info("ci")).config.max_msgs == 7


async def test_a_subject_that_no_stream_takes(server: Server, js: JetStreamContext) -> None:
    """It says which; once a stream takes it, messages are taken."""
    async with opened(transport(server.url)) as queue:
        result, words = await failing(queue, to("ci.x", 1))
        assert (result, words) == (Result.CLIENT_ERROR, 'no stream takes subject "ci.x"')
        await js.add_stream(name="ci", subjects=["ci.>"])
        await queue.send(to("ci.x", 2), Answer())
    assert await numbers(js) == ["msg_2"]


async def test_a_subject_of_another_stream(server: Server, js: JetStreamContext) -> None:
    """With `stream`, no other stores it."""
    await js.add_stream(name="ci", subjects=["ci.>"])
    async with opened(transport(server.url, stream="mine")) as queue:
        result, words = await failing(queue, to("ci.x", 1))
    assert result is Result.CLIENT_ERROR
    assert words == 'subject "ci.x" belongs to another stream than is expected'
    assert await numbers(js) == []


async def test_a_stream_that_cannot_be(server: Server, js: JetStreamContext) -> None:
    """Where subjects overlap, the server's own words are told."""
    await js.add_stream(name="first", subjects=["ci.>"])
    async with opened(transport(server.url, stream="ci", declare=DECLARE)) as queue:
        result, words = await failing(queue, to("ci.x", 1))
    assert (result, "overlap" in words) == (Result.CLIENT_ERROR, True)


async def test_a_stream_that_is_full(server: Server, js: JetStreamContext) -> None:
    """One that drops no old messages wants fewer new ones."""
    await js.add_stream(name="ci", subjects=["ci.>"], max_msgs=1, discard="new")
    async with opened(transport(server.url)) as queue:
        await queue.send(to("ci.x", 1), Answer())
        with pytest.raises(Throttled, match="is full"):
            await queue.send(to("ci.x", 2), Answer())


async def test_a_message_too_large(server: Server, js: JetStreamContext) -> None:
    """Neither the server's limit, headers included, nor the stream's harms other messages."""
    await js.add_stream(name="ci", subjects=["ci.>"])
    await js.add_stream(name="small", subjects=["small"], max_msg_size=1000)
    async with opened(transport(server.url)) as queue:
        for size in ((1 << 20), (1 << 20) - 100):
            with pytest.raises(Undeliverable, match="larger than the server takes"):
                await queue.send(to("ci.x", "large", b"x" * size), Answer())
        await queue.send(to("ci.x", "just", b"x" * ((1 << 20) - 500)), Answer())
        with pytest.raises(Undeliverable, match="larger than the stream takes"):
            await queue.send(to("small", 1, b"x" * 1000), Answer())
        await send(queue, to("ci.x", 1), to("small", 2))
    assert await numbers(js) == ["msg_just", "msg_1"]


async def test_a_branch_that_is_an_order(server: Server, js: JetStreamContext) -> None:
    """Whoever can push can name a branch, and still deletes no stream."""
    await js.add_stream(name="orders", subjects=["orders"])
    async with opened(transport(server.url, subject="{{ branch }}")) as queue:
        for hostile in ("$JS.API.STREAM.DELETE.orders", "x y\r\nPUB $JS.API.STREAM.DELETE.orders"):
            _, words = await failing(queue, to(hostile, 1))
            assert "no stream takes" in words
    assert (await js.stream_info("orders")).config.name == "orders"


@given(st.text())
def test_any_text_becomes_a_subject(text: str) -> None:
    """It has no empty part, no wildcard, no space, and is none of the server's own."""
    subject = subject_of(text)
    assert all(subject.split("."))
    assert not set("*> \t\r\n\0\x85\u2028") & set(subject)
    assert not subject.startswith(("$", "_INBOX"))
    assert subject_of(subject) == subject


async def test_a_subject_too_long(server: Server) -> None:
    """A whole line of the protocol has a limit, and passing it ends the connection."""
    async with opened(transport(server.url)) as queue:
        with pytest.raises(Undeliverable, match="longer than 1024 bytes"):
            await queue.send(to("x" * 1025, 1), Answer())


async def test_a_login_that_is_refused(server: Server) -> None:
    """It is the configuration's fault; nothing secret is said."""
    for url in (
        server.url.replace(server.password, "secret-pw"),
        f"nats://secret-token@127.0.0.1:{server.port}",
    ):
        async with opened(transport(url)) as queue:
            result, words = await failing(queue, to("ci.x", 1))
        assert result is Result.CLIENT_ERROR
        assert words == "the server refused the user, password or token"


async def test_a_user_who_may_not(tmp_path: Path) -> None:
    """A user without the right is told so at once; the rights that the how-to names are enough."""
    allowed = 'publish: ["ci.>", "$JS.API.STREAM.CREATE.>"], subscribe: "_INBOX.>"'
    users = f"""authorization {{ users: [
        {{user: relay, password: pw, permissions: {{publish: {{deny: "ci.>"}}}}}}
        {{user: deaf, password: pw, permissions: {{subscribe: {{deny: ">"}}}}}}
        {{user: least, password: pw, permissions: {{{allowed}}}}}
    ] }}"""
    server = Server(tmp_path / "nats", more=users, login=False)
    async with server:
        async with opened(transport(f"nats://relay:pw@127.0.0.1:{server.port}")) as queue:
            result, words = await failing(queue, to("ci.x", 1))
        assert (result, words) == (Result.CLIENT_ERROR, 'the user may not publish to "ci.x"')
        least = f"nats://least:pw@127.0.0.1:{server.port}"
        async with opened(transport(least, stream="ci", declare=DECLARE)) as queue:
            await queue.send(to("ci.x", 1), Answer())
        async with opened(transport(f"nats://deaf:pw@127.0.0.1:{server.port}")) as queue:
            result, words = await failing(queue, to("ci.x", 1))
        assert (result, words) == (Result.CLIENT_ERROR, "the user may not subscribe to _INBOX.>")


async def test_a_server_without_jetstream(tmp_path: Path) -> None:
    """It is told as what it is."""
    async with (
        Server(tmp_path / "nats", jetstream=False) as server,
        opened(transport(server.url, stream="ci", declare=DECLARE)) as queue,
    ):
        result, words = await failing(queue, to("ci.x", 1))
    assert (result, words) == (Result.CLIENT_ERROR, "the server has no JetStream")


async def test_a_server_that_is_not_there() -> None:
    """A refused connection is one."""
    async with opened(transport("nats://u:secret-pw@127.0.0.1:1")) as queue:
        result, words = await failing(queue, to("ci.x", 1))
    assert result is Result.CONNECTION
    assert "secret" not in words


async def test_tls(tmp_path: Path, server: Server) -> None:
    """With the right authority and client certificate it is taken; else the words say why."""
    files = TlsFiles(tmp_path / "tls")
    more = f'tls {{cert_file: "{files.cert}", key_file: "{files.key}", '
    more += f'ca_file: "{files.ca}", verify: true}}'
    settings: dict[str, Any] = {"stream": "ci", "declare": DECLARE}
    async with Server(tmp_path / "nats", more=more) as secured:
        url = secured.url.replace("nats://", "nats+tls://").replace("127.0.0.1", "localhost")
        known = ClientTLS(ca=files.ca, cert=files.client)
        async with opened(transport(url, tls=known, **settings)) as queue:
            await send(queue, to("ci.x", 1), to("ci.x", 2))
        async with opened(transport(url, **settings)) as queue:
            result, words = await failing(queue, to("ci.x", 1))
        assert (result, words.startswith("certificate not accepted:")) == (Result.TLS, True)
        async with opened(transport(url, tls=ClientTLS(ca=files.ca), **settings)) as queue:
            result, words = await failing(queue, to("ci.x", 1))
        assert result in {Result.TLS, Result.CONNECTION}, words
    plain = server.url.replace("nats://", "nats+tls://")
    async with opened(transport(plain, tls=known, **settings)) as queue:
        result, words = await failing(queue, to("ci.x", 1))
    assert (result, words) == (Result.TLS, "the server offers no TLS, and the URL asks for it")


async def test_a_server_that_hangs(server: Server, js: JetStreamContext) -> None:
    """What was cut short is not confirmed by what it answers later; the next ones are their own."""
    async with opened(transport(server.url, stream="ci", declare=DECLARE)) as queue:
        await send(queue, *(to("ci.x", f"a{n}") for n in range(4)))
        with server.frozen():
            hung = [failing(queue, to("ci.x", f"b{n}"), within=0.3) for n in range(8)]
            large = b"x" * ((1 << 20) - 1000)
            hung += [failing(queue, to("ci.x", f"l{n}", large), within=0.3) for n in range(12)]
            assert {result for result, _ in await asyncio.gather(*hung)} == {Result.TIMEOUT}
            result, _ = await failing(queue, to("ci.x", "unconnected"), within=0.1)
            assert result is Result.TIMEOUT
        again = await asyncio.gather(*(failing(queue, to("nowhere", f"b{n}")) for n in range(8)))
        assert {result for result, _ in again} == {Result.CLIENT_ERROR}
        await send(queue, *(to("ci.x", f"c{n}") for n in range(8)))
    assert {f"msg_c{n}" for n in range(8)} <= set(await numbers(js))


async def test_closing_while_it_hangs(
    server: Server, js: JetStreamContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closing ends soon, and so does what is under way."""
    monkeypatch.setattr(link, "CLOSING_PATIENCE", 0.2)
    queue = transport(server.url, stream="ci", declare=DECLARE)
    await queue.send(to("ci.x", 1), Answer())
    with server.frozen():
        async with asyncio.timeout(5), asyncio.TaskGroup() as group:
            hung = group.create_task(failing(queue, to("ci.x", 2)))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            group.create_task(queue.close())
        assert hung.result()[0] is Result.CONNECTION


async def test_messages_cut_short_anywhere(server: Server, js: JetStreamContext) -> None:
    """Whatever was confirmed is there, and what could not be was not confirmed."""
    async with opened(transport(server.url, stream="ci", declare=DECLARE)) as queue:
        confirmed = await cut_short(queue, lambda n: to("ci.x", n), lambda n: to("nowhere", n))
        await queue.send(to("ci.x", "last"), Answer())
    assert confirmed
    assert confirmed <= set(await numbers(js))


async def test_nothing_is_lost_when_it_crashes(tmp_path: Path) -> None:
    """Killed twice under load: what was confirmed is there afterwards, and nothing twice."""
    settings: dict[str, Any] = {"stream": "ci", "declare": DECLARE}
    async with Server(tmp_path / "nats") as server:
        async with opened(transport(server.url, **settings)) as queue:
            confirmed: list[int] = []
            some = asyncio.Event()

            async def keep_sending(first: int) -> None:
                for number in range(first, 400, 8):
                    await insist(queue, to("ci.x", number))
                    confirmed.append(number)
                    some.set()

            async with asyncio.TaskGroup() as group:
                for first in range(8):
                    group.create_task(keep_sending(first))
                for _ in range(2):
                    some.clear()
                    await some.wait()
                    await server.kill()
                    await server.start()
        async with await nats.connect(server.url, allow_reconnect=False) as client:
            there = await numbers(client.jetstream())
        assert len(confirmed) == 400
        assert sorted(there) == sorted(f"msg_{n}" for n in range(400))
