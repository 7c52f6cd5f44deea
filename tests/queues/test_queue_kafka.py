"""Messages into a Kafka topic: what arrives, what is refused, what an outage costs."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
import trustme

from circleci_relay.config.kafka import URL_READERS, Kafka, brokers_of
from circleci_relay.config.model import Destination
from circleci_relay.delivery.queues import kafka
from circleci_relay.delivery.transport import Answer, Message, Undeliverable
from circleci_relay.model import Result
from support.kafka_broker import PASSWORD, USER, KafkaBroker, missing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> trustme.CA:
    """Who vouches for the broker."""
    return trustme.CA()


@pytest.fixture(scope="module")
def broker(
    tmp_path_factory: pytest.TempPathFactory, authority: trustme.CA
) -> Iterator[KafkaBroker]:
    """A broker for all tests here."""
    if lacking := missing():
        pytest.skip(lacking)
    folder = tmp_path_factory.mktemp("kafka")
    with KafkaBroker(folder, authority.issue_cert("localhost")) as server:
        yield server


def to_broker(broker: KafkaBroker, **settings: Any) -> Destination:
    """Return a destination that is *broker*, without TLS or user."""
    url = f"kafka://127.0.0.1:{broker.plain}"
    return Destination.model_validate({"url": url, "concurrency": 200, **settings})


def message(
    to: Destination, body: bytes = b"{}", *, topic: str = "ci", key: str = "acme/api"
) -> Message:
    """Return a message as the relay makes it."""
    return Message(
        url=to.url.get_secret_value(),
        headers={"content-type": "application/json", "webhook-id": "evt-1", "x-odd": "é"},
        body=body,
        address={"topic": topic, "key": key},
    )


@asynccontextmanager
async def sending(destination: Destination) -> AsyncIterator[kafka.Kafka]:
    """A transport to *destination*, closed in the end, which leaves nothing behind."""
    before = asyncio.all_tasks()
    transport = kafka.Kafka(destination)
    try:
        yield transport
    finally:
        await transport.close()
    assert asyncio.all_tasks() <= before


async def make_topic(broker: KafkaBroker, name: str, settings: dict[str, str]) -> None:
    """Make a topic with settings of its own."""
    from aiokafka.admin import AIOKafkaAdminClient, NewTopic  # noqa: PLC0415 - maybe not there

    admin = AIOKafkaAdminClient(bootstrap_servers=f"127.0.0.1:{broker.plain}")
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, 3, 1, topic_configs=settings)])
    finally:
        await admin.close()


async def read(broker: KafkaBroker, topic: str) -> list[Any]:
    """Return all that is in a topic."""
    from aiokafka import AIOKafkaConsumer, TopicPartition  # noqa: PLC0415 - maybe not there

    consumer = AIOKafkaConsumer(
        bootstrap_servers=f"127.0.0.1:{broker.plain}", auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        places = [TopicPartition(topic, each) for each in range(3)]
        consumer.assign(places)
        ends = await consumer.end_offsets(places)
        found: list[Any] = []
        while sum(ends.values()) > len(found):
            for records in (await consumer.getmany(timeout_ms=1000)).values():
                found += records
        return found
    finally:
        await consumer.stop()


async def test_the_very_bytes_arrive_with_key_and_headers(broker: KafkaBroker) -> None:
    """The body is what was given, headers are headers, and a key keeps to one partition."""
    body = b'{"subject": "\xff\x00"}'
    async with sending(to := to_broker(broker)) as transport:
        answer = Answer()
        await transport.send(message(to, body, topic="acme/räv"), answer)
        for _ in range(4):
            await transport.send(message(to, body, topic="acme.r_v"), Answer())
        await transport.send(message(to, body, topic="acme.r_v", key=""), Answer())
    records = await read(broker, "acme.r_v")
    keyed = [each for each in records if each.key == b"acme/api"]
    assert len(records) == 6
    assert len(keyed) == 5
    assert len({each.partition for each in keyed}) == 1
    assert {each.value for each in records} == {body}
    assert dict(keyed[0].headers) == {
        "content-type": b"application/json",
        "webhook-id": b"evt-1",
        "x-odd": "é".encode(),
    }
    assert answer == Answer()


async def test_what_is_too_large_stops_nothing_else(broker: KafkaBroker) -> None:
    """The topic's own limit counts; messages that are sent meanwhile and afterwards arrive."""
    async with sending(to := to_broker(broker)) as transport:
        sent = [message(to, b"x" * size, topic="sizes") for size in (100, 300_000, 150_000, 100)]
        ends = await asyncio.gather(
            *(transport.send(each, Answer()) for each in sent), return_exceptions=True
        )
        assert isinstance(ends[1], Undeliverable)
        assert "larger than the topic takes" in str(ends[1])
        for each, end in zip(sent, ends, strict=True):
            if isinstance(end, Exception) and not isinstance(end, Undeliverable):
                assert transport.explain(end)[0] is not Result.INTERNAL
                await transport.send(each, Answer())
    assert {len(each.value) for each in await read(broker, "sizes")} == {100, 150_000}


