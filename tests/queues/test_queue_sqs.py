"""Messages into an SQS queue: what arrives, what is refused, what an outage costs."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import itertools
import json
import ssl
import subprocess
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from aiohttp import web
from aiohttp.test_utils import TestServer

from circleci_relay.circleci import samples
from circleci_relay.config.model import ClientTLS
from circleci_relay.config.urls import SecretUrl
from circleci_relay.delivery.queues.sqs import Sqs
from circleci_relay.delivery.transport import Answer, Throttled, Undeliverable
from circleci_relay.model import Result
from support.composed import composed
from support.moto_server import QUEUES, MotoServer, amazon, attributes, message, missing, to_queue

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from blockbuster import BlockBuster

    from circleci_relay.config.model import Destination

if lacking := missing():
    pytest.skip(lacking, allow_module_level=True)

SAMPLE = "gh_oauth_workflow_failed"
NOWHERE = "http://127.0.0.1:9"
"""Nothing listens there: what is refused before anything is sent needs nobody."""


class Confirmed:
    """Bodies whose sending returned, and when there are enough of them."""

    def __init__(self) -> None:
        self.bodies: set[str] = set()
        self.enough = asyncio.Event()

    def add(self, body: str) -> None:
        """Note one more."""
        self.bodies.add(body)
        if len(self.bodies) >= 25:
            self.enough.set()


@asynccontextmanager
async def sending(destination: Destination) -> AsyncIterator[Sqs]:
    """A transport to *destination*, closed in the end."""
    transport = Sqs(destination)
    try:
        yield transport
    finally:
        await transport.close()


@asynccontextmanager
async def answering(
    answer: Callable[[web.Request], Awaitable[web.StreamResponse]],
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[str]:
    """A service that answers every request as told; what moto cannot be made to say."""
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    server = TestServer(application, host="localhost", scheme="https" if tls else "http")
    await server.start_server(ssl=tls)
    try:
        yield str(server.make_url("")).rstrip("/")
    finally:
        await server.close()


def refusing(status: int, code: str, words: str = "words of the service") -> Any:
    """Answer as SQS does when it will not take a message."""

    async def refuse(request: web.Request) -> web.StreamResponse:
        return web.json_response(
            {"__type": f"com.amazonaws.sqs#{code}", "message": words}, status=status
        )

    return refuse


async def test_the_very_bytes_arrive_with_their_headers(moto: MotoServer) -> None:
    """The body is what was given, byte for byte, and headers are attributes."""
    body = '{ "subject" : "Grüße \\u0007 🚀\\n", "n":1.0 }\n\t'.encode()
    async with amazon(moto) as aws, sending(to := to_queue("bytes", moto.url)) as transport:
        queue = await aws.queue("bytes")
        answer = Answer()
        await transport.send(
            message(to, body, headers={"circleci-event-type": "job-completed"}), answer
        )
        [got] = await aws.taken(queue)
    assert got["Body"].encode() == body
    assert attributes(got) == {
        "content-type": "application/json",
        "webhook-id": "evt-1",
        "relay-attempt": "1",
        "circleci-event-type": "job-completed",
    }
    assert answer == Answer()
    assert "MessageGroupId" not in got["Attributes"]


async def test_what_finds_no_room_as_an_attribute_is_in_one(moto: MotoServer) -> None:
    """SQS takes ten attributes: nine are the headers that matter most, the tenth the rest."""
    odd = {f"x-{number}": "Größe" for number in range(8)} | {"x-!odd": "é", "aws.x": "1"}
    async with amazon(moto) as aws, sending(to := to_queue("many", moto.url)) as transport:
        queue = await aws.queue("many")
        sent = message(to, headers={"webhook-timestamp": "5", "circleci-signature": "v1=ab"} | odd)
        await transport.send(sent, Answer())
        [got] = await aws.taken(queue)
    found = attributes(got)
    rest = json.loads(found.pop("relay-headers"))
    assert len(found) == 9
    assert {"circleci-signature", "webhook-timestamp", "webhook-id"} <= found.keys()
    assert "x-!odd" in rest
    assert "aws.x" in rest
    assert found | rest == sent.headers


async def test_a_fifo_queue_keeps_each_project_in_order(moto: MotoServer) -> None:
    """The group is the address's, made to fit; a message sent twice arrives once."""
    async with amazon(moto) as aws, sending(to := to_queue("ci.fifo", moto.url)) as transport:
        queue = await aws.queue("ci.fifo")
        long = "acme/räksmörgås " + "x" * 200
        for id_, group in (("a", "acme/api"), ("b", long), ("a", "acme/api"), ("ü" * 200, "")):
            sent = message(to, id_.encode(), id=id_, address={"group": group})
            await transport.send(sent, Answer())
        got = await aws.taken(queue)
    told = {each["Body"]: each["Attributes"] for each in got}
    assert len(got) == 3
    assert told["a"]["MessageGroupId"] == "acme/api"
    assert told["a"]["MessageDeduplicationId"] == "a"
    assert told["b"]["MessageGroupId"].startswith("acme/r_ksm_rg_s_xxx")
    assert len(told["b"]["MessageGroupId"]) == 128
    assert told["ü" * 200]["MessageGroupId"] == "none"
    assert len(told["ü" * 200]["MessageDeduplicationId"]) == 64


