"""Starting `circleci-relay` as a process: afresh, or forked where its modules are there already."""

from __future__ import annotations

import asyncio
import atexit
import functools
import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from support import forked
from support.faults import FULL

if TYPE_CHECKING:
    from collections.abc import Mapping

PIPE, DEVNULL, STDOUT = subprocess.PIPE, subprocess.DEVNULL, subprocess.STDOUT

SETS_UP_PYTHON = ("COVERAGE_", "LANG", "LC_", "LD_", "PYTHON")
"""What an interpreter looks at only when it starts."""


@dataclass(eq=False)
class Forked:
    """What of `asyncio.subprocess.Process` is used, for a process that another one began."""

    pid: int
    stdin: asyncio.StreamWriter | None
    stdout: asyncio.StreamReader | None
    stderr: asyncio.StreamReader | None
    _told: asyncio.StreamReader
    _end: asyncio.Task[int] | None = None
    returncode: int | None = None

    async def _ended(self) -> int:
        said = await self._told.read()
        self.returncode = int(said or -signal.SIGKILL)
        return self.returncode

    async def wait(self) -> int:
        """Return its exit status once it has ended."""
        assert self._end is not None
        return await asyncio.shield(self._end)

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.returncode is None:
            with suppress(ProcessLookupError):  # it has, and we are about to be told
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send it SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)

    async def communicate(self, text: bytes = b"") -> tuple[bytes, bytes]:
        """Write all of *text* to it, read all it writes, wait until it has ended."""
        if self.stdin is not None:
            self.stdin.write(text)
            self.stdin.close()
        out, err, _ = await asyncio.gather(_all(self.stdout), _all(self.stderr), self.wait())
        return out, err


async def _all(stream: asyncio.StreamReader | None) -> bytes:
    return b"" if stream is None else await stream.read()


Process = asyncio.subprocess.Process | Forked


async def start(
    *args: str,
    stdin: int = DEVNULL,
    stdout: int = DEVNULL,
    stderr: int = PIPE,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    limit: int = 1 << 16,
    afresh: bool = False,
    file: Path | None = None,
) -> Process:
    """
    Start `circleci-relay` with *args*; *afresh*: with an interpreter of its own for sure.

    Or a *file* in place of it.
    """
    program = ("-m", "circleci_relay") if file is None else (str(file),)
    # Compiled once for all, even where nothing else is: starting takes half the time.
    whole = {**os.environ, "PYTHONDONTWRITEBYTECODE": "", **(env or {})}
    if afresh or FULL or not _may_be_forked(whole):
        return await asyncio.create_subprocess_exec(
            *(sys.executable, *program, *args),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env=whole,
            cwd=cwd,
            limit=limit,
        )
    ours: list[int | None] = []
    theirs: list[int] = []
    for place, what in enumerate((stdin, stdout, stderr, PIPE)):
        mine: int | None = None
        if what == PIPE:
            reading, writing = os.pipe()
            mine, other = (writing, reading) if place == 0 else (reading, writing)
        else:
            other = os.dup(theirs[1]) if what == STDOUT else os.open(os.devnull, os.O_RDWR)
        ours.append(mine)
        theirs.append(other)
    request = {"args": args, "env": whole, "cwd": str(cwd or Path.cwd()), "file": str(file or "")}
    socket.send_fds(_forking().requests, [json.dumps(request).encode()], theirs)
    for other in theirs:
        os.close(other)
    told = await _reader(ours[3], limit)
    assert told is not None
    pid = await told.readline()
    if not pid:
        raise RuntimeError(f"nothing could be forked: {_forking().close()}")
    process = Forked(
        pid=int(pid),
        stdin=await _writer(ours[0]),
        stdout=await _reader(ours[1], limit),
        stderr=await _reader(ours[2], limit),
        _told=told,
    )
    process._end = asyncio.create_task(process._ended())
    return process


def _may_be_forked(env: Mapping[str, str]) -> bool:
    """Whether an interpreter that started with *env* would be like the one that is there."""
    if sys.platform != "linux" or "COVERAGE_PROCESS_CONFIG" in env:
        return False

    def kept(of: Mapping[str, str]) -> dict[str, str]:
        return {name: of[name] for name in of if name.startswith(SETS_UP_PYTHON) and of[name]}

    return kept(env) == kept({**os.environ, "PYTHONDONTWRITEBYTECODE": ""})


async def _reader(file: int | None, limit: int) -> asyncio.StreamReader | None:
    if file is None:
        return None
    reader = asyncio.StreamReader(limit=limit)
    protocol = asyncio.StreamReaderProtocol(reader)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, os.fdopen(file, "rb", 0))
    return reader


async def _writer(file: int | None) -> asyncio.StreamWriter | None:
    if file is None:
        return None
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.connect_write_pipe(
        lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader()), os.fdopen(file, "wb", 0)
    )
    return asyncio.StreamWriter(transport, protocol, None, loop)


class Forking:
    """The process that forks; it ends when ours does."""

    def __init__(self) -> None:
        self.requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        buffer = (socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * forked.LONGEST)
        self.requests.setsockopt(*buffer)
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - our own file
                [sys.executable, "-P", forked.__file__, str(theirs.fileno())],
                # Not files: the streams that are made of them would keep that in mind.
                stdin=PIPE,
                stdout=PIPE,
                stderr=PIPE,
                env={**os.environ, "PYTHONDONTWRITEBYTECODE": ""},
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        atexit.register(self.close)

    def close(self) -> str:
        """Let it end; what it complained of."""
        atexit.unregister(self.close)
        self.requests.close()
        return self._process.communicate()[1].decode()


@functools.cache
def _forking() -> Forking:
    return Forking()
