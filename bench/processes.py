"""The processes of a run: started, watched, measured and ended, never anyone else's."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import sys
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

GRACE = 30.0  #: seconds a process has to end after SIGTERM
START = 20.0  #: seconds a process has to be ready
ROOT = Path(__file__).resolve().parent.parent
PROC = Path("/proc")
OURS = (16_384, 32_768)  #: below the ports that Linux gives to those who ask for none
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
    status = (PROC / str(process.pid) / "status").read_text()
    peak = status.partition("VmHWM:")[2].split()[0]
    return Usage(cpu=_cpu(process.pid), peak=int(peak) * 1024)


def _cpu(pid: int) -> float:
    # The clock that clock_getcpuclockid(3) would name: to the nanosecond, /proc has 10 ms.
    return time.clock_gettime((~pid << 3) | 2)


def _fields(pid: int) -> list[int]:
    # The name in brackets may hold spaces; after it come field 3, a letter, and on (proc(5)).
    fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return [0, *map(int, fields[1:])]


def _parent(pid: int) -> int:
    return _fields(pid)[1]


def family(pid: int) -> float:
    """Seconds of processor time of *pid* and its children, those that ended included."""
    total = _cpu(pid) + sum(_fields(pid)[13:15]) / TICKS
    for place in PROC.iterdir():
        if place.name.isdecimal():
            with suppress(OSError):  # one may end just now
                if _parent(int(place.name)) == pid:
                    total += _cpu(int(place.name))
    return total


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
    """Ports of 127.0.0.1 that nobody has at the moment, nor will a connection be given one."""
    ports: list[int] = []
    while len(ports) < count:
        port = random.randrange(*OURS)  # noqa: S311 - no secret
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            if port not in ports:
                ports.append(port)
    return ports


async def ready(process: asyncio.subprocess.Process, port: int, path: str, *, log: Path) -> None:
    """Return once the *process* answers *path* with anything but a 5xx."""
    deadline = asyncio.get_running_loop().time() + START
    while asyncio.get_running_loop().time() < deadline:
        if process.returncode is not None:
            raise BenchError(f"ended with status {process.returncode}\n{tail(log)}")
        if await _answers(port, path):
            return
        await asyncio.sleep(0.005)
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
