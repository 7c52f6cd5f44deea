"""The demo's relay: the real program, in a process of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Self

import aiohttp

from circleci_relay.errors import StartupError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

START = 15.0
"""Seconds the server may take until it is ready."""

STOP = 8.0
"""Seconds it may take to stop in good order, before it is killed."""


def free_ports(*names: str) -> dict[str, int]:
    """A port for each name that nothing listens on just now."""
    with ExitStack() as stack:
        ports = {}
        for name in names:
            taken = stack.enter_context(socket.socket())
            taken.bind(("127.0.0.1", 0))
            ports[name] = int(taken.getsockname()[1])
        return ports


class Server:
    """
    `circleci-relay serve` on *config*; *heard* is called with each line of its log.

    Entering waits until it is ready; leaving stops it, by its own process id.
    """

    def __init__(self, config: Path, ops: str, heard: Callable[[str], None]) -> None:
        self._config = config
        self._ops = ops
        self._heard = heard
        self.pid = 0

    async def __aenter__(self) -> Self:
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("CIRCLECI_RELAY_")
        }
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "circleci_relay", "serve", "-c", str(self._config)),
            *("--log-format", "json", "--log-level", "debug"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            limit=2**20,
            env=environment,
            start_new_session=True,  # Ctrl-C is for the demo, which then stops the server
        )
        self.pid = self._process.pid
        self._listening = asyncio.create_task(self._listen())
        try:
            async with asyncio.timeout(START):
                await self._ready()
        except BaseException as error:
            await self.stop()
            if isinstance(error, TimeoutError):
                raise StartupError(f"the server was not ready within {START:g} s") from None
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def stop(self) -> int:
        """Ask it to stop, insist if need be; its exit code. Again is no harm."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(STOP):
                    await self._process.wait()
            except BaseException as error:
                with suppress(ProcessLookupError):
                    self._process.kill()
                await self._process.wait()
                if not isinstance(error, TimeoutError):
                    raise
        await self._listening
        return await self._process.wait()

    async def gone(self) -> int:
        """Wait until it ends by itself; its exit code."""
        return await self._process.wait()

    async def metrics(self) -> str:
        """What it serves at /metrics."""
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session,
            session.get(f"{self._ops}/metrics") as response,
        ):
            return await response.text()

    async def _listen(self) -> None:
        assert self._process.stderr is not None  # noqa: S101 - for the type checker
        async for line in self._process.stderr:
            self._heard(line.decode(errors="replace").rstrip("\n"))

    async def _ready(self) -> None:
        timeout = aiohttp.ClientTimeout(total=1)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while self._process.returncode is None:
                with suppress(aiohttp.ClientError, TimeoutError):
                    async with session.get(f"{self._ops}/readyz") as response:
                        if response.ok:
                            return
                await asyncio.sleep(0.05)
        raise StartupError(f"the server ended at once, with code {self._process.returncode}")