async def test_what_a_file_asks_for_is_what_arrives(moto: MotoServer, tmp_path: Path) -> None:
    """From relay.yaml to the queue: CircleCI's bytes, grouped by the project they tell of."""
    body = await asyncio.to_thread(samples.load, SAMPLE)
    settings = f"url: {QUEUES}/file.fifo"
    headers = {"content-type": "application/json", "circleci-signature": "v1=ab"}
    sent = await asyncio.to_thread(composed, tmp_path, settings, SAMPLE, headers)
    async with amazon(moto) as aws, sending(to_queue("file.fifo", moto.url)) as transport:
        queue = await aws.queue("file.fifo")
        await transport.send(sent, Answer())
        [got] = await aws.taken(queue)
    assert got["Body"].encode() == body
    assert got["Attributes"]["MessageGroupId"] == "github/acme-rockets/launchpad"
    assert got["Attributes"]["MessageDeduplicationId"] == sent.headers["webhook-id"]
    assert attributes(got) == sent.headers


@pytest.mark.parametrize("body", [b"\xff\xfe", b"a\x00b", "a\uffffb".encode(), b"\xed\xa0\x80"])
async def test_what_is_no_text_arrives_as_base64(moto: MotoServer, body: bytes) -> None:
    """A character that SQS refuses, which anyone can push, does not stop the message."""
    async with amazon(moto) as aws, sending(to := to_queue("binary", moto.url)) as transport:
        queue = await aws.queue("binary")
        await transport.send(message(to, body), Answer())
        [got] = await aws.taken(queue)
    assert attributes(got)["content-transfer-encoding"] == "base64"
    assert base64.b64decode(got["Body"]) == body


@pytest.mark.parametrize(
    ("body", "words"),
    [(b"x" * (1 << 20), "1 MiB is the most"), (b"\xff" * 800_000, "1 MiB"), (b"", "empty")],
)
async def test_what_can_never_be_taken_is_not_sent(body: bytes, words: str) -> None:
    """A message over the limit with its attributes, or an empty one, is refused at once."""
    async with sending(to := to_queue("ci", NOWHERE)) as transport:
        with pytest.raises(Undeliverable, match=words):
            await transport.send(message(to, body), Answer())


async def test_a_queue_that_is_missing_may_still_come_to_be(moto: MotoServer) -> None:
    """The same transport delivers once somebody has made the queue."""
    async with amazon(moto) as aws, sending(to := to_queue("later", moto.url)) as transport:
        answer = Answer()
        with pytest.raises(Exception, match="NonExistentQueue") as caught:
            await transport.send(message(to), answer)
        assert transport.explain(caught.value) == (
            Result.CLIENT_ERROR,
            "answered NonExistentQueue: there is no such queue",
        )
        assert answer.status is None
        assert answer.excerpt == b"NonExistentQueue: The specified queue does not exist."
        queue = await aws.queue("later")
        await transport.send(message(to), Answer())
        assert len(await aws.taken(queue)) == 1


