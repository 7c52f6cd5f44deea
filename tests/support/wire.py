"""Listeners on real ports with a small intake behind them, and a client that sends raw bytes."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from circleci_relay.clock import SystemClock
from circleci_relay.config.model import Server
from circleci_relay.ingest import Door
from circleci_relay.metrics import Metrics
from circleci_relay.model import Accepted
from circleci_relay.web.api import ReloadReport
from circleci_relay.web.server import Duties, Listeners

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping, Sequence

    from multidict import CIMultiDictProxy

    from circleci_relay.clock import Clock
    from circleci_relay.web.api.endpoints import Endpoint
    from circleci_relay.web.application import Page
    from circleci_relay.web.connections import Limits
    from circleci_relay.web.hooks import Intake

PATH = "/webhooks/circleci"
STRAY = "/webhooks/named/"
ULID = "01AN4Z07BY79KA1307SR9X4MV3"
PATIENCE = 10.0
"""Seconds after which a test gives up waiting."""


class Counter:
    """An intake that keeps what it is given; `answer` says what becomes of it."""

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.deadlines: list[float] = []
        self.counted: list[tuple[str, str]] = []
        self.strays: list[tuple[str | None, bytes]] = []
        self.answer: Accepted | Exception = Accepted(event=ULID)
        self.gate: asyncio.Event | None = None  #: nothing is answered before it is set
        self.entered = asyncio.Event()

    def find(self, path: str) -> Door | None:
        """See `Ingest.find`."""
        return Door(source="circleci") if path == PATH else None

    def near(self, path: str) -> Door | None:
        """See `Ingest.near`."""
        return Door(source="circleci", group=path[len(STRAY) :]) if path.startswith(STRAY) else None

    def stray(self, door: Door, _headers: CIMultiDictProxy[str], body: bytes) -> None:
        """See `Ingest.stray`."""
        self.strays.append((door.group, body))

    async def receive(
        self, _door: Door, headers: CIMultiDictProxy[str], body: bytes, *, deadline: float
    ) -> Accepted:
        """See `Ingest.receive`."""
        self.entered.set()
        if self.gate is not None:
            await self.gate.wait()
        self.received.append(body)
        self.headers.append(dict(headers))
        self.deadlines.append(deadline)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def count(self, source: str, result: str) -> None:
        """See `Ingest.count`."""
        self.counted.append((source, result))

    def too_large(
        self, door: Door, _headers: CIMultiDictProxy[str], _start: bytes, *, size: int, detail: str
    ) -> None:
        """See `Ingest.too_large`."""
        assert size > 0
        assert detail
        self.count(door.source, "too_large")


@dataclass(kw_only=True)
class Relay:
    """The listeners under test and what stands behind them."""

    listeners: Listeners
    intake: Counter
    metrics: Metrics
    reasons: list[str] = field(default_factory=list)
    report: ReloadReport = ReloadReport(result="reloaded")  # noqa: RUF009 -- frozen

    def value(self, name: str, **labels: str) -> float:
        """Return what a series of the relay's own stands at."""
        found = self.metrics.registry.get_sample_value("circleci_relay_" + name, labels)
        assert found is not None
        return found

    async def hook(self, data: bytes, *, tls: ssl.SSLContext | None = None) -> Reply:
        """Send *data* to the hooks listener and return the first answer."""
        async with Wire(self.listeners.hooks_address, tls=tls) as wire:
            wire.send(data)
            return await wire.reply()


async def start(
    *,
    limits: Limits | None = None,
    settings: Mapping[str, Any] | None = None,
    front: Intake | None = None,
    metrics: Metrics | None = None,
    clock: Clock | None = None,
    endpoints: Sequence[Endpoint] = (),
    page: Page | None = None,
) -> Relay:
    """Start all three listeners on ports the system chooses, before *front* or a `Counter`."""
    metrics = metrics or Metrics(process=False)
    metrics.declare(sources={"circleci": ["1"]}, routes=[], destinations=[])
    intake = Counter()
    made: list[Relay] = []

    async def reload() -> ReloadReport:
        return made[0].report

    duties = Duties(
        intake=front or intake,
        metrics=metrics,
        clock=clock or SystemClock(),
        readiness=lambda: made[0].reasons,
        reload=reload,
        describe=lambda: {"digest": "abc", "config": {}, "restart_required": []},
        endpoints=endpoints,
        page=page,
    )
    ports = dict.fromkeys(("listen", "ops", "admin"), "127.0.0.1:0")
    server = Server.model_validate(ports | dict(settings or {}))
    listeners = await Listeners.open(server, duties, limits=limits)
    made.append(Relay(listeners=listeners, intake=intake, metrics=metrics))
    return made[0]


@dataclass(frozen=True, kw_only=True)
class Reply:
    """One HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)


class Wire:
    """A connection that sends what it is told and reads answers by the letter."""

    def __init__(self, address: tuple[str, int], *, tls: ssl.SSLContext | None = None) -> None:
        self._address = address
        self._tls = tls

    async def __aenter__(self) -> Self:
        host, port = self._address
        self.reader, self.writer = await asyncio.open_connection(
            host, port, ssl=self._tls, server_hostname="localhost" if self._tls else None
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.transport.abort()

    def send(self, data: bytes) -> None:
        """Send *data*, now."""
        self.writer.write(data)

    async def reply(self, *, head: bool = False) -> Reply:
        """Read one answer; *head* says that no body follows."""
        async with asyncio.timeout(PATIENCE):
            lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            pairs = [line.partition(":") for line in lines[1:] if line]
            headers = {name.lower(): value.strip() for name, _, value in pairs}
            size = 0 if head else int(headers.get("content-length", "0"))
            body = await self.reader.readexactly(size)
        return Reply(status=int(lines[0].split()[1]), headers=headers, body=body)

    async def rest(self) -> bytes:
        """Read until the other side closes."""
        async with asyncio.timeout(PATIENCE):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""


def post(body: bytes = b"{}", *, path: str = PATH, method: str = "POST", **headers: str) -> bytes:
    """Return a request; header names are written with `_` for `-`."""
    lines = [f"{method} {path} HTTP/1.1", "host: localhost", f"content-length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body
