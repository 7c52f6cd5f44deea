"""The real program as a process of its own, and CircleCI as a client."""

from __future__ import annotations

import asyncio
import json
import signal
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiohttp
import yaml

from circleci_relay.circleci import signature
from support.starting import Process, start

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "fanout-test-secret"
HOOKS = "/webhooks/circleci"
PATIENCE = 60.0
"""Seconds after which a test gives up waiting; on an idle machine nothing here takes two."""

Line = Mapping[str, Any]


@dataclass(eq=False)
class Program:
    """`circleci-relay serve` under way: its addresses, and what it logged."""

    process: Process
    lines: list[Line] = field(default_factory=list)
    raw: list[str] = field(default_factory=list)
    written: asyncio.Condition = field(default_factory=asyncio.Condition)
    reading: asyncio.Task[None] | None = None
    _by_event: defaultdict[str, list[Line]] = field(default_factory=lambda: defaultdict(list))

    @classmethod
    async def start(
        cls,
        config: Path | str,
        *options: str,
        env: Mapping[str, str] | None = None,
        afresh: bool = False,
    ) -> Program:
        """Start it on the file *config* without waiting until it is ready; see `start`."""
        process = await start(
            *("serve", "-c", str(config), "--log-format", "json", "--log-level", "debug"),
            *options,
            env=env,
            limit=1 << 24,
            afresh=afresh,
        )
        program = cls(process)
        program.reading = asyncio.create_task(program._read())
        return program

    async def _read(self) -> None:
        stderr = self.process.stderr
        assert stderr is not None
        while raw := await stderr.readline():
            async with self.written:
                self.raw.append(raw.decode())
                with suppress(ValueError):
                    line = json.loads(raw)
                    self.lines.append(line)
                    self._by_event[line.get("event", "")].append(line)
                self.written.notify_all()
        await self.process.wait()
        async with self.written:
            self.written.notify_all()

    def logged(self, event: str, **values: Any) -> list[Line]:
        """Return the lines so far that say *event* with these *values*."""
        lines = self._by_event.get(event, [])
        return [line for line in lines if values.items() <= dict(line).items()]

    async def log(self, event: str, count: int = 1, **values: Any) -> list[Line]:
        """Return *count* lines that say *event* with these *values*, once they are there."""
        async with asyncio.timeout(PATIENCE), self.written:
            await self.written.wait_for(
                lambda: (
                    len(self.logged(event, **values)) >= count
                    or self.process.returncode is not None
                )
            )
        found = self.logged(event, **values)
        assert len(found) >= count, "".join(self.raw[-20:])
        return found

    async def moment(self) -> None:
        """Let a twentieth of a second pass, or until it writes: then to be asked once more."""
        with suppress(TimeoutError):
            async with asyncio.timeout(0.05), self.written:
                await self.written.wait()

    async def ready(self) -> Program:
        """Wait until it takes hooks in."""
        await self.log("started")
        return self

    def url(self, listener: str, path: str = "") -> str:
        """Return the URL of *path* at `listen`, `ops` or `admin`."""
        return f"http://{self.logged('started')[-1][listener]}{path}"

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    async def ended(self) -> int:
        """Return its exit status once it has ended."""
        async with asyncio.timeout(PATIENCE):
            status = await self.process.wait()
            assert self.reading is not None
            await self.reading
        return status

    async def stop(self) -> int:
        """End it as Kubernetes does."""
        if self.process.returncode is None:
            self.signal(signal.SIGTERM)
        return await self.ended()

    async def kill(self) -> None:
        """End it at once, as a power cut would."""
        if self.process.returncode is None:
            self.process.kill()
        await self.ended()


@asynccontextmanager
async def running(
    config: Path | str, *options: str, env: Mapping[str, str] | None = None
) -> AsyncIterator[Program]:
    """Run the program for as long as the block lasts."""
    program = await Program.start(config, *options, env=env)
    try:
        yield await program.ready()
    finally:
        await program.kill()


def write_config(folder: Path, **sections: Any) -> Path:
    """Write a relay.yaml with ports of its own and one source, changed by *sections*."""
    config: dict[str, Any] = {
        "server": {
            "listen": "127.0.0.1:0",
            "ops": "127.0.0.1:0",
            "admin": "127.0.0.1:0",
            "shutdown": {"linger": "0s", "drain": "5s"},
        },
        "store": {"url": f"sqlite:///{folder / 'relay.db'}"},
        "sources": {"circleci": {"path": HOOKS, "secrets": [SECRET]}},
    }
    for name, section in sections.items():
        merged = config.get(name, {}) | section if isinstance(section, dict) else section
        config[name] = merged
    path = folder / "relay.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return path


def an_event(number: int = 1, **changes: Any) -> bytes:
    """Return a small workflow-completed body with an id of its own."""
    event = {
        "type": "workflow-completed",
        "id": f"00000000-0000-3000-8000-{number:012}",
        "happened_at": "2026-03-02T09:15:44.931204Z",
        "webhook": {"id": "w", "name": "relay"},
        "workflow": {"id": "f", "name": "build", "status": "success"},
        "pipeline": {"id": "p", "number": 412, "vcs": {"branch": "main"}},
        "project": {"id": "r", "name": "launchpad", "slug": "github/acme/launchpad"},
        "organization": {"id": "o", "name": "acme"},
    }
    return json.dumps(event | changes, separators=(",", ":")).encode()


@dataclass
class CircleCI:
    """Posts signed events as CircleCI does."""

    session: aiohttp.ClientSession
    url: str
    secret: str = SECRET

    async def post(self, body: bytes, *, secret: str | None = None) -> tuple[int, dict[str, Any]]:
        """Post *body* and return the status and the answer."""
        headers = {
            "content-type": "application/json",
            "user-agent": "CircleCI-Webhook/1.0",
            "circleci-event-type": "workflow-completed",
            "circleci-signature": signature.sign(body, (secret or self.secret).encode()),
        }
        async with self.session.post(self.url, data=body, headers=headers) as response:
            return response.status, await response.json()


@asynccontextmanager
async def circleci(program: Program, path: str = HOOKS) -> AsyncIterator[CircleCI]:
    """Return CircleCI, pointed at *program*."""
    async with aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=PATIENCE),
        connector=aiohttp.TCPConnector(limit=200),
    ) as session:
        yield CircleCI(session, program.url("listen", path))


async def series(program: Program) -> Callable[..., float]:
    """Return what `/metrics` says now: a function of a series' name and labels."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(program.url("ops", "/metrics")) as response,
    ):
        text = await response.text()

    def value(name: str, **labels: str) -> float:
        wanted = {f'{key}="{text}"' for key, text in labels.items()}
        total = 0.0
        for line in text.splitlines():
            head, _, number = line.rpartition(" ")
            family, _, rest = head.partition("{")
            if family == f"circleci_relay_{name}" and wanted <= set(rest.rstrip("}").split(",")):
                total += float(number)
        return total

    return value
