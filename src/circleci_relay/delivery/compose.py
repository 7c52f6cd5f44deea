"""From a claim to the message that is sent: address, headers and body, all but the sending."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from circleci_relay import __version__
from circleci_relay.delivery.signing import SCHEMES
from circleci_relay.delivery.transport import Message
from circleci_relay.labels import NO_LABELS, Labels
from circleci_relay.rendering.scene import About, scene_of

if TYPE_CHECKING:
    from circleci_relay.clock import Clock
    from circleci_relay.config.model import Destination
    from circleci_relay.model import Claim
    from circleci_relay.rendering.recipe import Recipe

USER_AGENT = f"circleci-relay/{__version__}"
"""Sent where CircleCI's own is not known, or its bytes are not what is sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What messages tell of beside the event, and no destination says."""

    external_url: str | None = None
    labels: Labels = field(default=NO_LABELS)


class Composer:
    """
    Makes one destination's messages.

    Without a `recipe` they are the very bytes that CircleCI signed, with its own headers.
    """

    def __init__(
        self,
        destination: Destination,
        *,
        clock: Clock,
        surroundings: Surroundings,
        test: bool = False,
    ) -> None:
        self._clock = clock
        self._name = destination.name
        self.surroundings = surroundings
        self._test = test
        self._recipe = destination.recipe
        # As written: encoding anew what is encoded already breaks signed URLs.
        self._url = destination.url.get_secret_value()
        self._headers = {
            name.lower(): value.get_secret_value() for name, value in destination.headers.items()
        }
        self._sign = None
        if destination.sign:
            secrets = tuple(secret.get_secret_value() for secret in destination.sign.secrets)
            self._sign = SCHEMES[destination.sign.scheme](secrets)

    def compose(self, claim: Claim) -> Message:
        """Return the message of *claim*'s attempt; raises `RenderError` if it cannot be made."""
        if self._recipe is None:
            headers = dict(claim.headers)
            headers.update(self._headers)
            message = Message(url=self._url, headers=headers, body=claim.body)
        else:
            message = self._made(claim, self._recipe)
            headers = dict(message.headers)
        timestamp = int(self._clock.wall())
        headers["webhook-id"] = claim.webhook_id
        headers["webhook-timestamp"] = str(timestamp)
        headers["relay-attempt"] = str(claim.attempt)
        if self._test:
            headers["relay-test"] = "true"
        headers.setdefault("user-agent", USER_AGENT)
        if self._sign is not None:
            headers.update(self._sign(claim.webhook_id, timestamp, message.body))
        return Message(url=message.url, headers=headers, body=message.body, address=message.address)

    def _made(self, claim: Claim, recipe: Recipe) -> Message:
        about = About(
            destination=self._name,
            external_url=self.surroundings.external_url,
            labels=self.surroundings.labels.of,
            secret_labels=self.surroundings.labels.secret,
            now=self._clock.wall(),
            test=self._test,
            webhook_id=claim.webhook_id,
        )
        made = recipe.make(scene_of(claim.told, about))
        headers: dict[str, str] = {}
        if made.body is None:
            headers.update(claim.headers)
        # Otherwise none of CircleCI's: they tell of, and sign, bytes that are not sent.
        if made.content_type is not None:
            headers["content-type"] = made.content_type
        headers.update(made.headers)
        return Message(
            url=made.url,
            headers=headers,
            body=claim.body if made.body is None else made.body,
            address=made.address,
        )
