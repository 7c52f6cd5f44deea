"""Slow, silent and too many clients."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from circleci_relay.web.connections import Limits
from support.wire import PATH, Relay, Wire, post

Begin = Callable[..., Awaitable[Relay]]


async def test_headers_too_slow_are_408(begin: Begin) -> None:
    """Headers that do not end in time are answered 408 and counted."""
    relay = await begin(limits=Limits(head=0.1))
    async with Wire(relay.listeners.hooks_address) as wire:
        wire.send(b"POST / HTTP/1.1\r\nhost: ")
        reply = await wire.reply()
        assert (reply.status, list(reply.json)) == (408, ["error"])
        assert await wire.rest() == b""
    assert relay.value("requests_refused_total", reason="slow") == 1


async def test_silence_is_closed(begin: Begin) -> None:
    """A connection that never says anything is closed without an answer."""
    relay = await begin(limits=Limits(head=0.1))
    async with Wire(relay.listeners.hooks_address) as wire:
        assert await wire.rest() == b""
    assert relay.value("requests_refused_total", reason="slow") == 0


async def test_headers_too_slow_on_a_used_connection(begin: Begin) -> None:
    """The deadline holds for every request of a connection, from that request's first byte."""
    relay = await begin(limits=Limits(head=0.1))
    async with Wire(relay.listeners.hooks_address) as wire:
        wire.send(post())
        assert (await wire.reply()).status == 202
        wire.send(b"POST / HT")
        assert (await wire.reply()).status == 408


async def test_a_body_too_slow_is_408(begin: Begin) -> None:
    """A body that does not end in time is answered 408."""
    relay = await begin(limits=Limits(body=0.1, linger=0.1))
    async with Wire(relay.listeners.hooks_address) as wire:
        wire.send(post(b"abc")[:-1])
        reply = await wire.reply()
        assert (reply.status, reply.headers["connection"]) == (408, "close")
        assert await wire.rest() == b""
    assert relay.value("requests_refused_total", reason="slow") == 1


async def test_a_body_under_way_does_not_start_the_next_request(begin: Begin) -> None:
    """Neither a slow body nor a slow store is mistaken for slow headers."""
    relay = await begin(limits=Limits(head=0.1))
    gate = relay.intake.gate = asyncio.Event()
    asyncio.get_running_loop().call_later(0.2, gate.set)
    async with Wire(relay.listeners.hooks_address) as wire:
        data = post(b"abc")
        wire.send(data[:-2])
        await wire.writer.drain()
        wire.send(data[-2:])
        assert (await wire.reply()).status == 202


async def test_idle_connections_are_closed(begin: Begin) -> None:
    """A connection nobody uses any more is closed."""
    relay = await begin(limits=Limits(idle=0.1))
    async with Wire(relay.listeners.hooks_address) as wire:
        wire.send(post())
        assert (await wire.reply()).status == 202
        assert await wire.rest() == b""


async def test_one_connection_too_many_is_503(begin: Begin) -> None:
    """Over the bound, a client is told so; those before it are served, and make room again."""
    relay = await begin(limits=Limits(connections=1))
    async with Wire(relay.listeners.hooks_address) as first:
        first.send(post())
        assert (await first.reply()).status == 202
        async with Wire(relay.listeners.hooks_address) as second:
            reply = await second.reply()
            assert (reply.status, reply.headers["retry-after"]) == (503, "5")
        first.send(post(connection="close"))
        assert (await first.reply()).status == 202
        assert await first.rest() == b""
    assert (await relay.hook(post())).status == 202
    assert relay.value("requests_refused_total", reason="connections") == 1


async def test_a_crowd_gives_way(begin: Begin) -> None:
    """Who says nothing makes room for who has something to say, but not in the middle of it."""
    relay = await begin(limits=Limits(connections=2))
    gate = relay.intake.gate = asyncio.Event()
    address = relay.listeners.hooks_address
    async with Wire(address) as stored:
        stored.send(post())
        await asyncio.wait_for(relay.intake.entered.wait(), 5)
        async with Wire(address) as silent, Wire(address) as late:
            late.send(post())
            assert await silent.rest() == b""
            gate.set()
            assert (await late.reply()).status == 202
        assert (await stored.reply()).status == 202
    assert relay.value("requests_refused_total", reason="connections") == 1


async def test_headers_without_end_are_431(relay: Relay) -> None:
    """Headers may not take more memory than headers need."""
    async with Wire(relay.listeners.hooks_address) as wire:
        wire.send(post(b"")[:-4] + b"".join(b"\r\nx-%d: %b" % (n, b"y" * 8000) for n in range(5)))
        assert (await wire.reply()).status == 431
        assert await wire.rest() == b""
    assert relay.value("requests_refused_total", reason="http") == 1


async def test_chunks_of_a_byte_are_400(relay: Relay) -> None:
    """A body cut into as many pieces as it has bytes costs a thousand times its size."""
    head = post().replace(b"content-length: 2", b"transfer-encoding: chunked")[:-2]
    async with Wire(relay.listeners.hooks_address) as wire:
        wire.send(head + b"1\r\nx\r\n" * 20_000)
        reply = await wire.reply()
        assert (reply.status, reply.headers["connection"]) == (400, "close")
        await wire.rest()
    assert relay.intake.received == []


