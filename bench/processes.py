"""The processes of a run: started, watched, measured and ended, never anyone else's."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

GRACE = 30.0  #: seconds a process has to end after SIGTERM
START = 20.0  #: seconds a process has to be ready
ROOT = Path(__file__).resolve().parent.parent
TICKS = os.sysconf("SC_CLK_TCK")


class BenchError(Exception):
    """The run says nothing: a process did not start, or ended too early."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a process has used so far, by /proc."""

    cpu: float  #: seconds, user and system, all threads
    peak: int  #: bytes of resident memory at the highest


def usage(process: asyncio.subprocess.Process) -> Usage:
    """Read the kernel's account of the *process*; BenchError where it runs no more."""
    if process.returncode is not None:
        raise BenchError(f"ended with status {process.returncode}")
    place = Path("/proc") / str(process.pid)
    # The name in brackets may hold spaces; after it come field 3 and on (proc(5)).
    fields = (place / "stat").read_text().rpartition(")")[2].split()
    status = (place / "status").read_text()
    peak = status.partition("VmHWM:")[2].split()[0]
    return Usage(cpu=(int(fields[11]) + int(fields[12])) / TICKS, peak=int(peak) * 1024)


@asynccontextmanager
async def python(*arguments: str, log: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run this Python with *arguments*, its errors in *log*; ended when the block is left."""
    with log.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *arguments,
            cwd=ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
        )
    try:
        yield process
    finally:
        await end(process)


async def end(process: asyncio.subprocess.Process) -> int:
    """Ask the *process* to stop, insist after `GRACE`, and return its status."""
    if process.returncode is None:
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), GRACE)
        except TimeoutError:
            process.kill()
    return await process.wait()


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody has at the moment."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


async def ready(process: asyncio.subprocess.Process, port: int, path: str, *, log: Path) -> None:
    """Return once the *process* answers *path* with anything but a 5xx."""
    deadline = asyncio.get_running_loop().time() + START
    while asyncio.get_running_loop().time() < deadline:
        if process.returncode is not None:
            raise BenchError(f"ended with status {process.returncode}\n{tail(log)}")
        if await _answers(port, path):
            return
        await asyncio.sleep(0.02)
    raise BenchError(f"not ready within {START:.0f} s\n{tail(log)}")


async def _answers(port: int, path: str) -> bool:
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    try:
        writer.write(
            f"GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".encode()
        )
        answer = await reader.readline()
    except OSError:
        return False
    finally:
        writer.close()
    return answer.startswith(b"HTTP/1.1 ") and not answer.startswith(b"HTTP/1.1 5")


def tail(log: Path, lines: int = 10) -> str:
    """The last *lines* of *log*, indented."""
    last: Sequence[str] = log.read_text(errors="replace").splitlines()[-lines:]
    return "\n".join(f"  {line}" for line in last)


def file_system(place: Path) -> str:
    """The kind of file system under *place*, by /proc/mounts."""
    best, kind = "", "unknown"
    for line in Path("/proc/mounts").read_text().splitlines():
        _, mount, what, *_ = line.split()
        if place.is_relative_to(mount) and len(mount) >= len(best):
            best, kind = mount, what
    return kind