async def test_what_is_too_large_only_together_is_taken_alone(broker: KafkaBroker) -> None:
    """A topic may take less than a batch; no message of one counts as too large for that."""
    await make_topic(broker, "tiny", {"max.message.bytes": "1000"})
    async with sending(to := to_broker(broker)) as transport:
        sent = [message(to, b"%d" % each * 300, topic="tiny") for each in range(5)]
        ends = await asyncio.gather(
            *(transport.send(each, Answer()) for each in sent), return_exceptions=True
        )
        failed = [end for end in ends if isinstance(end, Exception)]
        assert failed
        assert {transport.explain(each)[0] for each in failed} == {Result.CLIENT_ERROR}
        assert not any(isinstance(each, Undeliverable) for each in failed)
        for each in sent:
            await transport.send(each, Answer())
    assert {each.value for each in await read(broker, "tiny")} == {each.body for each in sent}


async def test_two_hundred_at_once(broker: KafkaBroker) -> None:
    """All of many messages sent in parallel arrive, each once."""
    async with sending(to := to_broker(broker)) as transport:
        await asyncio.gather(
            *(
                transport.send(message(to, b"%d" % each, topic="many", key=f"{each}"), Answer())
                for each in range(200)
            )
        )
    records = await read(broker, "many")
    assert sorted(int(each.value) for each in records) == [*range(200)]


async def test_what_was_given_up_on_hurts_no_other(broker: KafkaBroker) -> None:
    """Attempts that are cancelled while the broker hangs leave a transport that works."""
    async with sending(to := to_broker(broker)) as transport:
        await transport.send(message(to, topic="frozen"), Answer())
        broker.freeze()
        try:
            for _ in range(2):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.2):
                        await transport.send(message(to, topic="frozen"), Answer())
        finally:
            broker.thaw()
        await transport.send(message(to, b"last", topic="frozen"), Answer())
    assert (await read(broker, "frozen"))[-1].value == b"last"


async def test_a_user_and_a_private_authority(
    broker: KafkaBroker, authority: trustme.CA, tmp_path: Path
) -> None:
    """Over TLS, with the authority that the destination names, and a password like any."""
    ca = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca))
    url = f"kafka+tls://{USER}:{quote(PASSWORD, safe='')}@localhost:{broker.secure}"
    to = Destination.model_validate({"url": url, "tls": {"ca": str(ca)}})
    async with sending(to) as transport:
        await transport.send(message(to, topic="secure"), Answer())
    assert len(await read(broker, "secure")) == 1


@pytest.mark.parametrize(
    ("url", "trusted", "result", "words"),
    [
        (
            "kafka+tls://relay:wr0ng@localhost:{secure}",
            True,
            Result.CLIENT_ERROR,
            "password is not",
        ),
        ("kafka+tls://localhost:{secure}", True, Result.CONNECTION, "was closed"),
        ("kafka+tls://relay:wr0ng@localhost:{secure}", False, Result.TLS, "certificate"),
        ("kafka://relay:wr0ng@127.0.0.1:{plain}", True, Result.CLIENT_ERROR, "wants no user"),
        ("kafka://127.0.0.1:{secure}", True, Result.CONNECTION, "was closed"),
        ("kafka://127.0.0.1:9,127.0.0.1:9", True, Result.CONNECTION, "Connection refused"),
        ("kafka://nowhere.invalid", True, Result.CONNECTION, "cannot resolve"),
    ],
)
async def test_why_no_broker_is_reached_is_said(
    broker: KafkaBroker,
    authority: trustme.CA,
    tmp_path: Path,
    url: str,
    trusted: bool,  # noqa: FBT001 - pytest names it
    result: Result,
    words: str,
) -> None:
    """Each cause has its words, without host, user or password; nothing is logged."""
    url = url.format(secure=broker.secure, plain=broker.plain)
    ca = tmp_path / "ca.pem"
    (authority if trusted else trustme.CA()).cert_pem.write_to_path(str(ca))
    to = Destination.model_validate({"url": url, "tls": {"ca": str(ca)}})
    async with sending(to) as transport:
        with pytest.raises(Exception) as caught:  # noqa: PT011 - the explanation is what counts
            await transport.send(message(to), Answer())
        told, said = transport.explain(caught.value)
    assert told is result
    assert words in said
    assert not any(secret in said for secret in ("wr0ng", "127.0.0.1", "localhost", "relay"))


