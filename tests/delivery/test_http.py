"""One attempt against real receivers, kind and hostile."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from circleci_relay.circleci import signature
from circleci_relay.clock import ManualClock
from circleci_relay.delivery.sender import EXCERPT_BYTES, Sender, parse_retry_after
from circleci_relay.model import Claim, Outcome, Result
from circleci_relay.redaction import Redaction
from support.build import a_claim, a_destination
from support.receiver import Receiver, answer

if TYPE_CHECKING:
    from pathlib import Path

StartReceiver = Callable[..., Awaitable[Receiver]]

SECRET = "whsec_" + "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0"
OLD_SECRET = "whsec_" + "b2xkLW9sZC1vbGQtb2xkLW9sZC1vbGQtb2xk"


async def attempt(
    clock: ManualClock, url: str, claim: Claim | None = None, **settings: object
) -> Outcome:
    """Attempt once, as the lane would."""
    sender = Sender(a_destination(url, **settings), clock=clock, redact=Redaction(["hunter-two"]))
    try:
        return await sender.attempt(claim or a_claim(clock))
    finally:
        await sender.close()


async def test_the_very_bytes_and_headers_arrive(
    clock: ManualClock, receiver: StartReceiver
) -> None:
    """CircleCI's body and headers, the relay's three, and nothing of aiohttp's own."""
    there = await receiver()
    body = b'{"id":"1", "odd" : "\xf0\x9f\x9a\x80"}'
    outcome = await attempt(clock, there.url(), a_claim(clock, body, attempt=3))

    assert (outcome.result, outcome.status) == (Result.OK, 200)
    [request] = there.requests
    assert request.body == body
    assert request.headers == {
        "host": f"localhost:{there.port}",
        "content-length": str(len(body)),
        "content-type": "application/json",
        "user-agent": "CircleCI-Webhook/1.0",
        "circleci-event-type": "ping",
        "circleci-signature": "v1=00",
        "webhook-id": "01AN4Z07BY79KA1307SR9X4MV3-chat",
        "webhook-timestamp": str(int(clock.wall())),
        "relay-attempt": "3",
    }


async def test_the_url_goes_out_as_written(clock: ManualClock, receiver: StartReceiver) -> None:
    """A query that is encoded already, and perhaps signed, is not encoded anew."""
    there = await receiver()
    await attempt(clock, there.url("/in%2Fgest?sig=a%2Fb%3D&plus=+%20"))
    assert there.requests[0].line == "POST /in%2Fgest?sig=a%2Fb%3D&plus=+%20 HTTP/1.1"


async def test_configured_headers_are_added(clock: ManualClock, receiver: StartReceiver) -> None:
    """And replace CircleCI's where they share a name."""
    there = await receiver()
    await attempt(clock, there.url(), headers={"Authorization": "Bearer x", "User-Agent": "me"})
    headers = there.requests[0].headers
    assert (headers["authorization"], headers["user-agent"]) == ("Bearer x", "me")


async def test_standard_webhooks_signatures_verify_with_every_secret(
    receiver: StartReceiver,
) -> None:
    """The reference library accepts the attempt under each of two secrets."""
    from circleci_relay.clock import SystemClock  # noqa: PLC0415 - the library asks the real time

    real = SystemClock()
    there = await receiver()
    destination = a_destination(
        there.url(), sign={"scheme": "standard-webhooks", "secrets": [SECRET, OLD_SECRET]}
    )
    sender = Sender(destination, clock=real, redact=Redaction())
    claim = a_claim(ManualClock())
    await sender.attempt(claim)
    await sender.close()
    [request] = there.requests
    for secret in (SECRET, OLD_SECRET):
        assert Webhook(secret).verify(request.body, request.headers) == {"id": "1"}
    with pytest.raises(Exception, match="No matching signature"):
        Webhook("whsec_" + "YW5vdGhlci1vbmUtYW5vdGhlci1vbmU=").verify(request.body, request.headers)


async def test_a_circleci_signature_of_its_own_verifies(
    clock: ManualClock, receiver: StartReceiver
) -> None:
    """A receiver with a secret of its own verifies with CircleCI's recipe."""
    there = await receiver()
    await attempt(clock, there.url(), sign={"scheme": "circleci", "secrets": ["its-own-secret"]})
    [request] = there.requests
    signature.verify(request.body, request.headers["circleci-signature"], secret=b"its-own-secret")


