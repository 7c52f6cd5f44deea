"""The command line as its users meet it: a process, its output, its exit code."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from support.starting import DEVNULL, PIPE, Process, start

if TYPE_CHECKING:
    from pathlib import Path

PATIENCE = 30.0
"""Seconds after which a test gives up on a process; nothing here should take as long."""


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not measure the coverage of what is started here: that takes a third of its time."""
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)


SECRET = "fanout-test-secret"

RELAY_YAML = """\
sources:
  circleci:
    path: /webhooks/circleci
    secrets: ["${env:HOOK_SECRET}"]
destinations:
  slack:
    url: http://127.0.0.1:9/slack
  warehouse:
    url: http://127.0.0.1:9/ingest
routes:
  everything:
    to: warehouse
  main-is-red:
    match:
      type: workflow-completed
      status: [failed, error]
      branch: main
    to: slack
  main-broke:
    match: {change: broken}
    to: slack
"""


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output, read as JSON."""
        return json.loads(self.out)


Relay = Callable[..., Awaitable[Done]]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A relay.yaml of one source, two destinations, three routes, and an unset variable."""
    path = tmp_path / "relay.yaml"
    path.write_text(RELAY_YAML)
    return path


@pytest.fixture
def relay(tmp_path: Path) -> Relay:
    """Runs `circleci-relay` with the given arguments until it ends."""

    async def run(*args: str, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> Done:
        process = await start(*args, stdin=PIPE, stdout=PIPE, stderr=PIPE, cwd=tmp_path, env=env)
        try:
            async with asyncio.timeout(PATIENCE):
                out, err = await process.communicate(stdin)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert process.returncode is not None
        assert b"Traceback" not in err, err.decode()
        return Done(process.returncode, out.decode(), err.decode())

    return run


@dataclass
class Sink:
    """A running `circleci-relay sink --json`."""

    url: str
    process: Process

    async def next(self) -> dict[str, Any]:
        """The next arrival it tells of."""
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            line: dict[str, Any] = json.loads(await self.process.stdout.readline())
        return line

    async def stop(self) -> int:
        """End it as Ctrl-C would; its exit code."""
        self.process.terminate()
        async with asyncio.timeout(PATIENCE):
            return await self.process.wait()


@asynccontextmanager
async def sink(*args: str) -> AsyncIterator[Sink]:
    """Run a sink on a free port for as long as the block lasts."""
    process = await start(
        *("sink", "--listen", "127.0.0.1:0", "--json", *args),
        stdout=PIPE,
        stderr=DEVNULL,
        env={"HOOK_SECRET": SECRET},
    )
    try:
        running = Sink("", process)
        running.url = (await running.next())["listening"]
        yield running
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.fixture
def a_sink() -> Callable[..., Any]:
    """Starts sinks; see `sink`."""
    return sink
