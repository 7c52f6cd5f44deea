"""Which connections are used again, and what becomes of those that are not, on both loops."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from circleci_relay.delivery.sender import Sender
from circleci_relay.model import Result
from circleci_relay.redaction import Redaction
from support.build import a_claim, a_destination
from support.receiver import PATIENCE, Receiver, answer

if TYPE_CHECKING:
    from pathlib import Path

    from circleci_relay.clock import ManualClock
    from circleci_relay.model import Outcome

StartReceiver = Callable[..., Awaitable[Receiver]]


async def read_request(reader: asyncio.StreamReader) -> bytes:
    """Return the head of one more request, after its body."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0]
    await reader.readexactly(int(length or 0))
    return head


class Steady:
    """Answers each request of a connection with the next of *answers*, and counts connections."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = answers
        self.connections = 0
        self._asked = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer a connection, whose first request has been read, until it ends."""
        self.connections += 1
        while True:
            writer.write(self.answers[min(self._asked, len(self.answers) - 1)])
            self._asked += 1
            await writer.drain()
            await read_request(reader)


async def attempts(
    clock: ManualClock, url: str, *, count: int = 2, body: bytes = b"{}", **settings: Any
) -> list[Outcome]:
    """Attempt one after the other, as a lane would."""
    sender = Sender(a_destination(url, **settings), clock=clock, redact=Redaction())
    outcomes = [await sender.attempt(a_claim(clock, body)) for _ in range(count)]
    await sender.close()
    return outcomes


@pytest.mark.parametrize(
    ("said", "status", "result"),
    [
        (b"HTTP/1.1 204 Done\r\ncontent-length: 5\r\n\r\nhello", 204, Result.OK),
        (answer(200) + b"oh, and another thing", 200, Result.OK),
        (answer(200, body=b"ok") + b"HTTP/1.1 500 ", 200, Result.OK),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + answer(202) + b"\0", 202, Result.OK),
        (
            b"HTTP/1.1 404 No\r\ntransfer-encoding: chunked\r\n\r\nno size\r\n",
            404,
            Result.CLIENT_ERROR,
        ),
    ],
    ids=["body-of-204", "garbage", "half-a-head", "after-interim", "broken-chunk"],
)
async def test_what_follows_an_answer_takes_nothing_back(
    clock: ManualClock, receiver: StartReceiver, said: bytes, status: int, result: Result
) -> None:
    """The status counts, at once, and the connection is not used again."""
    steady = Steady(said)
    there = await receiver(steady)
    outcomes = await attempts(clock, there.url())
    assert [(each.status, each.result) for each in outcomes] == [(status, result)] * 2
    assert not any(each.error and "timeout" in each.error for each in outcomes)
    assert steady.connections == 2


@pytest.mark.parametrize(
    "said", [answer(200) + b"\r\n", answer(200, body=b"ok") + b"\r\n"], ids=["empty", "body"]
)
async def test_a_line_end_too_many_is_forgiven(
    clock: ManualClock, receiver: StartReceiver, said: bytes
) -> None:
    """It is no reason for a new connection."""
    steady = Steady(said)
    there = await receiver(steady)
    outcomes = await attempts(clock, there.url())
    assert [each.result for each in outcomes] == [Result.OK] * 2
    assert steady.connections == 1


async def test_bytes_while_nothing_is_asked_end_the_connection(
    clock: ManualClock, receiver: StartReceiver
) -> None:
    """Half a head would make a whole one of whatever answers the next request."""
    answered = asyncio.Event()
    rest: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def go_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(200))
        await answered.wait()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-le")
        try:
            rest.set_result(await reader.read())
        except ConnectionError:
            rest.set_result(b"")

    there = await receiver(go_on)
    sender = Sender(a_destination(there.url()), clock=clock, redact=Redaction())
    assert (await sender.attempt(a_claim(clock))).result is Result.OK
    answered.set()
    async with asyncio.timeout(PATIENCE / 3):
        assert await rest == b""
    await sender.close()


IMPATIENT = answer(408, "connection: close")


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ([answer(200), IMPATIENT], (Result.CONNECTION, None)),
        ([answer(200), answer(408)], (Result.CLIENT_ERROR, 408)),
        ([answer(200, "connection: close"), IMPATIENT], (Result.CLIENT_ERROR, 408)),
    ],
    ids=["waited-too-long", "goes-on", "new-connection"],
)
async def test_a_server_tired_of_waiting_says_nothing_of_a_delivery(
    clock: ManualClock,
    receiver: StartReceiver,
    said: list[bytes],
    expected: tuple[Result, int | None],
) -> None:
    """A last word of 408 on a connection used before is the end of that connection, no more."""
    there = await receiver(Steady(*said))
    outcome = (await attempts(clock, there.url()))[-1]
    assert (outcome.result, outcome.status) == expected