TOO_LARGE = "One or more parameters are invalid. Reason: Message must be shorter than 262144 bytes."


@pytest.mark.parametrize(
    ("status", "code", "words", "raised"),
    [
        (400, "RequestThrottled", "", Throttled),
        (400, "KmsThrottled", "", Throttled),
        (429, "Whatever", "", Throttled),
        (400, "InvalidMessageContents", "", Undeliverable),
        (400, "InvalidParameterValue", TOO_LARGE, Undeliverable),
    ],
)
async def test_the_service_may_refuse(
    status: int, code: str, words: str, raised: type[Exception]
) -> None:
    """What would never be taken ends; what is too much is slowed down."""
    async with (
        answering(refusing(status, code, words)) as url,
        sending(to := to_queue("ci", url)) as transport,
    ):
        with pytest.raises(raised):
            await transport.send(message(to), Answer())


@pytest.mark.parametrize(
    ("status", "code", "result", "words"),
    [
        (403, "AccessDenied", Result.CLIENT_ERROR, "these credentials may not send there"),
        (400, "InvalidParameterValue", Result.CLIENT_ERROR, "answered InvalidParameterValue"),
        (403, "InvalidClientTokenId", Result.CLIENT_ERROR, "the credentials are not accepted"),
        (500, "InternalFailure", Result.SERVER_ERROR, "answered InternalFailure"),
        (503, "", Result.SERVER_ERROR, "answered"),
    ],
)
async def test_the_service_may_fail(status: int, code: str, result: Result, words: str) -> None:
    """What a person or time can mend is tried again."""
    async with (
        answering(refusing(status, code)) as url,
        sending(to := to_queue("ci", url)) as transport,
    ):
        with pytest.raises(Exception, match="SendMessage") as caught:
            await transport.send(message(to), Answer())
        told, said = transport.explain(caught.value)
    assert told is result
    assert words in said


async def test_a_refused_signature_repeats_nothing_of_the_request() -> None:
    """AWS answers with the request's headers, the session's token among them."""
    words = "The signature does not match.\n\nThe Canonical String\nx-amz-security-token:TOKEN"
    async with (
        answering(refusing(403, "SignatureDoesNotMatch", words)) as url,
        sending(to := to_queue("ci", url)) as transport,
    ):
        answer = Answer()
        with pytest.raises(Exception, match="SignatureDoesNotMatch"):
            await transport.send(message(to), answer)
    assert answer.excerpt == b"SignatureDoesNotMatch: The signature does not match."


@pytest.mark.parametrize(
    "text", ['{"MessageId": "1", "MD5OfMessageBody": "00"}', "{}", "<html>a portal</html>", "[1]"]
)
async def test_an_answer_must_confirm_what_was_sent(text: str) -> None:
    """A digest of something else, or none, is no confirmation."""

    async def other(request: web.Request) -> web.StreamResponse:
        return web.Response(text=text)

    async with answering(other) as url, sending(to := to_queue("ci", url)) as transport:
        with pytest.raises(Exception) as caught:  # noqa: PT011 - the explanation is what counts
            await transport.send(message(to), Answer())
        assert transport.explain(caught.value)[0] is Result.PROTOCOL


