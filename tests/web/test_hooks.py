"""What the hooks listener answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from circleci_relay.errors import BadSignature, Malformed, StoreUnavailable
from circleci_relay.model import Accepted
from circleci_relay.web.connections import Limits
from support.wire import PATH, STRAY, ULID, Relay, Wire, post

Begin = Callable[..., Awaitable[Relay]]


async def test_stored_is_202(relay: Relay) -> None:
    """A new event is answered 202 with the relay's own id, and reaches the intake whole."""
    body = bytes(range(256))
    reply = await relay.hook(post(body, circleci_signature="v1=ab"))

    assert (reply.status, reply.json) == (202, {"event": ULID, "duplicate": False})
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["server"] == "circleci-relay"
    assert "date" in reply.headers
    assert relay.intake.received == [body]
    assert relay.intake.headers[0]["circleci-signature"] == "v1=ab"
    assert relay.value("ack_duration_seconds_count", source="circleci") == 1


async def test_known_is_200(relay: Relay) -> None:
    """A duplicate is answered 200."""
    relay.intake.answer = Accepted(event=ULID, duplicate=True)
    reply = await relay.hook(post())
    assert (reply.status, reply.json) == (200, {"event": ULID, "duplicate": True})


@pytest.mark.parametrize(
    ("fault", "status", "error"),
    [
        (BadSignature('no "v1"'), 401, 'no "v1"'),
        (Malformed("not JSON"), 400, "not JSON"),
        (StoreUnavailable("disk full at /secret"), 503, "it cannot be stored now"),
        (TimeoutError(), 503, "it cannot be stored now"),
    ],
)
async def test_faults_are_answers(relay: Relay, fault: Exception, status: int, error: str) -> None:
    """What the intake refuses becomes its status and a JSON error; the connection stays."""
    relay.intake.answer = fault
    async with Wire(relay.listeners.hooks_address) as wire:
        wire.send(post() + post())
        replies = [await wire.reply(), await wire.reply()]
    for reply in replies:
        assert reply.status == status
        assert reply.json["error"].startswith(error)
        assert (reply.headers.get("retry-after") is not None) == (status == 503)


async def test_an_unknown_name_is_404_and_remembered(begin: Begin) -> None:
    """Where the path names no secret there is, the answer is as for any other path."""
    relay = await begin(settings={"max_body": 1024})
    async with Wire(relay.listeners.hooks_address) as wire:
        for request in (
            post(b"{}", path=STRAY + "acme"),
            post(path=STRAY + "acme", method="PUT"),
            post(path=STRAY + "acme", content_encoding="gzip"),
            post(b"x" * 2000, path=STRAY + "acme"),
        ):
            wire.send(request)
            reply = await wire.reply()
            assert (reply.status, reply.json) == (404, {"error": "no such source"})
    assert relay.intake.strays == [("acme", b"{}")]
    assert relay.intake.counted == [("circleci", "too_large")]
    assert relay.value("requests_refused_total", reason="path") == 4


async def test_a_bug_is_500_without_details(relay: Relay) -> None:
    """A fault of our own tells the sender nothing, and keeps the listener alive."""
    relay.intake.answer = ValueError("the secret is hunter2")
    reply = await relay.hook(post())
    assert (reply.status, reply.json) == (500, {"error": "internal error"})
    relay.intake.answer = Accepted(event=ULID)
    assert (await relay.hook(post())).status == 202


@pytest.mark.parametrize(
    ("request_", "status", "reason"),
    [
        (post(path="/"), 404, "path"),
        (post(path=PATH + "/x"), 404, "path"),
        (post(path="/%ff%00%zz"), 404, "path"),
        (post(method="GET"), 405, "method"),
        (post(method="PUT"), 405, "method"),
        (post(content_encoding="gzip"), 415, "encoding"),
        (post(content_encoding="identity, br"), 415, "encoding"),
        (b"\x16\x03\x01\x02\x00 what\r\n\r\n", 400, "http"),
        (b"POST / HTTP/1.1\r\nbad header\r\n\r\n", 400, "http"),
        (b"POST / HTTP/1.1\r\ncontent-length: " + b"9" * 5000 + b"\r\n\r\n", 400, "http"),
        (b"POST / HTTP/1.1\r\nx: " + b"y" * 20_000 + b"\r\n\r\n", 400, "http"),
        (
            b"POST " + PATH.encode() + b" HTTP/1.1\r\nhost: a\r\n"
            b"transfer-encoding: chunked\r\n\r\nzz\r\n",
            400,
            "http",
        ),
    ],
)
async def test_refusals_are_counted(
    relay: Relay, request_: bytes, status: int, reason: str
) -> None:
    """What no source judges is answered in JSON and counted by its reason."""
    reply = await relay.hook(request_)
    assert reply.status == status
    assert list(reply.json) == ["error"]
    assert relay.value("requests_refused_total", reason=reason) == 1
    assert relay.intake.received == []
    assert reply.headers["server"] == "circleci-relay"
    if status == 405:
        assert reply.headers["allow"] == "POST"


async def test_head_gets_no_body(relay: Relay) -> None:
    """HEAD is told the length of an error, and no body that the next answer would run into."""
    async with Wire(relay.listeners.hooks_address) as wire:
        wire.send(post(b"", method="HEAD") + post())
        assert (await wire.reply(head=True)).status == 405
        assert (await wire.reply()).status == 202


@pytest.mark.parametrize("path", [PATH + "?a=b", "/webhooks%2Fcircleci", "http://relay" + PATH])
async def test_other_spellings_of_a_path(relay: Relay, path: str) -> None:
    """A query, percent-encoding and the absolute form lead to the same source."""
    assert (await relay.hook(post(path=path))).status == 202


