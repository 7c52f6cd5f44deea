"""`demo`, from end to end: the real server in a process of its own, in a fresh folder."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from support.starting import PIPE, STDOUT, Process, start

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("unmeasured")

Relay = Callable[..., Awaitable[Any]]

PATIENCE = 30.0
"""Seconds the whole demo may take."""


def an_env(folder: Path) -> dict[str, str]:
    """An environment in which *folder* is the one for temporary files."""
    folder.mkdir()
    return {"TMPDIR": str(folder)}


def left(env: dict[str, str]) -> list[str]:
    """What a run left behind."""
    return [entry.name for entry in os.scandir(env["TMPDIR"])]


class Demo:
    """A demo under way, and what it has printed for people."""

    def __init__(self, process: Process) -> None:
        assert process.stdout is not None
        self.process = process
        self.text = ""
        self.verdict = b""  #: what it has printed for scripts, if they are told apart
        self._told = process.stderr or process.stdout

    async def read(self, until: str) -> re.Match[str]:
        """Read on until a line matches."""
        async with asyncio.timeout(PATIENCE):
            while line := (await self._told.readline()).decode():
                self.text += line
                if found := re.search(until, line):
                    return found
        raise AssertionError(f"{until!r} was never printed:\n{self.text}")

    async def ended(self) -> int:
        """Read on to the end; the exit code."""
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            self.text += (await self._told.read()).decode()
            self.verdict = await self.process.stdout.read()
            return await self.process.wait()


@asynccontextmanager
async def under_way(env: dict[str, str], *args: str) -> AsyncIterator[Demo]:
    """Run the demo for as long as the block lasts."""
    stderr = PIPE if "--json" in args else STDOUT
    process = await start("demo", *args, stdout=PIPE, stderr=stderr, env=env)
    try:
        yield Demo(process)
    finally:
        if process.returncode is None:
            process.terminate()  # which ends the server too
            await process.wait()


async def test_the_demo_runs_and_finds_nothing_wrong(relay: Relay, tmp_path: Path) -> None:
    """
    The relay holds its promises; with --stay one can play with it until Ctrl-C.

    Without, it ends by itself, in time. Two at once are not in each other's way. With --json
    standard output holds the verdict and nothing else. Nothing is left behind.
    """
    env, other = an_env(tmp_path / "stays"), an_env(tmp_path / "ends")

    async def to_the_end() -> Any:
        return await relay("demo", "--json", env=other)

    async with asyncio.TaskGroup() as tasks, asyncio.timeout(PATIENCE):
        alone = tasks.create_task(to_the_end())
        async with under_way(env, "--stay", "--json") as demo:
            config = (await demo.read(r"send --all -c (\S+)"))[1]
            sent = await relay("send", "ping", "-c", config)
            await demo.read("at warehouse: attempt 1, 200, delivered")
            demo.process.send_signal(signal.SIGINT)
            code = await demo.ended()
        done = await alone

    assert done.code == 0, done.out + done.err
    assert done.json["ok"] is True
    assert (sent.code, code) == (0, 0), demo.text
    verdict = json.loads(demo.verdict)
    assert verdict["ok"] is True
    assert all(finding["ok"] for finding in verdict["findings"])
    assert "main-broke sends it to chat, pager: " in demo.text
    assert "attempt 3, 200, delivered" in demo.text
    assert "attempt 1, 503, again in" in demo.text
    assert "attempt 2, timeout, dead" in demo.text
    assert "200 known already" in demo.text
    assert "401 turned away" in demo.text
    assert left(env) == left(other) == []


async def interrupted(env: dict[str, str], number: signal.Signals) -> None:
    """Run a demo, and interrupt it once its server is there."""
    async with under_way(env) as demo:
        server = int((await demo.read(r"process (\d+), listens"))[1])
        demo.process.send_signal(number)
        code = await demo.ended()

    assert code == 130, demo.text
    assert "stopped before the end" in demo.text
    assert left(env) == []
    with pytest.raises(ProcessLookupError):
        os.kill(server, 0)


async def test_nothing_is_left_when_it_is_interrupted(tmp_path: Path) -> None:
    """Ctrl-C in the middle ends the server as well, and is told by exit code 130; SIGTERM too."""
    async with asyncio.TaskGroup() as tasks:
        for number in (signal.SIGINT, signal.SIGTERM):
            tasks.create_task(interrupted(an_env(tmp_path / number.name), number))
