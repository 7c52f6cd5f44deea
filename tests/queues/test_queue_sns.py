"""Messages to an SNS topic: what reaches its subscribers, and what is refused."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from circleci_relay.delivery.queues.sns import Sns, subject_of
from circleci_relay.delivery.transport import Answer, Throttled, Undeliverable
from circleci_relay.model import Result
from support.moto_server import amazon, attributes, message, missing, to_topic

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from circleci_relay.config.model import Destination
    from support.moto_server import MotoServer

if lacking := missing():
    pytest.skip(lacking, allow_module_level=True)

BODY = '{"subject": "Grüße 🚀"}'.encode()


@asynccontextmanager
async def sending(destination: Destination) -> AsyncIterator[Sns]:
    """A transport to *destination*, closed in the end."""
    transport = Sns(destination)
    try:
        yield transport
    finally:
        await transport.close()


@asynccontextmanager
async def answering(status: int, text: str) -> AsyncIterator[str]:
    """A service that answers every request alike; what moto cannot be made to say."""

    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, text=text, content_type="text/xml")

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    async with TestServer(application) as server:
        yield str(server.make_url("")).rstrip("/")


def fault(code: str, words: str = "words of the service") -> str:
    """Return what SNS answers when it will not take a message."""
    error = f"<Error><Type>Sender</Type><Code>{code}</Code><Message>{words}</Message></Error>"
    return f"<ErrorResponse>{error}<RequestId>1</RequestId></ErrorResponse>"


async def test_a_queue_that_subscribes_gets_the_very_bytes(moto: MotoServer) -> None:
    """With raw delivery body and attributes are as sent; else they stand in an envelope."""
    async with amazon(moto) as aws, sending(to := to_topic("ci", moto.url)) as transport:
        topic = await aws.topic("ci")
        raw = await aws.subscribe(topic, "raw", raw=True)
        wrapped = await aws.subscribe(topic, "wrapped", raw=False)
        headers = {"circleci-signature": "v1=ab"}
        sent = message(to, BODY, headers=headers, address={"subject": "main\nis red"})
        answer = Answer()
        await transport.send(sent, answer)
        [plain] = await aws.taken(raw)
        [enveloped] = await aws.taken(wrapped)
    assert plain["Body"].encode() == BODY
    assert attributes(plain) == sent.headers
    envelope = json.loads(enveloped["Body"])
    assert envelope["Message"].encode() == BODY
    assert envelope["Subject"] == "main is red"
    assert envelope["MessageAttributes"]["webhook-id"]["Value"] == "evt-1"
    assert answer == Answer()


async def test_a_fifo_topic_gets_groups_and_no_doubles(moto: MotoServer) -> None:
    """The group is the address's; a message sent twice is told of once."""
    async with amazon(moto) as aws, sending(to := to_topic("ci.fifo", moto.url)) as transport:
        topic = await aws.topic("ci.fifo")
        queue = await aws.subscribe(topic, "ci-told.fifo", raw=True)
        for id_ in ("a", "b", "a"):
            sent = message(to, id_.encode(), id=id_, address={"group": f"acme/{id_}"})
            await transport.send(sent, Answer())
        got = await aws.taken(queue)
    groups = {each["Body"]: each["Attributes"]["MessageGroupId"] for each in got}
    assert groups == {"a": "acme/a", "b": "acme/b"}
    assert len(got) == 2


async def test_a_topic_that_is_missing_may_still_come_to_be(moto: MotoServer) -> None:
    """The same transport delivers once somebody has made the topic."""
    async with amazon(moto) as aws, sending(to := to_topic("later", moto.url)) as transport:
        with pytest.raises(Exception, match="NotFound") as caught:
            await transport.send(message(to), Answer())
        told = transport.explain(caught.value)
        assert told == (Result.CLIENT_ERROR, "answered NotFound: there is no such topic")
        queue = await aws.subscribe(await aws.topic("later"), "told", raw=True)
        await transport.send(message(to), Answer())
        assert len(await aws.taken(queue)) == 1


async def test_two_hundred_at_once(moto: MotoServer) -> None:
    """All of many messages sent in parallel are told."""
    async with amazon(moto) as aws, sending(to := to_topic("many", moto.url)) as transport:
        queue = await aws.subscribe(await aws.topic("many"), "parallel-told", raw=True)
        await asyncio.gather(
            *(transport.send(message(to, b"%d" % each), Answer()) for each in range(200))
        )
        assert await aws.count(queue) == 200


@pytest.mark.parametrize(
    ("status", "text", "raised"),
    [
        (400, fault("Throttling"), Throttled),
        (400, fault("KMSThrottling"), Throttled),
        (429, fault("Anything"), Throttled),
        (400, fault("InvalidParameter", "Invalid parameter: Message too long"), Undeliverable),
    ],
)
async def test_the_service_may_refuse(status: int, text: str, raised: type[Exception]) -> None:
    """What would never be taken ends; what is too much is slowed down."""
    async with answering(status, text) as url, sending(to := to_topic("ci", url)) as transport:
        with pytest.raises(raised):
            await transport.send(message(to), Answer())


@pytest.mark.parametrize(
    ("status", "text", "result"),
    [
        (403, fault("AuthorizationError"), Result.CLIENT_ERROR),
        (400, fault("InvalidParameter", "Invalid parameter: MessageGroupId"), Result.CLIENT_ERROR),
        (500, fault("InternalError"), Result.SERVER_ERROR),
        (502, "<html>bad gateway</html>", Result.SERVER_ERROR),
        (200, "<html>a portal</html>", Result.PROTOCOL),
        (200, "{}", Result.PROTOCOL),
        (200, "", Result.PROTOCOL),
    ],
)
async def test_the_service_may_fail(status: int, text: str, result: Result) -> None:
    """What a person or time can mend is tried again, and said without what was answered."""
    async with answering(status, text) as url, sending(to := to_topic("ci", url)) as transport:
        with pytest.raises(Exception) as caught:  # noqa: PT011 - the explanation is what counts
            await transport.send(message(to), Answer())
        told, words = transport.explain(caught.value)
    assert told is result
    assert "words of the service" not in words


async def test_what_can_never_be_taken_is_not_sent() -> None:
    """A message over the limit is refused at once."""
    async with sending(to := to_topic("ci", "http://127.0.0.1:9")) as transport:
        with pytest.raises(Undeliverable, match="1 MiB is the most"):
            await transport.send(message(to, b"x" * (1 << 20)), Answer())


@pytest.mark.parametrize(
    ("text", "subject"),
    [
        ("", ""),
        (" \n\t", ""),
        ("main\r\nBcc: x\x00\u2028y", "main Bcc: x y"),
        ("ü" * 99, "ü" * 99),
        ("ü" * 100, "ü" * 98 + "…"),
    ],
)
def test_a_subject_is_one_short_line(text: str, subject: str) -> None:
    """SNS wants less than 100 characters, none of them a line break or control character."""
    assert subject_of(text) == subject
