"""Receivers on real sockets, told what to answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

PATIENCE = 30.0
"""Seconds after which a test gives up waiting; on an idle machine nothing here takes one."""


@dataclass
class Request:
    """What a receiver saw."""

    line: str
    headers: dict[str, str]
    body: bytes


Answer = bytes | Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Receiver:
    """A server that answers each request with the next of *answers*, the last one for ever."""

    answers: list[Answer]
    port: int = 0
    requests: list[Request] = field(default_factory=list)
    arrived: asyncio.Condition = field(default_factory=asyncio.Condition)

    def url(self, path: str = "/hook", scheme: str = "http") -> str:
        """Return the URL of *path* here."""
        return f"{scheme}://localhost:{self.port}{path}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection."""
        try:
            while request := await self._read(reader):
                answer = self.answers[min(len(self.requests), len(self.answers) - 1)]
                async with self.arrived:
                    self.requests.append(request)
                    self.arrived.notify_all()
                if callable(answer):
                    await answer(reader, writer)
                    return
                writer.write(answer)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> Request | None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = await reader.readline()
            if not line:
                return None
            head += line
        first, *rest = head.decode("latin-1").strip().split("\r\n")
        headers = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(":") for line in rest)
        }
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        return Request(first, headers, body)

    async def wait_for(self, count: int) -> list[Request]:
        """Return the requests once there are *count* of them."""
        async with asyncio.timeout(PATIENCE):
            async with self.arrived:
                await self.arrived.wait_for(lambda: len(self.requests) >= count)
        return self.requests


def answer(status: int, *headers: str, body: bytes = b"") -> bytes:
    """A plain HTTP answer."""
    lines = [f"HTTP/1.1 {status} Whatever", f"content-length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body
