"""Messages into an Amazon SQS queue."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from circleci_relay.config.aws import Sqs as Settings
from circleci_relay.config.aws import sqs_place
from circleci_relay.delivery.queues import aws, aws_parcel

if TYPE_CHECKING:
    from circleci_relay.config.model import Destination
    from circleci_relay.delivery.transport import Answer, Message
    from circleci_relay.model import Result


class Sqs:
    """
    Sends each message by a request of its own.

    A queue's answer confirms that the message is stored. In a FIFO queue its `webhook-id`
    keeps one that is sent again within five minutes from arriving twice.
    """

    def __init__(self, destination: Destination) -> None:
        self._settings = destination.sqs or Settings()
        self._place = sqs_place(destination.url.get_secret_value())
        self._client = aws.Client("sqs", self._place, destination, self._settings)

    async def send(self, message: Message, answer: Answer) -> None:
        """Send *message*; the queue's answer must bear the digest of what was sent."""
        parcel = aws_parcel.pack(message.body, message.headers)
        request = {
            "QueueUrl": self._place.resource,
            "MessageBody": parcel.text,
            "MessageAttributes": aws_parcel.typed(parcel.attributes),
            **aws_parcel.fifo_of(
                self._place,
                group=message.address.get("group", ""),
                asked=self._settings.group is not None,
                webhook_id=message.headers.get("webhook-id", ""),
            ),
        }
        response = await self._client.call("send_message", request, answer)
        digest = hashlib.md5(parcel.text.encode(), usedforsecurity=False).hexdigest()
        if response.get("MD5OfMessageBody") != digest:
            raise aws.Garbled("the answer does not confirm what was sent")

    def explain(self, fault: Exception) -> tuple[Result, str]:
        """What *fault* means, in words without URL, user or password."""
        return aws.explain(fault)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()