async def test_what_speaks_no_http_is_a_matter_of_protocol() -> None:
    """Whatever listens there instead of the service."""

    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 smtp.example.com ready\r\n\r\n")
        await reader.read()
        writer.close()

    async with await asyncio.start_server(babble, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with sending(to := to_queue("ci", f"http://127.0.0.1:{port}")) as transport:
            with pytest.raises(Exception, match="HTTP Client") as caught:
                await transport.send(message(to), Answer())
            assert transport.explain(caught.value) == (Result.PROTOCOL, "not a valid HTTP answer")


async def test_nobody_there_is_a_matter_of_connection() -> None:
    """What is said names neither the host nor the queue."""
    async with sending(to := to_queue("ci", NOWHERE)) as transport:
        with pytest.raises(Exception, match="Could not connect") as caught:
            await transport.send(message(to), Answer())
        result, words = transport.explain(caught.value)
    assert result is Result.CONNECTION
    assert "127.0.0.1" not in words
    assert "refused" in words


async def test_a_private_authority_is_trusted_where_it_is_named(tmp_path: Path) -> None:
    """Another cloud's certificate counts by `tls.ca`, and no other does."""
    known, other = trustme.CA(), trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    known.issue_cert("localhost").configure_cert(context)
    told: list[tuple[Result, str]] = []
    async with answering(refusing(403, "AccessDenied"), context) as url:
        for authority in (known, other):
            authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
            to = to_queue("ci", url).model_copy(update={"tls": ClientTLS(ca=tmp_path / "ca.pem")})
            async with sending(to) as transport:
                with pytest.raises(Exception, match=r"AccessDenied|SSL") as caught:
                    await transport.send(message(to), Answer())
                told.append(transport.explain(caught.value))
    assert told[0][1].startswith("answered AccessDenied")
    assert told[1][0] is Result.TLS


async def test_a_proxy_stands_between() -> None:
    """Requests go by the proxy that the destination names."""
    async with answering(refusing(403, "AccessDenied")) as url:
        to = to_queue("ci", "http://sqs.invalid").model_copy(update={"proxy": SecretUrl(url)})
        async with sending(to) as transport:
            with pytest.raises(Exception, match="AccessDenied"):
                await transport.send(message(to), Answer())


async def test_what_was_given_up_on_hurts_no_other(moto: MotoServer) -> None:
    """Attempts that are cancelled while the service hangs leave a transport that works."""
    hung, asked = asyncio.Event(), asyncio.Semaphore(0)

    async def hang(request: web.Request) -> web.StreamResponse:
        asked.release()
        await hung.wait()
        raise web.HTTPServiceUnavailable

    async with answering(hang) as url, sending(to := to_queue("ci", url)) as transport:
        under_way = [asyncio.create_task(transport.send(message(to), Answer())) for _ in range(20)]
        for _ in under_way:
            await asked.acquire()
        for each in under_way:
            each.cancel()
        given_up = await asyncio.gather(*under_way, return_exceptions=True)
        assert {type(each) for each in given_up} == {asyncio.CancelledError}
        hung.set()
        with pytest.raises(Exception, match="SendMessage") as caught:
            await transport.send(message(to), Answer())
        assert transport.explain(caught.value)[0] is Result.SERVER_ERROR


async def test_two_hundred_at_once(moto: MotoServer) -> None:
    """All of many messages sent in parallel arrive."""
    async with amazon(moto) as aws, sending(to := to_queue("parallel", moto.url)) as transport:
        queue = await aws.queue("parallel")
        await asyncio.gather(
            *(transport.send(message(to, b"%d" % each), Answer()) for each in range(200))
        )
        assert await aws.count(queue) == 200


async def test_a_service_killed_under_load_loses_nothing_confirmed() -> None:
    """
    What was said to be taken was there, before the kill and after it.

    moto forgets all when it ends, so what it had confirmed is read before the kill, and what
    it confirms afterwards at the end; sending goes on all the while.
    """
    before, after = Confirmed(), Confirmed()
    faults: list[Result] = []
    up = asyncio.Event()
    numbers = itertools.count()

    async def lane(transport: Sqs, to: Destination) -> None:
        while not after.enough.is_set():
            body, confirmed = b"%d" % next(numbers), after if up.is_set() else before
            try:
                await transport.send(message(to, body), Answer())
            except Exception as fault:  # noqa: BLE001 - whatever it is, it must be explained
                faults.append(transport.explain(fault)[0])
                await up.wait()
            else:
                confirmed.add(body.decode())

    with MotoServer() as server:
        to = to_queue("load", server.url)
        async with amazon(server) as aws, sending(to) as transport:
            queue = await aws.queue("load")
            async with asyncio.TaskGroup() as lanes:
                for _ in range(8):
                    lanes.create_task(lane(transport, to))
                await before.enough.wait()
                unread = set(before.bodies)
                while got := unread and await aws.some(queue):
                    unread -= {each["Body"] for each in got}
                assert not unread
                server.kill()
                await asyncio.to_thread(server.start)
                await aws.queue("load")
                up.set()
            assert after.bodies <= {each["Body"] for each in await aws.taken(queue)}
    assert faults
    assert set(faults) <= {Result.CONNECTION, Result.CLIENT_ERROR}


@pytest.fixture
def nowhere_to_look(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, _no_blocking: BlockBuster
) -> None:
    """No credentials anywhere the SDK looks."""
    for function in _no_blocking.functions.values():
        # Its event loop is a thread's own.
        function.can_block_in("circleci_relay/delivery/queues/aws.py", {"_session"})
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN", "PROFILE", "ROLE_ARN"):
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))