async def test_what_is_left_of_a_refused_body_is_not_read_for_ever(begin: Begin) -> None:
    """The refusal ends the connection, however fast the rest comes."""
    relay = await begin(limits=Limits(linger=60, left_over=100_000))
    head = post().replace(b"content-length: 2", b"content-length: 999999999")[:-2]
    async with Wire(relay.listeners.hooks_address) as wire:
        wire.send(head)
        assert (await wire.reply()).status == 413
        wire.send(bytes(200_000))
        assert await wire.rest() == b""


async def test_too_many_requests_ahead(begin: Begin) -> None:
    """Some may be sent ahead; who goes on for ever holds up everyone else, and is closed."""
    relay = await begin(limits=Limits(ahead=40))
    async with Wire(relay.listeners.hooks_address) as wire:
        wire.send(post() * 40)
        assert [(await wire.reply()).status for _ in range(40)] == [202] * 40
        wire.send(post() * 400)
        assert (await wire.reply()).status == 202
        await wire.rest()
    assert 41 <= len(relay.intake.received) <= 80
    assert relay.value("requests_refused_total", reason="http") == 1


async def test_a_large_body_at_once_is_no_overhead(begin: Begin) -> None:
    """What waits to be parsed because much has come is not taken for headers."""
    relay = await begin(settings={"max_body": "8MiB"})
    body = bytes(5_000_000)
    assert (await relay.hook(post(body))).status == 202
    assert relay.intake.received == [body]


async def test_a_chunk_that_is_none_is_400(relay: Relay) -> None:
    """A body that turns out to be malformed is answered then, not once its time is over."""
    head = post().replace(b"content-length: 2", b"transfer-encoding: chunked")[:-2]
    async with Wire(relay.listeners.hooks_address) as wire:
        wire.send(head + b"1\r\nx\r\n")
        async with asyncio.timeout(5):
            while not relay.listeners._bound["listen"]._connections.requests_count:  # noqa: ASYNC110
                await asyncio.sleep(0)
        wire.send(b"zz\r\n")
        assert (await wire.reply()).status == 400
        assert await wire.rest() == b""


async def test_answers_that_are_not_taken(begin: Begin) -> None:
    """A client that stops reading with answers under way is not waited for."""
    relay = await begin(limits=Limits(unread=0.1))
    connections = relay.listeners._bound["listen"]._connections
    async with Wire(relay.listeners.hooks_address) as wire:
        wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
        sent = 0
        async with asyncio.timeout(30):
            while not any(each._paused for each in connections.connections):
                seen = connections.requests_count
                wire.send(post(b"", path="/x") * 16)
                sent += 16
                while connections.requests_count < seen + 16:  # noqa: ASYNC110
                    await asyncio.sleep(0)
            while connections.connections:  # noqa: ASYNC110
                await asyncio.sleep(0)
    assert relay.value("requests_refused_total", reason="path") == sent


async def test_a_client_that_does_not_read_loses_its_connection(relay: Relay) -> None:
    """Answers nobody reads are not kept without bound."""
    async with Wire(relay.listeners.hooks_address) as wire:
        wire.writer.transport.set_write_buffer_limits(high=1 << 20)
        wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
        try:
            async with asyncio.timeout(30):
                while not wire.writer.transport.is_closing():
                    wire.send(post(b"", path="/x") * 2000)
                    await wire.writer.drain()
        except ConnectionError:
            pass
    assert (await relay.hook(post())).status == 202


async def test_closing_answers_what_is_under_way(begin: Begin) -> None:
    """Requests being read or stored get their answer; idle connections and new ones do not."""
    relay = await begin()
    gate = relay.intake.gate = asyncio.Event()
    address = relay.listeners.hooks_address
    async with Wire(address) as idle, Wire(address) as stored, Wire(address) as sent:
        stored.send(post(b"1"))
        sent.send(post(b"12")[:-1])
        await asyncio.wait_for(relay.intake.entered.wait(), 5)
        closing = asyncio.ensure_future(relay.listeners.close_hooks())
        assert await idle.rest() == b""
        gate.set()
        reply = await stored.reply()
        assert (reply.status, reply.headers["connection"]) == (202, "close")
        sent.send(b"2")
        assert (await sent.reply()).status == 202
        await closing
        try:
            async with Wire(address) as late:
                assert await late.rest() == b""
        except OSError:
            pass
    assert relay.intake.received == [b"1", b"12"]
    async with Wire(relay.listeners.ops_address) as probe:
        probe.send(b"GET /readyz HTTP/1.1\r\nhost: a\r\n\r\n")
        assert (await probe.reply()).status == 200


async def test_closing_does_not_wait_for_ever(begin: Begin) -> None:
    """What is not answered within the time given is dropped."""
    relay = await begin()
    relay.intake.gate = asyncio.Event()
    async with Wire(relay.listeners.hooks_address) as wire:
        wire.send(post())
        await asyncio.wait_for(relay.intake.entered.wait(), 5)
        await relay.listeners.close_hooks(0.05)
        assert await wire.rest() == b""


async def test_no_version_is_told(relay: Relay) -> None:
    """No answer names the software behind it, or its version."""
    for address in (
        relay.listeners.hooks_address,
        relay.listeners.ops_address,
        relay.listeners.admin_address,
    ):
        for data in (post(path="/x"), b"nonsense\r\n\r\n", post(path=PATH)):
            async with Wire(address) as wire:
                wire.send(data)
                reply = await wire.reply()
            assert b"aiohttp" not in repr(reply).encode()
            assert reply.headers["server"] == "circleci-relay"
            kind = reply.headers["content-type"].partition(";")[0]
            assert kind in {"application/json", "application/problem+json"}
