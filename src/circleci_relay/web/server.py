"""The listeners: built and bound together, stopped one after the other."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import socket
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from aiohttp import web

from circleci_relay.errors import StartupError
from circleci_relay.web.access import Access
from circleci_relay.web.api.configuration import config_endpoints
from circleci_relay.web.application import Page, application
from circleci_relay.web.certificate import Certificate
from circleci_relay.web.connections import Connections, Limits
from circleci_relay.web.gate import Gate
from circleci_relay.web.hooks import Hooks, Intake
from circleci_relay.web.ops import Ops, Readiness
from circleci_relay.web.record import Record, unrecorded

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence
    from typing import Self

    from circleci_relay.clock import Clock
    from circleci_relay.config.model import Server
    from circleci_relay.config.values import Address
    from circleci_relay.metrics import Metrics
    from circleci_relay.web.api import Describe, Reload
    from circleci_relay.web.api.endpoints import Endpoint
    from circleci_relay.web.connections import Handler

BACKLOG = 1024
"""Connections the kernel may hold before they are accepted; the system may cap it lower."""

LAST_WORDS = 1.0
"""Seconds a probe, scrape or API call under way is given at the very end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Duties:
    """What the listeners call."""

    intake: Intake
    metrics: Metrics
    clock: Clock
    readiness: Readiness
    reload: Reload
    describe: Describe
    endpoints: Sequence[Endpoint] = ()  #: of the API, beside the configuration's
    page: Page | None = None
    record: Record = unrecorded


class Listener:
    """One bound port and its clients."""

    def __init__(self, connections: Connections, server: asyncio.Server) -> None:
        self._connections = connections
        self._server = server
        # Kept: a closed server no longer tells. IPv4 where there are both: where the system
        # chooses the port, each has another.
        names = [each.getsockname() for each in sorted(server.sockets, key=lambda s: s.family)]
        self.address: tuple[str, int] = names[0][:2]

    @classmethod
    async def bind(
        cls,
        key: str,
        address: Address,
        connections: Connections,
        *,
        tls: ssl.SSLContext | None = None,
    ) -> Self:
        """Listen at *address*; *key* names it in the one line that says why that failed."""
        loop = asyncio.get_running_loop()
        host = address.host or None
        try:
            server = await loop.create_server(
                connections,
                host,
                address.port,
                backlog=BACKLOG,
                ssl=tls,
                ssl_handshake_timeout=None if tls is None else connections.limits.head,
                ssl_shutdown_timeout=None if tls is None else LAST_WORDS,
            )
        except OSError as fault:
            raise StartupError(_why(key, address, fault)) from None
        return cls(connections, server)

    async def close(self, timeout: float) -> None:  # noqa: ASYNC109 -- then they are dropped
        """Take no more connections, answer what is under way for up to *timeout* s."""
        self._server.close()
        await self._connections.drain(timeout)
        await self._server.wait_closed()