@pytest.mark.parametrize("encoding", ["identity", "", " Identity "])
async def test_identity_is_no_encoding(relay: Relay, encoding: str) -> None:
    """`identity` says that the body is as it is."""
    assert (await relay.hook(post(content_encoding=encoding))).status == 202


async def test_a_body_that_is_too_large_is_not_awaited(relay: Relay) -> None:
    """Its length alone is enough for a 413, which ends the connection and is counted."""
    head = post(path=PATH).replace(b"content-length: 2", b"content-length: 1048577")
    async with Wire(relay.listeners.hooks_address) as wire:
        wire.send(head)
        reply = await wire.reply()
        assert (reply.status, reply.headers["connection"]) == (413, "close")
        assert await wire.rest() == b""
    assert relay.intake.counted == [("circleci", "too_large")]


def chunked(*chunks: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    """Return a request whose body comes in chunks of unknown total."""
    head = f"POST {PATH} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n".encode()
    return head + b"".join(b"%x\r\n%b\r\n" % (len(each), each) for each in chunks) + end


async def test_chunks_are_joined(relay: Relay) -> None:
    """A body of unknown length is read to its end."""
    assert (await relay.hook(chunked(b"ab", b"cd" * 40_000, b"e"))).status == 202
    assert relay.intake.received == [b"ab" + b"cd" * 40_000 + b"e"]


async def test_chunks_are_bounded(begin: Begin) -> None:
    """A body of unknown length is refused as soon as it is too long."""
    relay = await begin(settings={"max_body": "1KiB"})
    reply = await relay.hook(chunked(*[b"x" * 500] * 3, end=b""))
    assert reply.status == 413
    assert relay.intake.counted == [("circleci", "too_large")]


async def test_exactly_max_body_is_taken(begin: Begin) -> None:
    """The bound itself is within bounds."""
    relay = await begin(settings={"max_body": "1KiB"})
    assert (await relay.hook(post(b"x" * 1024))).status == 202
    assert (await relay.hook(post(b"x" * 1025))).status == 413


async def test_bytes_in_flight_are_bounded_and_given_back(begin: Begin) -> None:
    """Bodies held for the store take from one budget; once answered they give it back."""
    relay = await begin(limits=Limits(in_flight=1000))
    gate = relay.intake.gate = asyncio.Event()
    async with Wire(relay.listeners.hooks_address) as wire:
        wire.send(post(b"x" * 600))
        await asyncio.wait_for(relay.intake.entered.wait(), 5)
        refused = await relay.hook(post(b"x" * 401))
        assert (refused.status, refused.headers["retry-after"]) == (503, "5")
        assert relay.intake.counted == [("circleci", "unavailable")]
        gate.set()
        assert (await wire.reply()).status == 202
    assert (await relay.hook(post(b"x" * 1000))).status == 202


async def test_the_intake_is_told_its_deadline(relay: Relay) -> None:
    """The store must be done half a second before the answer is due."""
    before = time.monotonic()
    await relay.hook(post())
    assert before + 8 < relay.intake.deadlines[0] < time.monotonic() + 8.5


async def test_no_answer_is_late(begin: Begin) -> None:
    """An intake that hangs is answered 503 when the time is up."""
    relay = await begin(limits=Limits(answer=0.1))
    relay.intake.gate = asyncio.Event()
    assert (await relay.hook(post())).status == 503


async def test_expect_continue_is_answered(relay: Relay) -> None:
    """A client that asks first is told to go on, then sends its body."""
    async with Wire(relay.listeners.hooks_address) as wire:
        wire.send(post(b"", expect="100-continue").replace(b"-length: 0", b"-length: 3"))
        assert (await wire.reply(head=True)).status == 100
        wire.send(b"abc")
        assert (await wire.reply()).status == 202
    assert relay.intake.received == [b"abc"]


async def test_pipelined_requests_are_all_answered(relay: Relay) -> None:
    """More requests at once than are parsed ahead come through in order."""
    bodies = [b"%d" % number for number in range(40)]
    async with Wire(relay.listeners.hooks_address) as wire:
        wire.send(b"".join(post(body) for body in bodies))
        assert [(await wire.reply()).status for _ in bodies] == [202] * 40
    assert relay.intake.received == bodies


async def test_large_bodies_on_one_connection(relay: Relay) -> None:
    """Bodies far larger than the read buffer arrive whole, one after the other."""
    bodies = [bytes([number]) * 900_000 for number in range(3)]
    async with Wire(relay.listeners.hooks_address) as wire:
        wire.send(b"".join(post(body) for body in bodies))
        assert [(await wire.reply()).status for _ in bodies] == [202] * 3
    assert relay.intake.received == bodies


async def test_http_1_0_closes(relay: Relay) -> None:
    """An old client gets its answer and the end of the connection."""
    async with Wire(relay.listeners.hooks_address) as wire:
        wire.send(post().replace(b"HTTP/1.1", b"HTTP/1.0"))
        reply = await wire.reply()
        assert (reply.status, reply.headers["connection"]) == (202, "close")
        assert await wire.rest() == b""


async def test_a_client_that_leaves_harms_nobody(relay: Relay) -> None:
    """A connection cut in mid-body or before the answer leaves the listener as it was."""
    gate = relay.intake.gate = asyncio.Event()
    async with Wire(relay.listeners.hooks_address) as wire:
        wire.send(post(b"abc")[:-1])
    async with Wire(relay.listeners.hooks_address) as wire:
        wire.send(post(b"abc"))
        await asyncio.wait_for(relay.intake.entered.wait(), 5)
    gate.set()
    assert (await relay.hook(post())).status == 202
