"""What relay.yaml may say of destinations, and of all of them under `defaults`."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, PrivateAttr, model_validator

from circleci_relay.config import body_schema, fields, presets, queues, recipes, values
from circleci_relay.config.aws import Sns, Sqs
from circleci_relay.config.base import Strict
from circleci_relay.config.bodies import Body, BodyField, parse
from circleci_relay.config.brokers import Amqp, Nats, Redis
from circleci_relay.config.containers import ManyOrNone, MaybeEmpty, OneOrMany, Short
from circleci_relay.config.fields import FilePath, Flag, SigningSecret, ValueFaults
from circleci_relay.config.kafka import Kafka
from circleci_relay.config.quiet import Group, OncePer
from circleci_relay.config.tree import Map
from circleci_relay.config.urls import DestinationUrl, HeaderValue, ProxyUrl

if TYPE_CHECKING:
    from circleci_relay.rendering.recipe import Recipe


class RateLimit(Strict):
    """How fast attempts may begin."""

    rate: Annotated[float, fields.rate()]
    """A number per s, m or h, evenly spread."""
    burst: Annotated[int, fields.integer(1, 100_000)] = 1
    """How many may begin at once after a pause."""


class Retry(Strict):
    """When a failed attempt is made again, and when no more."""

    initial: Annotated[float, fields.duration(0.01, 86400, "10ms to 1d")] = 1.0
    """Before the second attempt."""
    factor: Annotated[float, fields.number(1, 100)] = 2.0
    """By how much each interval is longer than the one before."""
    max_interval: Annotated[float, fields.duration(0.01, 86400, "10ms to 1d")] = 900.0
    """The longest interval, and the longest `Retry-After` that is obeyed."""
    jitter: Annotated[float, fields.number(0, 1)] = 0.2
    """By what part of itself an interval is randomly longer or shorter."""
    max_age: Annotated[float, fields.duration(1, 3650 * 86400, "1s to 3650d")] | None = 3 * 86400.0
    """How long after the event the last attempt may be; null for as long as `store.keep`."""
    max_attempts: Annotated[int, fields.integer(1, 1_000_000)] | None = None
    """After how many attempts to give up; null for no such limit."""
    dead_on: Annotated[tuple[Annotated[int, fields.integer(300, 599)], ...], ManyOrNone()] = (
        400,
        410,
        413,
        422,
    )
    """Statuses after which nothing is tried again."""

    @model_validator(mode="after")
    def _grows(self) -> Self:
        if self.max_interval < self.initial:
            raise ValueFaults(
                [(("max_interval",), "is shorter than initial; make it as long or longer")]
            )
        return self


class Breaker(Strict):
    """When a destination that keeps failing is left alone."""

    failures: Annotated[int, fields.integer(1, 100_000)] = 10
    """How many timeouts, connection errors and 5xx in a row open it."""
    pause: Annotated[float, fields.duration(0.1, 86400, "100ms to 1d")] = 30.0
    """How long it then stays open, until one attempt probes."""


class Sign(Strict):
    """A signature of the relay's own."""

    scheme: Annotated[
        Literal["standard-webhooks", "circleci"], fields.choice("standard-webhooks", "circleci")
    ]
    """`standard-webhooks` adds webhook-signature; `circleci` replaces circleci-signature."""
    secrets: Annotated[tuple[SigningSecret, ...], OneOrMany()]
    """Each signs; several while they are being changed."""

    @model_validator(mode="after")
    def _fits_scheme(self) -> Self:
        if self.scheme != "standard-webhooks":
            return self
        faults: list[tuple[tuple[str | int, ...], str]] = []
        for index, secret in enumerate(self.secrets):
            try:
                if secret is not fields.UNKNOWN_SECRET:
                    values.standard_secret(secret.get_secret_value())
            except ValueError as error:
                faults.append((("secrets", index), str(error)))
        if faults:
            raise ValueFaults(faults)
        return self


