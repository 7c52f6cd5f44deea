"""What relay.yaml may say, and what it comes to: frozen, checked, with every default."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, model_validator

from circleci_relay.config import fields, values
from circleci_relay.config.containers import ManyOrNone, MaybeEmpty, OneOrMany, Short
from circleci_relay.config.fields import (
    DestinationUrl,
    FilePath,
    Flag,
    HeaderValue,
    Listen,
    ProxyUrl,
    SigningSecret,
    SourcePath,
    Token,
    ValueFaults,
    WebUrl,
)
from circleci_relay.config.match_field import MatchField
from circleci_relay.config.secret_sets import SecretSet, SecretsField
from circleci_relay.config.values import SECRET_SEGMENT, Address
from circleci_relay.routing import Route, Table, compile_match

if TYPE_CHECKING:
    from collections.abc import Mapping

    from circleci_relay.circleci.signature import Keyring, Secret


class Strict(BaseModel):
    """Frozen, without unknown keys, and never an input in an error."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
    )


class AdminToken(Strict):
    """Who may use the admin API and page."""

    token: Token
    """At least 16 characters; better taken from a file or variable."""
    role: Annotated[Literal["viewer", "operator"], fields.choice("viewer", "operator")] = "viewer"
    """`viewer` may look; `operator` may also change."""


class Shutdown(Strict):
    """How the relay stops."""

    linger: Annotated[float, fields.duration(0, 600, "0s to 10m")] = 0.0
    """How long hooks are still taken after SIGTERM, for load balancers to notice."""
    drain: Annotated[float, fields.duration(0, 3600, "0s to 1h")] = 20.0
    """How long attempts under way may take to finish."""


class ServerTLS(Strict):
    """The certificate that `server.listen` shows."""

    cert: FilePath
    """PEM file: the certificate, then its chain."""
    key: FilePath
    """PEM file: its private key, not encrypted."""


class Server(Strict):
    """Where the relay listens."""

    listen: Listen = Address("0.0.0.0", 8080)  # noqa: S104 - hooks come from outside
    """HOST:PORT for webhooks: the only port CircleCI needs to reach."""
    ops: Listen = Address("0.0.0.0", 8081)  # noqa: S104 - probes come from outside
    """HOST:PORT for health and metrics, without a token: for probes and Prometheus."""
    admin: Listen = Address("127.0.0.1", 8082)
    """HOST:PORT for the API and page."""
    admin_tokens: Annotated[dict[Annotated[str, fields.NAME], AdminToken], MaybeEmpty()] = {}
    """Tokens by name; needed wherever `admin` is not loopback."""
    external_url: WebUrl | None = None
    """Where people reach the page; for links in messages."""
    max_body: Annotated[int, fields.size(1 << 10, 64 << 20, "1KiB to 64MiB")] = 1 << 20
    """The largest webhook that is taken."""
    shutdown: Annotated[Shutdown, MaybeEmpty()] = Shutdown()
    """How the relay stops."""
    tls: ServerTLS | None = None
    """Serve `listen` over TLS."""


class StoreSettings(Strict):
    """Where events and deliveries are kept."""

    url: Annotated[str, fields.store_url(), Field(repr=False)] = "sqlite:///relay.db"
    """`sqlite:///PATH`; a relative path begins where this file stands. Or, for several
    replicas, `postgresql://USER:PASSWORD@HOST/DATABASE`, with libpq's options behind `?`."""
    keep: Annotated[float, fields.duration(60, 3650 * 86400, "1m to 3650d")] = 14 * 86400.0
    """How long events and their log are kept; also the deduplication window."""


