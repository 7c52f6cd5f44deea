"""
The receiver: answers 200 to everything and keeps who got which event when.

A bare protocol instead of a web server, so that it costs far less than what it measures.
It prints its port, answers `count` on its standard input with the number of arrivals, and
on `dump` prints its ledger and ends.
"""

from __future__ import annotations

import asyncio
import gc
import re
import sys
import time
from array import array
from typing import cast

from bench import ledger, loops
from bench.wire import DIGITS, MARK, event_number

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
PREFIX = len(b"POST /d")


class Arrivals:
    """Three columns: destination, event, and the instant its last byte was read."""

    def __init__(self) -> None:
        self.destinations: array[int] = array(ledger.NUMBERS)
        self.events: array[int] = array(ledger.NUMBERS)
        self.at: array[int] = array(ledger.NANOSECONDS)

    def note(self, request: bytes, start: int, body: int, now: int) -> None:
        """Keep the request that starts at *start*, its body at *body*."""
        path = start + PREFIX
        mark = request.index(MARK, body)
        self.destinations.append(int(request[path : request.index(b" ", path)]))
        self.events.append(event_number(request[mark - DIGITS : mark]))
        self.at.append(now)


class Receiver(asyncio.Protocol):
    """One connection; requests may be pipelined and may come in pieces."""

    def __init__(self, arrivals: Arrivals) -> None:
        self._arrivals = arrivals
        self._rest = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        """Note and answer each request that is whole by now."""
        now = time.monotonic_ns()
        data = self._rest + data if self._rest else data
        start = answers = 0
        while (end := data.find(b"\r\n\r\n", start)) >= 0:
            length = LENGTH.search(data, start, end)
            assert length is not None, "a request without content-length"
            body = end + 4
            stop = body + int(length[1])
            if len(data) < stop:
                break
            self._arrivals.note(data, start, body, now)
            answers += 1
            start = stop
        self._rest = data[start:]
        if answers:
            self._transport.write(ANSWER * answers)


async def main() -> None:
    """Receive until told to dump, or until nobody is left to tell."""
    loop = asyncio.get_running_loop()
    arrivals = Arrivals()
    server = await loop.create_server(lambda: Receiver(arrivals), "127.0.0.1", 0, backlog=1024)
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    gc.disable()  # nothing here makes cycles, and a collection would look like latency
    print(server.sockets[0].getsockname()[1], flush=True)
    while command := await commands.readline():
        if command == b"dump\n":
            columns = (arrivals.destinations, arrivals.events, arrivals.at)
            sys.stdout.buffer.write(ledger.dump(columns))
            sys.stdout.buffer.flush()
            break
        print(len(arrivals.at), flush=True)
    server.close()


if __name__ == "__main__":
    loops.run(main())