class Listeners:
    """
    The hooks, ops and admin listeners.

    `open` binds all of them or none. `close_hooks` ends the first alone, so that probes see
    the readiness turn false and metrics can be scraped until `close` ends the others.
    """

    def __init__(self, settings: Server, duties: Duties, limits: Limits) -> None:
        self._settings = settings
        self._limits = limits
        self._duties = duties
        self._hooks = Hooks(
            duties.intake,
            max_body=settings.max_body,
            limits=limits,
            metrics=duties.metrics,
            clock=duties.clock,
        )
        access = _access(settings, settings.admin)
        self._gate = Gate(access, clock=duties.clock, record=duties.record)
        own = config_endpoints(describe=duties.describe, reload=duties.reload, record=duties.record)
        admin = application([*own, *duties.endpoints], gate=self._gate, page=duties.page)
        self._certificate: Certificate | None = None
        self._runner = web.AppRunner(admin, access_log=None)
        self._bound: dict[str, Listener] = {}

    @classmethod
    async def open(cls, settings: Server, duties: Duties, *, limits: Limits | None = None) -> Self:
        """Bind and start to serve; raise `StartupError` if any of it fails."""
        listeners = cls(settings, duties, limits or _affordable(Limits()))
        try:
            await listeners._bind()
        except BaseException:
            await listeners.close()
            raise
        return listeners

    @property
    def hooks_address(self) -> tuple[str, int]:
        """Where hooks are taken: host and port, the port real even if 0 was asked for."""
        return self._bound["listen"].address

    @property
    def ops_address(self) -> tuple[str, int]:
        """Where probes and Prometheus are answered."""
        return self._bound["ops"].address

    @property
    def admin_address(self) -> tuple[str, int]:
        """Where the API is."""
        return self._bound["admin"].address

    async def configure(self, settings: Server) -> None:
        """
        Go on under *settings*: limits, tokens, certificate; addresses need a restart.

        Raises `StartupError`, with nothing changed, if the certificate does not load.
        """
        if self._certificate is not None and settings.tls is not None:
            await self._certificate.renew(settings.tls)
        self._hooks.max_body = settings.max_body
        self._gate.access = _access(settings, self._settings.admin)

    async def close_hooks(self, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """Take no more hooks; those under way are answered, for up to *timeout* s."""
        listener = self._bound.get("listen")
        if listener is not None and not self._hooks.closing:
            self._hooks.closing = True
            await listener.close(self._limits.answer if timeout is None else timeout)

    async def close(self) -> None:
        """End whatever still listens."""
        await self.close_hooks()
        for key in ("admin", "ops"):
            listener = self._bound.get(key)
            if listener is not None:
                await listener.close(LAST_WORDS)
        await self._runner.cleanup()

    async def _bind(self) -> None:
        if self._settings.tls is not None:
            self._certificate = await Certificate.load(self._settings.tls)
        tls = None if self._certificate is None else self._certificate.context
        ops = Ops(metrics=self._duties.metrics, readiness=self._duties.readiness)
        await self._runner.setup()
        admin = self._runner.server
        if admin is None:
            raise StartupError("the admin API could not be built")
        # Hooks last: whoever can post finds everything else at work.
        await self._listen("ops", self._settings.ops, ops.handle)
        await self._listen("admin", self._settings.admin, admin.request_handler, admin)
        await self._listen("listen", self._settings.listen, self._hooks.handle, tls=tls)

    async def _listen(
        self,
        key: str,
        address: Address,
        handler: Handler,
        made_by: web.Server | None = None,
        *,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        limits = self._limits
        if key != "listen":
            # A crowd at the door must not keep probes out, nor the other way round.
            limits = replace(limits, connections=max(16, limits.connections // 10))
        connections = Connections(
            handler,
            limits=limits,
            refused=self._duties.metrics.refused if key == "listen" else _uncounted,
            request_factory=None if made_by is None else made_by.request_factory,
        )
        self._bound[key] = await Listener.bind(f"server.{key}", address, connections, tls=tls)


def _access(settings: Server, listen: Address) -> Access:
    return Access(
        listen=listen,
        tokens={
            name: (entry.token.get_secret_value(), entry.role)
            for name, entry in settings.admin_tokens.items()
        },
        external_url=settings.external_url,
        hosts=settings.admin_hosts,
    )


def _uncounted(_reason: str) -> None:
    """Take no note: the series is about the hooks port."""


def _affordable(limits: Limits) -> Limits:
    """Return *limits* with no more connections than half the files this process may open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return limits
    return replace(limits, connections=max(16, min(limits.connections, soft // 2)))


def _why(key: str, address: Address, fault: OSError) -> str:
    where = f"{key}: {address}"
    if isinstance(fault, socket.gaierror):
        return f"{where}: the host cannot be resolved"
    if fault.errno == errno.EADDRINUSE:
        return f"{where} is already in use; stop what listens there or choose another port"
    if fault.errno in {errno.EADDRNOTAVAIL, None}:
        # None: asyncio of Python 3.12 and later, when none of the host's addresses is ours.
        return f"{where}: this machine does not have that address"
    if fault.errno == errno.EACCES:
        return f"{where}: no permission; ports below 1024 may need it, choose a higher one"
    return f"{where}: cannot listen there ({os.strerror(fault.errno or 0)})"
