"""
Destinations that answer as no destination should, in a process of their own.

`python -m support.hostile` binds them all, prints their ports as one line of JSON, and ends
with its standard input. A process of its own, so that a flood costs the test's clock nothing.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import ssl
import struct
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import trustme

from circleci_relay.model import Result

if TYPE_CHECKING:
    from support.program import Program

Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

BLOCK = b"x" * 65_536
NEVER = asyncio.Event()
DRIP = 1.0
"""Seconds between two bytes of what drips."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One way to be hostile, and what the relay's rules make of it."""

    result: Result
    behaviour: Behaviour
    delivered: bool = False
    scheme: str = "http"


async def asked(reader: asyncio.StreamReader) -> bool:
    """Read one request; say whether there was one."""
    length = 0
    while (line := await reader.readline()) not in {b"", b"\r\n"}:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    await reader.readexactly(length)
    return bool(line)


def says(*parts: bytes, reset: bool = False, ends: bool = True) -> Behaviour:
    """Answer each request with *parts*, then hang up, rudely if *reset*, or go silent."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not await asked(reader):
            return
        for part in parts:
            writer.write(part)
            await writer.drain()
        if reset:
            hang_up(writer)
        elif not ends:
            await reader.read()

    return behave


def hang_up(writer: asyncio.StreamWriter) -> None:
    """Close with a reset."""
    linger = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()


def repeats(first: bytes, then: bytes) -> Behaviour:
    """Answer *first*, and then *then* for as long as anyone takes it."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await asked(reader):
            writer.write(first)
            while not writer.is_closing():
                writer.write(then)
                await writer.drain()

    return behave


def drips(first: bytes, then: bytes) -> Behaviour:
    """Answer *first*, and then one byte of *then* a second."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not await asked(reader):
            return
        writer.write(first)
        for byte in then:
            writer.write(bytes([byte]))
            await writer.drain()
            with suppress(TimeoutError):
                await asyncio.wait_for(reader.read(), DRIP)
                return

    return behave


async def hang_up_at_once(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Take nothing, say nothing."""
    hang_up(writer)


async def never_read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Leave the request where it is."""
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    await NEVER.wait()


async def answer_unasked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer before a byte was read, and read nothing."""
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    writer.write(LAST)
    await NEVER.wait()


def too_often(retry_after: bytes) -> Behaviour:
    """Answer 429 with that `retry-after`."""
    head = b"HTTP/1.1 429 Slow Down\r\n%bretry-after: %b\r\n\r\n"
    return says(head % (EMPTY_AND_CLOSE, retry_after))


def ok(*headers: bytes) -> bytes:
    """Return the head of a 200."""
    return b"\r\n".join([b"HTTP/1.1 200 OK", *headers, b"", b""])


EMPTY = ok(b"content-length: 0")
EMPTY_AND_CLOSE = b"content-length: 0\r\nconnection: close\r\n"
LAST = b"HTTP/1.1 200 OK\r\n" + EMPTY_AND_CLOSE + b"\r\n"
ELSEWHERE = b"HTTP/1.1 307 There\r\nlocation: http://localhost:%d/\r\n" + EMPTY_AND_CLOSE + b"\r\n"

