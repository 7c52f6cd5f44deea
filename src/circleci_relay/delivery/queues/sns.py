"""Messages to an Amazon SNS topic."""

from __future__ import annotations

from typing import TYPE_CHECKING

from circleci_relay.config.aws import Sns as Settings
from circleci_relay.config.aws import sns_place
from circleci_relay.delivery.queues import aws, aws_parcel

if TYPE_CHECKING:
    from circleci_relay.config.model import Destination
    from circleci_relay.delivery.transport import Answer, Message
    from circleci_relay.model import Result

_LONGEST_SUBJECT = 99
"""https://docs.aws.amazon.com/sns/latest/api/API_Publish.html: less than 100 characters."""


class Sns:
    """
    Publishes each message by a request of its own.

    The topic's answer confirms that the message is stored; what then becomes of it at each
    subscriber is the topic's affair.
    """

    def __init__(self, destination: Destination) -> None:
        self._settings = destination.sns or Settings()
        self._place = sns_place(destination.url.get_secret_value())
        self._client = aws.Client("sns", self._place, destination, self._settings)

    async def send(self, message: Message, answer: Answer) -> None:
        """Publish *message*; the topic's answer must bear an id."""
        parcel = aws_parcel.pack(message.body, message.headers)
        subject = subject_of(message.address.get("subject", ""))
        request = {
            "TopicArn": self._place.resource,
            "Message": parcel.text,
            "MessageAttributes": aws_parcel.typed(parcel.attributes),
            **({"Subject": subject} if subject else {}),
            **aws_parcel.fifo_of(
                self._place,
                group=message.address.get("group", ""),
                asked=self._settings.group is not None,
                webhook_id=message.headers.get("webhook-id", ""),
            ),
        }
        response = await self._client.call("publish", request, answer)
        if not response.get("MessageId"):
            raise aws.Garbled("the answer does not confirm what was sent")

    def explain(self, fault: Exception) -> tuple[Result, str]:
        """What *fault* means, in words without URL, user or password."""
        return aws.explain(fault)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()


def subject_of(text: str) -> str:
    """*text* on one line without control characters, of less than 100 characters."""
    plain = "".join(char if char.isprintable() else " " for char in text)
    line = " ".join(plain.split())
    return line if len(line) <= _LONGEST_SUBJECT else line[: _LONGEST_SUBJECT - 1] + "…"