class SourceSettings(Strict):
    """An endpoint that CircleCI webhooks post to."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [
                {"required": ["secrets"]},
                {"required": ["unsigned"], "properties": {"unsigned": {"not": {"const": False}}}},
            ],
            "not": {
                "required": ["secrets", "unsigned"],
                "properties": {"unsigned": {"const": True}},
            },
        }
    )

    path: SourcePath
    """The path of the URL; a last segment `{secret}` names the one secret that applies."""
    secrets: Annotated[SecretSet | None, SecretsField()] = None
    """A list, a map of names, or `{dir: PATH}`: a directory with one file a secret."""
    unsigned: Flag = False
    """Take events without any signature: whoever reaches the path may send them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """An endpoint of ours, with its secrets read."""

    name: str
    path: str
    keyring: Keyring
    secrets: tuple[Secret, ...]
    unsigned: bool = False

    @property
    def named(self) -> bool:
        """Whether the path's last segment names the secret."""
        return self.path.endswith(f"/{SECRET_SEGMENT}")

    @property
    def prefix(self) -> str:
        """The path without that segment."""
        return self.path.removesuffix(f"/{SECRET_SEGMENT}")


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

    headers: Annotated[dict[Annotated[str, fields.HEADER], HeaderValue], MaybeEmpty()] = {}
    """Headers to add; values are taken as written."""
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


class Destination(Settings):
    """Where copies go."""

    url: DestinationUrl
    """http or https; shown without path and query, which often are secret."""
    _name: str = PrivateAttr("")

    @property
    def name(self) -> str:
        """Its name in the file."""
        return self._name

    @property
    def display(self) -> str:
        """Scheme, host and port of the URL."""
        return self.url.display

    def named(self, name: str) -> Self:
        """Give it its name, once."""
        self._name = name
        return self


class Defaults(Settings):
    """Any destination setting, merged under each of them."""

    url: DestinationUrl | None = None
    """http or https; shown without path and query, which often are secret."""


class RouteSettings(Strict):
    """A rule: which events go where."""

    match: Annotated[dict[str, Any] | None, MatchField()] = None
    """What an event must be; without it, every event but `ping`."""
    to: Annotated[tuple[Annotated[str, fields.NAME], ...], OneOrMany()]
    """A destination's name, or a list of them."""
    enabled: Flag = True
    """Whether the route is looked at."""
    _name: str = PrivateAttr("")

    @property
    def name(self) -> str:
        """Its name in the file."""
        return self._name

    def named(self, name: str) -> Self:
        """Give it its name, once."""
        self._name = name
        return self


@dataclass(frozen=True, kw_only=True)
class Config:
    """A whole configuration without faults."""

    server: Server
    store: StoreSettings
    sources: Mapping[str, Source]
    destinations: Mapping[str, Destination]
    routes: Mapping[str, RouteSettings]
    #: every known secret, for redaction
    secret_values: frozenset[str] = field(default=frozenset(), repr=False)

    @cached_property
    def table(self) -> Table:
        """The routes, compiled."""
        return Table(
            Route(
                name,
                route.to,
                None if route.match is None else compile_match(route.match),
                route.enabled,
            )
            for name, route in self.routes.items()
        )

    def masked(self) -> dict[str, Any]:
        """Routes and destinations without anything secret, safe to store and show."""
        return {
            "destinations": {
                name: _shown_destination(each) for name, each in self.destinations.items()
            },
            "routes": {
                name: {"match": self._masked(each.match), "to": [*each.to], "enabled": each.enabled}
                for name, each in self.routes.items()
            },
        }

    def _masked(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self._masked(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._masked(item) for item in value]
        if isinstance(value, str) and any(secret in value for secret in self.secret_values):
            return "***"
        return value


def _shown_destination(destination: Destination) -> dict[str, Any]:
    rate = destination.rate_limit
    return {
        "url": destination.display,
        "headers": sorted(destination.headers),
        "timeout": destination.timeout,
        "concurrency": destination.concurrency,
        "rate_limit": rate and rate.model_dump(),
        "retry": destination.retry.model_dump(mode="json"),
        "breaker": destination.breaker and destination.breaker.model_dump(),
        "sign": destination.sign and destination.sign.scheme,
        "verify": destination.tls is None or destination.tls.verify,
        "proxy": destination.proxy and destination.proxy.display,
        "paused": destination.paused,
    }