KINDS: dict[str, Kind] = {
    # No answer.
    "refuses": Kind(result=Result.CONNECTION, behaviour=hang_up_at_once),  # never listens
    "hangs-up": Kind(result=Result.CONNECTION, behaviour=hang_up_at_once),
    "says-nothing": Kind(result=Result.TIMEOUT, behaviour=says(ends=False)),
    "never-reads": Kind(result=Result.TIMEOUT, behaviour=never_read),
    "drips-head": Kind(result=Result.TIMEOUT, behaviour=drips(b"", ok(b"content-length: 9"))),
    "resets-in-head": Kind(
        result=Result.CONNECTION, behaviour=says(b"HTTP/1.1 200 OK\r\ncontent-le", reset=True)
    ),
    # No HTTP.
    "no-status-line": Kind(result=Result.PROTOCOL, behaviour=says(b"hello\r\n\r\nthere\r\n")),
    "bytes": Kind(result=Result.PROTOCOL, behaviour=says(bytes(range(256)) * 64)),
    "long-status": Kind(
        result=Result.PROTOCOL, behaviour=says(b"HTTP/1.1 200 " + BLOCK + b"\r\n\r\n")
    ),
    "long-header": Kind(
        result=Result.PROTOCOL, behaviour=says(b"HTTP/1.1 200 OK\r\nx: " + BLOCK + b"\r\n\r\n")
    ),
    "endless-header": Kind(
        result=Result.PROTOCOL, behaviour=repeats(b"HTTP/1.1 200 OK\r\nx: ", BLOCK)
    ),
    "many-headers": Kind(
        result=Result.PROTOCOL, behaviour=repeats(b"HTTP/1.1 200 OK\r\n", b"x: y\r\n" * 1000)
    ),
    "negative-length": Kind(result=Result.PROTOCOL, behaviour=says(ok(b"content-length: -5"))),
    "two-lengths": Kind(
        result=Result.PROTOCOL,
        behaviour=says(ok(b"content-length: 5", b"content-length: 6") + b"abcdef"),
    ),
    "chunked-rubbish": Kind(
        result=Result.OK,
        delivered=True,
        behaviour=says(ok(b"transfer-encoding: chunked") + b"zz\r\nzz"),
    ),
    "flood-of-100": Kind(
        result=Result.PROTOCOL, behaviour=repeats(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 2000)
    ),
    "flood-of-103": Kind(
        result=Result.PROTOCOL,
        behaviour=repeats(b"", b"HTTP/1.1 103 Hints\r\nlink: </a>\r\nx: y\r\n\r\n" * 1000),
    ),
    # An answer, and then what takes nothing back.
    "drips-body": Kind(
        result=Result.OK, delivered=True, behaviour=drips(ok(b"content-length: 99"), b"x" * 99)
    ),
    "endless-body": Kind(result=Result.OK, delivered=True, behaviour=repeats(ok(), BLOCK)),
    "endless-chunks": Kind(
        result=Result.OK,
        delivered=True,
        behaviour=repeats(ok(b"transfer-encoding: chunked"), b"1\r\nx\r\n" * 5000),
    ),
    "cut-short": Kind(
        result=Result.OK, delivered=True, behaviour=says(ok(b"content-length: 99"), b"x")
    ),
    "resets-in-body": Kind(
        result=Result.OK,
        delivered=True,
        behaviour=says(ok(b"content-length: 99"), b"x", reset=True),
    ),
    "answers-unasked": Kind(result=Result.OK, delivered=True, behaviour=answer_unasked),
    "floods-afterwards": Kind(
        result=Result.OK, delivered=True, behaviour=repeats(EMPTY, EMPTY * 1000)
    ),
    "fails-and-drips": Kind(
        result=Result.SERVER_ERROR,
        behaviour=drips(b"HTTP/1.1 500 Oh\r\ncontent-length: 99\r\n\r\n", b"x" * 99),
    ),
    "fails-and-resets": Kind(
        result=Result.SERVER_ERROR,
        behaviour=says(b"HTTP/1.1 500 Oh\r\ncontent-length: 99\r\n\r\nx", reset=True),
    ),
    # An answer of little use.
    "elsewhere": Kind(result=Result.REDIRECT, behaviour=says()),  # needs to know where
    "later-endless": Kind(result=Result.THROTTLED, behaviour=too_often(b"9" * 4000)),
    "later-negative": Kind(result=Result.THROTTLED, behaviour=too_often(b"-1")),
    "later-year-9999": Kind(
        result=Result.THROTTLED, behaviour=too_often(b"Fri, 31 Dec 9999 23:59:59 GMT")
    ),
    "later-beyond-years": Kind(
        result=Result.THROTTLED, behaviour=too_often(b"Fri, 31 Dec 99999 23:59:59 -9999")
    ),
    "later-rubbish": Kind(result=Result.THROTTLED, behaviour=too_often(b"\xff\x01soon")),
    # TLS.
    "unknown-authority": Kind(result=Result.TLS, behaviour=says(LAST), scheme="https"),
    "other-name": Kind(result=Result.TLS, behaviour=says(LAST), scheme="https"),
    "no-tls": Kind(result=Result.TLS, behaviour=answer_unasked, scheme="https"),
}
"""Every kind by name."""


def certificates(folder: Path) -> dict[str, ssl.SSLContext]:
    """Make certificates that do not fit; the authority of one is trusted by `ca.pem`."""
    made = {}
    for kind, host in (("unknown-authority", "localhost"), ("other-name", "elsewhere.example")):
        authority = trustme.CA()
        made[kind] = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert(host).configure_cert(made[kind])
    authority.cert_pem.write_to_path(folder / "ca.pem")
    return made


def peak_memory(program: Program) -> int:
    """Return the most memory *program* ever had, in KiB."""
    status = Path(f"/proc/{program.process.pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if "VmHWM" in line)


@dataclass
class Crowd:
    """All of them at work: their ports by kind."""

    process: asyncio.subprocess.Process
    ports: dict[str, int]
    ca: Path

    def url(self, kind: str) -> str:
        """Return where that kind is."""
        return f"{KINDS[kind].scheme}://localhost:{self.ports[kind]}/hook"


@asynccontextmanager
async def crowd(folder: Path, elsewhere: int) -> AsyncIterator[Crowd]:
    """Run them for as long as the block lasts; the port *elsewhere* is where redirects lead."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "support.hostile",
        str(folder),
        str(elsewhere),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )
    assert process.stdout is not None
    try:
        yield Crowd(process, json.loads(await process.stdout.readline()), folder / "ca.pem")
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def answer(
    behaviour: Behaviour, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Answer one connection, and never complain."""
    with suppress(ConnectionError, asyncio.IncompleteReadError, ValueError, ssl.SSLError):
        await behaviour(reader, writer)
    if not writer.is_closing():
        writer.close()


async def serve(folder: Path, elsewhere: int) -> None:
    """Be hostile until standard input ends."""
    contexts = certificates(folder)
    ports, silent = {}, socket.socket()
    silent.bind(("127.0.0.1", 0))  # and never listens
    for name, kind in KINDS.items():
        behaviour = says(ELSEWHERE % elsewhere) if name == "elsewhere" else kind.behaviour
        server = await asyncio.start_server(
            partial(answer, behaviour), "127.0.0.1", 0, ssl=contexts.get(name), backlog=256
        )
        ports[name] = server.sockets[0].getsockname()[1]
    ports["refuses"] = silent.getsockname()[1]
    sys.stdout.write(json.dumps(ports) + "\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), int(sys.argv[2])))
