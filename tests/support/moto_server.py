"""Amazon SQS and SNS as moto plays them, in a process of its own, on loopback."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from contextlib import asynccontextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, Self

from circleci_relay.config.model import Destination
from circleci_relay.delivery.transport import Message

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import TracebackType

ACCOUNT = "123456789012"
QUEUES = f"sqs://sqs.eu-west-1.amazonaws.com/{ACCOUNT}"
TOPICS = f"sns://sns.eu-west-1.amazonaws.com/arn:aws:sns:eu-west-1:{ACCOUNT}"
KEYS = {"access_key_id": "AKIAIOSFODNN7EXAMPLE", "secret_access_key": "a-secret"}

_SERVE = """
import sys
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server
WSGIRequestHandler.protocol_version = "HTTP/1.1"  # connections are kept, as AWS keeps them
application = DomainDispatcherApplication(create_backend_app)
server = make_server("127.0.0.1", int(sys.argv[1]), application, threaded=True)
print(server.port, flush=True)
server.serve_forever()
"""


def missing() -> str | None:
    """Why there is no moto here, if there is none."""
    lacking = [name for name in ("moto", "flask") if importlib.util.find_spec(name) is None]
    return f"{' and '.join(lacking)} not installed" if lacking else None


class MotoServer:
    """A server that forgets everything when it ends."""

    def __init__(self) -> None:
        self.port = 0
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.kill()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, on the port it had if it had one."""
        self._process = subprocess.Popen(  # noqa: S603 - this very interpreter
            [sys.executable, "-c", _SERVE, str(self.port)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process.wait()
            self._process = None


def to_queue(name: str, endpoint: str, **settings: Any) -> Destination:
    """Return a destination that is the queue *name*, at *endpoint*."""
    sqs = {"endpoint": endpoint, **KEYS, **settings}
    return Destination.model_validate({"url": f"{QUEUES}/{name}", "concurrency": 20, "sqs": sqs})


def to_topic(name: str, endpoint: str, **settings: Any) -> Destination:
    """Return a destination that is the topic *name*, at *endpoint*."""
    sns = {"endpoint": endpoint, **KEYS, **settings}
    return Destination.model_validate({"url": f"{TOPICS}:{name}", "concurrency": 20, "sns": sns})


def message(
    to: Destination,
    body: bytes = b'{"type":"ping"}',
    *,
    id: str = "evt-1",  # noqa: A002 - what it is called everywhere else
    address: dict[str, str] | None = None,
    headers: dict[str, str] | None = None,
) -> Message:
    """Return a message as the relay makes it."""
    own = {"content-type": "application/json", "webhook-id": id, "relay-attempt": "1"}
    return Message(
        url=to.url.get_secret_value(),
        headers=own | (headers or {}),
        body=body,
        address=address or {},
    )


class Amazon:
    """The services as their other users see them."""

    def __init__(self, sqs: Any, sns: Any) -> None:
        self.sqs = sqs
        self.sns = sns

    async def queue(self, name: str) -> str:
        """Make a queue; return its URL."""
        attributes = {"FifoQueue": "true"} if name.endswith(".fifo") else {}
        made = await self.sqs.create_queue(QueueName=name, Attributes=attributes)
        return str(made["QueueUrl"])

    async def topic(self, name: str) -> str:
        """Make a topic; return its ARN."""
        attributes = {"FifoTopic": "true"} if name.endswith(".fifo") else {}
        return str((await self.sns.create_topic(Name=name, Attributes=attributes))["TopicArn"])

    async def subscribe(self, topic: str, name: str, *, raw: bool) -> str:
        """Make a queue that gets what the topic gets; return its URL."""
        url = await self.queue(name)
        await self.sns.subscribe(
            TopicArn=topic,
            Protocol="sqs",
            Endpoint=f"arn:aws:sqs:eu-west-1:{ACCOUNT}:{name}",
            Attributes={"RawMessageDelivery": str(raw).lower()},
        )
        return url

    async def some(self, queue: str) -> list[dict[str, Any]]:
        """Return up to ten messages of a queue, which then shows them no more for a while."""
        got = await self.sqs.receive_message(
            QueueUrl=queue,
            MaxNumberOfMessages=10,
            MessageAttributeNames=["All"],
            AttributeNames=["All"],
        )
        return list(got.get("Messages", []))

    async def count(self, queue: str) -> int:
        """Return how many messages are in a queue."""
        name = "ApproximateNumberOfMessages"  # which with moto is the number
        got = await self.sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=[name])
        return int(got["Attributes"][name])

    async def taken(self, queue: str) -> list[dict[str, Any]]:
        """Return everything that is in a queue."""
        found: list[dict[str, Any]] = []
        while got := await self.some(queue):
            found += got
        return found


def attributes(received: dict[str, Any]) -> dict[str, str]:
    """Return the attributes of a message that came out of a queue."""
    return {
        name: value["StringValue"] for name, value in received.get("MessageAttributes", {}).items()
    }


@cache
def _sdk() -> Any:
    """One for all, since each reads many files."""
    from aiobotocore.session import get_session  # noqa: PLC0415 - it may not be installed

    return get_session()


@asynccontextmanager
async def amazon(server: MotoServer) -> AsyncIterator[Amazon]:
    """The services of *server*, for the length of a test."""
    session = _sdk()
    place = {
        "region_name": "eu-west-1",
        "endpoint_url": server.url,
        "aws_access_key_id": "AKIAI44QH8DHBEXAMPLE",
        "aws_secret_access_key": "another-secret",
    }
    async with (
        session.create_client("sqs", **place) as sqs,
        session.create_client("sns", **place) as sns,
    ):
        yield Amazon(sqs, sns)