async def test_a_broker_killed_under_load_loses_nothing_confirmed(broker: KafkaBroker) -> None:
    """What was said to be taken is there afterwards, whatever was under way at the kill."""
    confirmed: set[bytes] = set()
    faults: list[Result] = []
    numbers = itertools.count()
    up, finished = asyncio.Event(), asyncio.Event()
    enough, again = asyncio.Event(), asyncio.Event()

    async def lane(transport: kafka.Kafka, to: Destination) -> None:
        while not finished.is_set():
            body = b"%d" % next(numbers)
            while body not in confirmed:
                try:
                    async with asyncio.timeout(2):
                        await transport.send(message(to, body, topic="load"), Answer())
                except Exception as fault:  # noqa: BLE001 - whatever it is, it must be explained
                    faults.append(transport.explain(fault)[0])
                    await up.wait()
                else:
                    confirmed.add(body)
            (again if up.is_set() else enough).set()

    async with (
        sending(to := to_broker(broker, timeout="2s")) as transport,
        asyncio.TaskGroup() as lanes,
    ):
        for _ in range(20):
            lanes.create_task(lane(transport, to))
        await enough.wait()
        broker.kill()
        await asyncio.to_thread(broker.start)
        up.set()
        await again.wait()
        finished.set()
    records = await read(broker, "load")
    assert confirmed == {each.value for each in records}
    assert Result.INTERNAL not in faults


async def test_what_is_no_name_of_a_topic_is_not_tried() -> None:
    """A template may make what no topic can be called."""
    to = Destination.model_validate({"url": "kafka://127.0.0.1:9"})
    async with sending(to) as transport:
        with pytest.raises(Undeliverable, match="the topic's name"):
            await transport.send(message(to, topic=" .. "), Answer())
        with pytest.raises(Undeliverable, match="the topic's name"):
            await transport.send(message(to, topic="x" * 250), Answer())


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("kafka://one", ("one:9092",)),
        ("kafka://one:19092,two,[::1]:1/", ("one:19092", "two:9092", "[::1]:1")),
        ("kafka+tls://us%40er:p%3Aw@one:9093", ("one:9093",)),
    ],
)
def test_a_url_names_brokers(url: str, hosts: tuple[str, ...]) -> None:
    """Several hosts, of which any will do to begin with."""
    brokers = brokers_of(url)
    assert brokers.hosts == hosts
    assert brokers.tls == url.startswith("kafka+tls")
    if "@" in url:
        assert (brokers.user, brokers.password) == ("us@er", "p:w")
        assert "p:w" not in repr(brokers)
    assert URL_READERS["kafka"](url) == url


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://s3cr3t", "no URL of Kafka"),
        ("kafka:s3cr3t", "no URL of Kafka"),
        ("kafka://", "cannot be"),
        ("kafka://a,,s3cr3t", "cannot be"),
        ("kafka://a:0", "cannot be"),
        ("kafka://a:99999", "cannot be"),
        ("kafka://a/s3cr3t", "name the topic by"),
        ("kafka://a?s3cr3t", "name the topic by"),
        ("kafka://s3cr3t@a", "cannot be read"),
        ("kafka://u:s3cr3t@x@a", "cannot be read"),
        ("kafka://u:s3cr3t%@a", "cannot be read"),
        ("kafka://a s3cr3t", "a space"),
    ],
)
def test_what_names_no_broker_is_told_discreetly(url: str, words: str) -> None:
    """A fault is said with what is wanted, and without the URL."""
    with pytest.raises(ValueError, match=words) as caught:
        URL_READERS["kafka"](url)
    assert "s3cr3t" not in str(caught.value)


def test_each_project_is_a_key_unless_told_otherwise() -> None:
    """Topic and key are rendered for each message."""
    assert Kafka().templates() == {"topic": "circleci", "key": "{{ project }}"}
    assert Kafka(topic="{{ labels.team }}").templates()["topic"] == "{{ labels.team }}"