@pytest.mark.parametrize(
    ("said", "cancelled", "result"),
    [
        (b"", False, Result.TIMEOUT),
        (b"", True, None),
        (answer(413), False, Result.CLIENT_ERROR),
        (b"no\r\n\r\n", False, Result.PROTOCOL),
    ],
    ids=["timeout", "cancelled", "early-answer", "no-answer"],
)
async def test_a_body_that_nobody_reads_is_let_go(
    clock: ManualClock,
    said: bytes,
    cancelled: bool,  # noqa: FBT001 - a parameter of the test
    result: Result | None,
) -> None:
    """Once an attempt is over, what it had not sent yet is neither sent nor kept."""
    over, begun = asyncio.Event(), asyncio.Event()
    taken: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    body = b"x" * 16_000_000

    async def refuse_to_read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)
        begun.set()
        await over.wait()
        count = 0
        try:
            while piece := await reader.read(1_000_000):
                count += len(piece)
        except ConnectionError:
            pass
        writer.close()
        taken.set_result(count)

    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    listening.bind(("127.0.0.1", 0))
    async with await asyncio.start_server(refuse_to_read, sock=listening):
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/hook"
        timeout = 0.1 if result is Result.TIMEOUT else PATIENCE
        sender = Sender(a_destination(url, timeout=timeout), clock=clock, redact=Redaction())
        attempt = asyncio.create_task(sender.attempt(a_claim(clock, body)))
        async with asyncio.timeout(PATIENCE):
            await begun.wait()
            if cancelled:
                attempt.cancel()
            [outcome] = await asyncio.gather(attempt, return_exceptions=True)
            over.set()
            assert await taken < len(body)
    await sender.close()
    assert isinstance(outcome, asyncio.CancelledError) or outcome.result is result  # type: ignore[union-attr]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """A private certificate authority."""
    return trustme.CA()


def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    """Return what a server called localhost needs."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    return context


@pytest.mark.parametrize(("size", "connections"), [(10_000, 1), (200_000, 2)])
async def test_a_long_body_over_tls_takes_its_connection_along(
    clock: ManualClock,
    receiver: StartReceiver,
    authority: trustme.CA,
    size: int,
    connections: int,
) -> None:
    """Nothing tells whether all of it is sent, so none waits behind what is left of it."""
    steady = Steady(answer(200))
    there = await receiver(steady, tls=server_tls(authority))
    url = there.url(scheme="https")
    outcomes = await attempts(clock, url, body=b"x" * size, tls={"verify": False})
    assert [each.result for each in outcomes] == [Result.OK] * 2
    assert steady.connections == connections


async def test_an_https_proxy_is_held_to_its_own_certificate(
    clock: ManualClock, receiver: StartReceiver, authority: trustme.CA
) -> None:
    """`tls.verify: false` is said of the destination."""
    proxy = await receiver(tls=server_tls(authority))
    [outcome] = await attempts(
        clock,
        "http://warehouse.example.com/ingest",
        count=1,
        proxy=f"https://localhost:{proxy.port}",
        tls={"verify": False},
    )
    assert outcome.result is Result.TLS
    assert proxy.requests == []


async def test_proxy_and_destination_have_authorities_of_their_own(
    clock: ManualClock,
    receiver: StartReceiver,
    authority: trustme.CA,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The proxy's is the system's; `tls.ca` is the destination's, inside the tunnel."""
    system, private = tmp_path / "system.pem", tmp_path / "private.pem"
    authority.cert_pem.write_to_path(system)
    monkeypatch.setenv("SSL_CERT_FILE", str(system))
    inner = trustme.CA()
    inner.cert_pem.write_to_path(private)
    there = await receiver(tls=server_tls(inner))

    async def tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, forth = await asyncio.open_connection("localhost", there.port)
        writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
        async with asyncio.TaskGroup() as both:
            both.create_task(carry(reader, forth))
            both.create_task(carry(back, writer))

    proxy = await receiver(tunnel, tls=server_tls(authority))
    [outcome] = await attempts(
        clock,
        there.url(scheme="https"),
        count=1,
        proxy=f"https://localhost:{proxy.port}",
        tls={"ca": str(private)},
    )
    assert outcome.result is Result.OK, outcome
    assert proxy.requests[0].line == f"CONNECT localhost:{there.port} HTTP/1.1"


async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass on what comes, until it ends."""
    try:
        while piece := await reader.read(65_536):
            writer.write(piece)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()