@pytest.mark.parametrize(
    ("status", "result"),
    [
        (200, Result.OK),
        (204, Result.OK),
        (302, Result.REDIRECT),
        (404, Result.CLIENT_ERROR),
        (429, Result.THROTTLED),
        (503, Result.SERVER_ERROR),
    ],
)
async def test_statuses_are_sorted(
    clock: ManualClock, receiver: StartReceiver, status: int, result: Result
) -> None:
    """Each status means one thing, and a redirect is not followed."""
    there = await receiver(answer(status, "location: http://localhost:1/"))
    outcome = await attempt(clock, there.url())
    assert (outcome.result, outcome.status, outcome.error) == (result, status, None)
    assert len(there.requests) == 1


async def test_the_response_is_kept_to_its_first_4_kib(
    clock: ManualClock, receiver: StartReceiver
) -> None:
    """A megabyte of excuse is not stored."""
    there = await receiver(answer(500, body=b"x" * 1_000_000))
    outcome = await attempt(clock, there.url())
    assert outcome.excerpt == b"x" * EXCERPT_BYTES


async def test_a_long_page_in_another_script_is_kept_too(
    clock: ManualClock, receiver: StartReceiver
) -> None:
    """What is kept is counted in bytes, however many make a letter."""
    there = await receiver(answer(500, body="漢".encode() * 10_000))
    outcome = await attempt(clock, there.url())
    assert outcome.excerpt.startswith("漢漢".encode())
    assert EXCERPT_BYTES - 3 <= len(outcome.excerpt) <= EXCERPT_BYTES


async def test_secrets_are_gone_from_what_is_kept(
    clock: ManualClock, receiver: StartReceiver
) -> None:
    """A destination that echoes a secret does not put it into the store."""
    there = await receiver(answer(500, body=b"you sent hunter-two"))
    outcome = await attempt(clock, there.url())
    assert outcome.excerpt == b"you sent ***"


async def test_retry_after_is_read(clock: ManualClock, receiver: StartReceiver) -> None:
    """Seconds, as given."""
    there = await receiver(answer(429, "retry-after: 17"))
    assert (await attempt(clock, there.url())).retry_after == 17


async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Say nothing until the other side gives up."""
    await reader.read()


async def drip_for_ever(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Begin well, and never end."""
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nx")
    await reader.read()


async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Close in the middle of the headers."""
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-")
    writer.transport.abort()


async def garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer what is no HTTP."""
    writer.write(b"\x00\xff\xfenot http at all\r\n\r\n")
    await writer.drain()


async def ask_for_patience(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Refuse for now, and never come to the end of the excuse."""
    writer.write(b"HTTP/1.1 429 Slow Down\r\nretry-after: 5\r\ncontent-length: 99\r\n\r\nx")
    await reader.read()


async def flood_with_promises(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Say `100 Continue`, and nothing else, as long as anyone listens."""
    while not writer.is_closing():
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)
        await writer.drain()


@pytest.mark.parametrize(
    ("behaviour", "result"),
    [
        (hang, Result.TIMEOUT),
        (drip_for_ever, Result.OK),
        (ask_for_patience, Result.THROTTLED),
        (flood_with_promises, Result.PROTOCOL),
        (reset, Result.CONNECTION),
        (garbage, Result.PROTOCOL),
    ],
)
async def test_hostile_receivers_are_outcomes(
    clock: ManualClock,
    receiver: StartReceiver,
    behaviour: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    result: Result,
) -> None:
    """Whatever a receiver does becomes a value; after a 2xx an endless body changes nothing."""
    there = await receiver(behaviour)
    outcome = await attempt(clock, there.url(), timeout=0.2)
    assert outcome.result is result, outcome


async def test_answers_to_no_question_end_the_connection(
    clock: ManualClock, receiver: StartReceiver
) -> None:
    """A connection that waits for the next attempt takes in nothing meanwhile."""
    answered, ended = asyncio.Event(), asyncio.Event()

    async def go_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(200))
        await answered.wait()
        try:
            while True:
                writer.write(answer(200))
                await writer.drain()
        except ConnectionError:
            ended.set()

    there = await receiver(go_on)
    sender = Sender(a_destination(there.url()), clock=clock, redact=Redaction())
    assert (await sender.attempt(a_claim(clock))).result is Result.OK
    answered.set()
    async with asyncio.timeout(5):
        await ended.wait()
    await sender.close()