async def test_credentials_are_looked_for_where_the_sdk_looks(
    moto: MotoServer, nowhere_to_look: None, tmp_path: Path
) -> None:
    """Without any it is said so; once they are there, no restart is needed."""
    to = to_queue("keys", moto.url, access_key_id=None, secret_access_key=None)
    async with amazon(moto) as aws, sending(to) as transport:
        queue = await aws.queue("keys")
        with pytest.raises(Exception, match="credentials") as caught:
            await transport.send(message(to), Answer())
        result, words = transport.explain(caught.value)
        assert result is Result.CLIENT_ERROR
        assert "no credentials" in words
        (tmp_path / "credentials").write_text(
            "[default]\naws_access_key_id = AKIAIOSFODNN7EXAMPLE\naws_secret_access_key = x\n"
        )
        await transport.send(message(to), Answer())
        assert len(await aws.taken(queue)) == 1


async def test_refused_credentials_are_looked_for_again(
    nowhere_to_look: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys that were changed where the SDK finds them are taken up, without a restart."""
    signed: list[str] = []

    async def refuse(request: web.Request) -> web.StreamResponse:
        signed.append(request.headers["authorization"].split("Credential=")[1].split("/")[0])
        response: web.StreamResponse = await refusing(403, "InvalidClientTokenId")(request)
        return response

    async with answering(refuse) as url:
        to = to_queue("ci", url, access_key_id=None, secret_access_key=None)
        async with sending(to) as transport:
            for key in ("AKIAOLD", "AKIANEW"):
                monkeypatch.setenv("AWS_ACCESS_KEY_ID", key)
                monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
                with pytest.raises(Exception, match="InvalidClientTokenId"):
                    await transport.send(message(to), Answer())
    assert signed == ["AKIAOLD", "AKIANEW"]


async def test_refused_credentials_cut_off_no_other_message() -> None:
    """What is under way with the old credentials ends as it would have."""
    asked, let_go = asyncio.Event(), asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        if (await request.json())["MessageBody"] == "slow":
            asked.set()
            await let_go.wait()
            digest = hashlib.md5(b"slow", usedforsecurity=False).hexdigest()
            return web.json_response({"MessageId": "1", "MD5OfMessageBody": digest})
        response: web.StreamResponse = await refusing(403, "InvalidClientTokenId")(request)
        return response

    async with (
        answering(answer) as url,
        sending(to := to_queue("ci", url)) as transport,
        asyncio.TaskGroup() as tasks,
    ):
        tasks.create_task(transport.send(message(to, b"slow"), Answer()))
        await asked.wait()
        with pytest.raises(Exception, match="InvalidClientTokenId"):
            await transport.send(message(to), Answer())
        let_go.set()


def test_the_library_is_loaded_only_for_a_message() -> None:
    """Botocore is large: configuration and an idle destination do without."""
    code = "import sys, circleci_relay.delivery.queues.sqs; assert 'botocore' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)  # noqa: S603 - this very interpreter
