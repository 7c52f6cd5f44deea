"""What relay.yaml may say, and what it comes to: frozen, checked, with every default."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, PrivateAttr

from circleci_relay.config import fields, masking
from circleci_relay.config.base import Strict
from circleci_relay.config.containers import ManyOrNone, MaybeEmpty, OneOrMany, Short
from circleci_relay.config.destinations import (
    Breaker,
    ClientTLS,
    Defaults,
    Destination,
    RateLimit,
    Retry,
    Sign,
)
from circleci_relay.config.fields import FilePath, Flag, Listen, SourcePath, Token, WebUrl
from circleci_relay.config.match_field import MatchField
from circleci_relay.config.notify import Notify
from circleci_relay.config.quiet import OncePer, micros
from circleci_relay.config.secret_sets import SecretSet, SecretsField
from circleci_relay.config.store_url import store_url
from circleci_relay.config.values import SECRET_SEGMENT, Address
from circleci_relay.labels import Labels
from circleci_relay.routing import Route, Table, compile_match

if TYPE_CHECKING:
    from collections.abc import Mapping

    from circleci_relay.circleci.signature import Keyring, Secret

__all__ = [
    "AdminToken",
    "Breaker",
    "ClientTLS",
    "Config",
    "Defaults",
    "Destination",
    "Notify",
    "RateLimit",
    "Rejects",
    "Retry",
    "RouteSettings",
    "Server",
    "ServerTLS",
    "Shutdown",
    "Sign",
    "Source",
    "SourceSettings",
    "StoreSettings",
]


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
    flush: Annotated[float, fields.duration(0, 3600, "0s to 1h")] = 0.0
    """
    After that take none, and deliver what is pending, for at most so long: in SQLite also what
    is held or gathers. Where other replicas go on, leave it at 0s.
    """
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
    admin_tokens: Annotated[dict[Annotated[str, fields.NAME], AdminToken], MaybeEmpty()] = {}  # noqa: RUF012 - copied
    """Tokens by name; needed wherever `admin` is not loopback."""
    external_url: WebUrl | None = None
    """Where people reach the page; for links in messages."""
    admin_hosts: Annotated[tuple[fields.HostName, ...], ManyOrNone()] = ()
    """Further names, without a port, by which `admin` is asked for: of a Service, say."""
    max_body: Annotated[int, fields.size(1 << 10, 64 << 20, "1KiB to 64MiB")] = 1 << 20
    """The largest webhook that is taken."""
    shutdown: Annotated[Shutdown, MaybeEmpty()] = Shutdown()
    """How the relay stops."""
    tls: ServerTLS | None = None
    """Serve `listen` over TLS."""


class StoreSettings(Strict):
    """Where events and deliveries are kept."""

    url: Annotated[str, store_url(), Field(repr=False)] = "sqlite:///relay.db"
    """`sqlite:///PATH`; a relative path begins where this file stands. Or, for several
    replicas, `postgresql://USER:PASSWORD@HOST/DATABASE`, with libpq's options behind `?`."""
    keep: Annotated[float, fields.duration(60, 3650 * 86400, "1m to 3650d")] = 14 * 86400.0
    """How long events and their log are kept; also the deduplication window."""


class Rejects(Strict):
    """What a source turned away, kept to be looked at and to be taken in after all."""

    keep: Annotated[float, fields.duration(60, 90 * 86400, "1m to 90d")] = 86400.0
    """How long each is kept."""
    max: Annotated[int, fields.integer(0, 100_000)] = 1000
    """How many are kept, the newest ones; 0 for none."""
    max_body: Annotated[int, fields.size(0, 1 << 20, "0B to 1MiB")] = 64 << 10
    """The largest body that is kept with them; 0B for none."""


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
    rejects: Annotated[Rejects, MaybeEmpty()] = Rejects()
    """What was turned away, kept for a while."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """An endpoint of ours, with its secrets read."""

    name: str
    path: str
    keyring: Keyring
    secrets: tuple[Secret, ...]
    unsigned: bool = False
    rejects: Rejects = field(default_factory=Rejects)

    @property
    def named(self) -> bool:
        """Whether the path's last segment names the secret."""
        return self.path.endswith(f"/{SECRET_SEGMENT}")

    @property
    def prefix(self) -> str:
        """The path without that segment."""
        return self.path.removesuffix(f"/{SECRET_SEGMENT}")


class RouteSettings(Strict):
    """A rule: which events go where."""

    match: Annotated[dict[str, Any] | None, MatchField()] = None
    """What an event must be; without it, every event but `ping`."""
    to: Annotated[tuple[Annotated[str, fields.NAME], ...], OneOrMany()]
    """A destination's name, or a list of them."""
    hold: Annotated[float, fields.duration(1, 86400, "1s to 24h")] | None = None
    """Wait so long before telling, and tell nothing if the line turns good meanwhile."""
    once_per: Annotated[OncePer, Short("by")] | None = None
    """`workflow`: only the last of a workflow's events is told, after a quiet while."""
    otherwise: Flag = False
    """Take only events that no route without it took."""
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
    notify: Notify | None = None
    #: labels by project, whose patterns stand as under `match.project`
    projects: Mapping[str, Mapping[str, str]] = field(default_factory=dict, repr=False)
    #: every known secret, for redaction
    secret_values: frozenset[str] = field(default=frozenset(), repr=False)

    @cached_property
    def table(self) -> Table:
        """The routes, compiled, and how quietly destinations want to be told."""
        told = self.destinations.items()
        return Table(
            [_compiled(route) for route in self.routes.values()],
            once={n: micros(each.once_per.wait) for n, each in told if each.once_per is not None},
            groups={n: each.group.compiled() for n, each in told if each.group is not None},
            labels=Labels(self.projects, self._secret_labels()),
        )

    def _secret_labels(self) -> frozenset[str]:
        """The names of labels that hold a secret for any project."""
        return frozenset(
            name
            for labels in self.projects.values()
            for name, text in labels.items()
            if any(secret in text for secret in self.secret_values)
        )

    def masked(self) -> dict[str, Any]:
        """Routes and destinations without anything secret, safe to store and show."""
        return masking.masked(self)


def _compiled(route: RouteSettings) -> Route:
    return Route(
        route.name,
        route.to,
        None if route.match is None else compile_match(route.match),
        enabled=route.enabled,
        otherwise=route.otherwise,
        hold=micros(route.hold or 0),
        once=None if route.once_per is None else micros(route.once_per.wait),
    )