async def test_nobody_listening_is_a_connection_error(clock: ManualClock) -> None:
    """And the words name no path of the URL, which may be a secret."""
    outcome = await attempt(clock, "http://127.0.0.1:1/T000/secret-path")
    assert outcome.result is Result.CONNECTION
    assert outcome.error is not None
    assert "secret-path" not in outcome.error


async def test_a_name_that_does_not_resolve_is_a_connection_error(clock: ManualClock) -> None:
    """The host is named, the rest is not."""
    outcome = await attempt(clock, "http://does-not-exist.invalid/secret-path")
    assert (outcome.result, outcome.error) == (
        Result.CONNECTION,
        "cannot resolve does-not-exist.invalid",
    )


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """A private certificate authority."""
    return trustme.CA()


@pytest.fixture
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    """A server certificate from the private authority."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    return context


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> Path:
    """The authority's certificate as a file."""
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return path


async def test_an_unknown_authority_is_a_tls_outcome(
    clock: ManualClock, receiver: StartReceiver, server_tls: ssl.SSLContext
) -> None:
    """Certificates are verified unless told otherwise."""
    there = await receiver(tls=server_tls)
    outcome = await attempt(clock, there.url(scheme="https"))
    assert outcome.result is Result.TLS
    assert there.requests == []


async def test_a_private_authority_is_trusted_where_named(
    clock: ManualClock, receiver: StartReceiver, server_tls: ssl.SSLContext, ca_file: Path
) -> None:
    """`tls.ca` is enough for a private CA."""
    there = await receiver(tls=server_tls)
    outcome = await attempt(clock, there.url(scheme="https"), tls={"ca": str(ca_file)})
    assert outcome.result is Result.OK, outcome


async def test_verification_can_be_switched_off(
    clock: ManualClock, receiver: StartReceiver, server_tls: ssl.SSLContext
) -> None:
    """`tls.verify: false` takes any certificate."""
    there = await receiver(tls=server_tls)
    outcome = await attempt(clock, there.url(scheme="https"), tls={"verify": False})
    assert outcome.result is Result.OK, outcome


async def test_a_client_certificate_is_shown(
    clock: ManualClock,
    receiver: StartReceiver,
    authority: trustme.CA,
    server_tls: ssl.SSLContext,
    ca_file: Path,
    tmp_path: Path,
) -> None:
    """A server that demands a certificate gets ours, and refuses us without."""
    server_tls.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(server_tls)
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    issued = authority.issue_cert("relay.example.com")
    issued.cert_chain_pems[0].write_to_path(cert)
    issued.private_key_pem.write_to_path(key)
    there = await receiver(tls=server_tls)
    tls = {"ca": str(ca_file)}
    refused = await attempt(clock, there.url(scheme="https"), tls=tls)
    assert refused.result in {Result.TLS, Result.CONNECTION}
    tls |= {"cert": str(cert), "key": str(key)}
    assert (await attempt(clock, there.url(scheme="https"), tls=tls)).result is Result.OK


async def test_a_proxy_carries_the_attempt(clock: ManualClock, receiver: StartReceiver) -> None:
    """A plain-HTTP destination is asked for at the proxy, by its whole URL."""
    proxy = await receiver()
    outcome = await attempt(
        clock, "http://warehouse.example.com/ingest", proxy=f"http://localhost:{proxy.port}"
    )
    assert outcome.result is Result.OK
    assert proxy.requests[0].line == "POST http://warehouse.example.com/ingest HTTP/1.1"


async def test_a_connection_is_used_again(clock: ManualClock, receiver: StartReceiver) -> None:
    """One after the other, attempts share a connection, also after an answer with a body."""
    connections = set()

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.add(writer.get_extra_info("peername"))
        body = b"thank you"
        while True:
            writer.write(answer(200, body=body) if len(there.requests) % 2 else answer(204))
            await writer.drain()
            request = await there._read(reader)
            if request is None:
                return
            there.requests.append(request)

    there = await receiver(note)
    sender = Sender(a_destination(there.url()), clock=clock, redact=Redaction())
    excerpts = [(await sender.attempt(a_claim(clock))).excerpt for _ in range(4)]
    await sender.close()
    assert excerpts == [b"thank you", b"", b"thank you", b""]
    assert len(connections) == 1