class ClientTLS(Strict):
    """How the relay and a destination know each other."""

    model_config = ConfigDict(json_schema_extra={"dependentRequired": {"key": ["cert"]}})

    ca: FilePath | None = None
    """PEM file: the authorities to trust instead of the system's."""
    cert: FilePath | None = None
    """PEM file: the client certificate to show."""
    key: FilePath | None = None
    """PEM file: its private key; not needed where `cert` holds it too."""
    verify: Flag = True
    """Whether the destination's certificate is checked; false trusts anyone in between."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.key is not None and self.cert is None:
            raise ValueFaults([(("key",), "is of no use without cert; add cert: PATH")])
        return self


class Settings(Strict):
    """What a destination may say, and `defaults` may say for all."""

    headers: Annotated[dict[Annotated[str, fields.HEADER], HeaderValue], MaybeEmpty()] = {}  # noqa: RUF012 - copied
    """Headers to add; values are taken as written, and may be templates."""
    body: Annotated[Body | None, BodyField()] = None
    """What is sent in place of CircleCI's bytes: a preset's name, or a map; null for none."""
    timeout: Annotated[float, fields.duration(0.01, 3600, "10ms to 1h")] = 10.0
    """For one whole attempt."""
    concurrency: Annotated[int, fields.integer(1, 10_000)] = 8
    """Attempts under way at once."""
    rate_limit: Annotated[RateLimit, Short("rate")] | None = None
    """Such as 20/s, evenly spread; or a map of `rate` and `burst`."""
    retry: Annotated[Retry, MaybeEmpty()] = Retry()
    """When a failed attempt is made again."""
    breaker: Breaker | None = Breaker()
    """When a failing destination is left alone; null for never."""
    sign: Sign | None = None
    """A signature of the relay's own; without it CircleCI's passes through."""
    tls: ClientTLS | None = None
    """Private authorities and client certificates."""
    proxy: ProxyUrl | None = None
    """An HTTP proxy on the way."""
    paused: Flag = False
    """Keep deliveries back until it is false again."""
    once_per: Annotated[OncePer, Short("by")] | None = None
    """`workflow`: only the last of a workflow's events is told, after a quiet while."""
    group: Group | None = None
    """Several events in one message; the body must be able to tell of several."""
    amqp: Annotated[Amqp, MaybeEmpty()] | None = None
    """Beside a URL of `amqp` or `amqps`: where on the broker."""
    nats: Annotated[Nats, MaybeEmpty()] | None = None
    """Beside a URL of `nats` or `nats+tls`: where in JetStream."""
    redis: Annotated[Redis, MaybeEmpty()] | None = None
    """Beside a URL of `redis` or `rediss`: which stream."""
    sqs: Annotated[Sqs, MaybeEmpty()] | None = None
    """Beside a URL of `sqs`: how into the queue."""
    sns: Annotated[Sns, MaybeEmpty()] | None = None
    """Beside a URL of `sns`: how to the topic."""
    kafka: Annotated[Kafka, MaybeEmpty()] | None = None
    """Beside a URL of `kafka` or `kafka+tls`: which topic and key."""


_URL = """http or https, or a queue's; shown without path and query, which often are secret.
May be a template, in whose scheme and host only labels and options are known."""


class Destination(Settings):
    """Where copies go."""

    model_config = ConfigDict(
        json_schema_extra=lambda schema: schema.update(_without_required_url(schema))
    )

    url: Annotated[DestinationUrl, Field(description=_URL)]
    _name: str = PrivateAttr("")

    @model_validator(mode="before")
    @classmethod
    def _completed(cls, value: Any) -> Any:
        """What was read from files is complete; what is made in code gets its preset's part."""
        if isinstance(value, dict) and not isinstance(value, Map):
            return complete(value)
        return value

    @property
    def name(self) -> str:
        """Its name in the file."""
        return self._name

    @property
    def display(self) -> str:
        """Scheme, host and port of the URL."""
        return self.url.display

    @property
    def section(self) -> str | None:
        """The setting that belongs to its URL, where that is a queue's."""
        return queues.section_of(self.url.get_secret_value())

    @property
    def addresses(self) -> dict[str, str]:
        """Where in a queue each message goes: the texts that are rendered for it."""
        queue = None if self.section is None else getattr(self, self.section)
        return {} if queue is None else dict(queue.templates())

    @cached_property
    def recipe(self) -> Recipe | None:
        """How its messages are made; None where they are CircleCI's own bytes to one URL."""
        return recipes.recipe_of(self)

    def named(self, name: str) -> Self:
        """Give it its name, once."""
        self._name = name
        return self


class Defaults(Settings):
    """Any destination setting, merged under each of them."""

    url: Annotated[DestinationUrl | None, Field(description=_URL)] = None


def complete(settings: dict[str, Any]) -> dict[str, Any]:
    """*settings* made in code, with what a preset brings along, and its URL's queue setting."""
    whole = {**presets.plain_settings(settings.get("body")), **settings}
    url = whole.get("url")
    if isinstance(url, str) and "body" in whole:
        try:
            body = parse(whole["body"])
        except ValueError:
            body = None
        if body is not None and body.options is not None:
            whole["url"] = presets.made_url(url, body.options) or url
    section = queues.section_of(url) if isinstance(url, str) else None
    return whole if section is None else {section: {}, **whole}


def _without_required_url(schema: dict[str, Any]) -> dict[str, Any]:
    required = [key for key in schema["required"] if key != "url"]
    return {"required": required, **body_schema.url_required()}