async def test_what_announces_an_answer_is_none(
    clock: ManualClock, receiver: StartReceiver
) -> None:
    """`103 Early Hints` and its like come before the answer, and are passed over."""
    there = await receiver(b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n" + answer(404))
    outcome = await attempt(clock, there.url())
    assert (outcome.result, outcome.status) == (Result.CLIENT_ERROR, 404)


async def test_an_answer_that_ends_with_its_connection(
    clock: ManualClock, receiver: StartReceiver
) -> None:
    """Without a length the body goes on until the connection ends; the next has another."""

    async def old_fashioned(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.0 500 Oh\r\n\r\nsorry")
        await writer.drain()

    there = await receiver(old_fashioned)
    sender = Sender(a_destination(there.url()), clock=clock, redact=Redaction())
    outcomes = [await sender.attempt(a_claim(clock)) for _ in range(2)]
    await sender.close()
    assert [(each.status, each.excerpt) for each in outcomes] == [(500, b"sorry")] * 2


async def test_a_large_body_arrives_whole(clock: ManualClock, receiver: StartReceiver) -> None:
    """One that no socket takes in one piece."""
    there = await receiver()
    body = b'{"id":"1","text":"' + b"x" * 8_000_000 + b'"}'
    outcome = await attempt(clock, there.url(), a_claim(clock, body))
    assert outcome.result is Result.OK, outcome
    assert there.requests[0].body == body


async def test_no_cookie_is_kept(clock: ManualClock, receiver: StartReceiver) -> None:
    """What a destination sets is not sent with the next attempt."""
    there = await receiver(answer(200, "set-cookie: a=b"))
    sender = Sender(a_destination(there.url()), clock=clock, redact=Redaction())
    for _ in range(2):
        await sender.attempt(a_claim(clock))
    await sender.close()
    assert ["cookie" in request.headers for request in there.requests] == [False, False]


async def test_a_proxy_is_told_who_asks(clock: ManualClock, receiver: StartReceiver) -> None:
    """The user and password in a proxy's URL go to the proxy, in its header."""
    proxy = await receiver()
    sender = Sender(
        a_destination(
            "http://warehouse.example.com/ingest", proxy=f"http://me:word@localhost:{proxy.port}"
        ),
        clock=clock,
        redact=Redaction(),
    )
    for _ in range(2):
        assert (await sender.attempt(a_claim(clock))).result is Result.OK
    await sender.close()
    assert [request.headers["proxy-authorization"] for request in proxy.requests] == [
        "Basic bWU6d29yZA=="
    ] * 2
    assert proxy.requests[0].headers["host"] == "warehouse.example.com"


async def test_a_proxy_that_refuses_is_a_connection_error(
    clock: ManualClock, receiver: StartReceiver
) -> None:
    """CONNECT answered with 403 is the proxy's word, not the destination's."""
    proxy = await receiver(answer(403))
    outcome = await attempt(
        clock, "https://warehouse.example.com/ingest", proxy=f"http://localhost:{proxy.port}"
    )
    assert (outcome.result, outcome.status) == (Result.CONNECTION, None)


@given(st.text())
def test_no_retry_after_whatever_overflows(value: str) -> None:
    """Any text gives nothing or a finite number of seconds."""
    seconds = parse_retry_after(value, wall=1.7e9)
    assert seconds is None or 0 <= seconds <= 366 * 86_400


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        (" 0 ", 0.0),
        ("9" * 400, 366 * 86_400.0),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 0.0),
        ("Mon, 02 Mar 2026 09:16:00 GMT", 60.0),
        ("soon", None),
        ("-5", None),
        ("", None),
    ],
)
def test_retry_after_takes_seconds_and_dates(value: str, seconds: float | None) -> None:
    """Both forms of RFC 9110, and nothing else."""
    assert parse_retry_after(value, wall=1_772_442_900) == seconds
