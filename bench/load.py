"""
The load generator: posts prepared requests and keeps when each was sent and answered.

As fast as they are answered over so many connections (closed loop), or, with `--rate`, so
many a second whatever the answers do (open loop). With several ports its connections go
to each in turn. Prints its ledger when all are answered.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import re
import sys
import time
from array import array
from collections import deque
from typing import cast

from bench import ledger, loops
from bench.requests import prepare

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
STATUS = slice(len(b"HTTP/1.1 "), len(b"HTTP/1.1 202"))
PATIENCE = 20.0  #: seconds to wait for the last answers; the relay promises them within 9


class Load:
    """The requests, what became of them, and whose turn it is."""

    def __init__(self, requests: list[bytes]) -> None:
        self.requests = requests
        blank = bytes(8 * len(requests))
        self.sent: array[int] = array(ledger.NANOSECONDS, blank)
        self.answered: array[int] = array(ledger.NANOSECONDS, blank)
        self.statuses: array[int] = array(ledger.NUMBERS, blank[: 4 * len(requests)])
        self.finished = asyncio.Event()
        self.idle: deque[Connection] = deque()
        self._waiting: deque[int] = deque()
        self._next = 0
        self._open = len(requests)
        self._paced = False

    def start(self, connections: list[Connection]) -> None:
        """Closed loop: give each connection a first request."""
        for connection in connections:
            self.free(connection)

    async def pace(self, connections: list[Connection], rate: float) -> None:
        """Open loop: start *rate* requests a second, queued where no connection is idle."""
        self._paced = True
        self.idle.extend(connections)
        began = time.monotonic()
        for number in range(len(self.requests)):
            ahead = began + number / rate - time.monotonic()
            if ahead > 0:
                await asyncio.sleep(ahead)
            # From here on waiting is the relay's doing, and counts.
            self.sent[number] = time.monotonic_ns()
            if self.idle:
                self.idle.popleft().send(number)
            else:
                self._waiting.append(number)

    def free(self, connection: Connection) -> None:
        """*connection* has its answer: give it the next request, if there is one."""
        if self._waiting:
            connection.send(self._waiting.popleft())
        elif self._paced:
            self.idle.append(connection)
        elif self._next < len(self.requests):
            number = self._next
            self._next += 1
            self.sent[number] = time.monotonic_ns()
            connection.send(number)

    def ended(self, number: int, status: int) -> None:
        """Request *number* was answered; *status* 0 where its connection was lost instead."""
        self.answered[number] = time.monotonic_ns()
        self.statuses[number] = status
        self._open -= 1
        if not self._open:
            self.finished.set()


class Connection(asyncio.Protocol):
    """One keep-alive connection with one request under way at a time."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._rest = b""
        self._number = -1
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way out."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass

    def send(self, number: int) -> None:
        """Post request *number*."""
        self._number = number
        self._transport.write(self._load.requests[number])

    def data_received(self, data: bytes) -> None:
        """Look for the end of the answer; what it says beyond its status does not matter."""
        data = self._rest + data if self._rest else data
        end = data.find(b"\r\n\r\n")
        length = LENGTH.search(data, 0, end) if end >= 0 else None
        assert end < 0 or length is not None, "an answer without content-length"
        if length is None or len(data) < end + 4 + int(length[1]):
            self._rest = data
            return
        self._rest = b""
        number, self._number = self._number, -1
        self._load.ended(number, int(data[STATUS]))
        self._load.free(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """The request under way, if any, will not be answered."""
        del exc
        if self._number >= 0:
            self._load.ended(self._number, 0)


async def main(options: argparse.Namespace) -> None:
    """Prepare, connect, post everything, print the ledger."""
    load = Load(prepare(options.count, port=options.port[0], first=options.first))
    loop = asyncio.get_running_loop()
    connections = []
    for _, port in zip(range(options.connections), itertools.cycle(options.port), strict=False):
        _, connection = await loop.create_connection(lambda: Connection(load), "127.0.0.1", port)
        connections.append(connection)
    gc.disable()  # a collection over the prepared requests would look like latency
    if options.rate:
        await load.pace(connections, options.rate)
    else:
        load.start(connections)
    seconds = PATIENCE + options.seconds
    try:
        await asyncio.wait_for(load.finished.wait(), seconds)
    except TimeoutError:
        print(f"not everything was answered within {seconds:.0f} s", file=sys.stderr)
    sys.stdout.buffer.write(ledger.dump((load.sent, load.answered, load.statuses)))
    sys.stdout.buffer.flush()


def arguments() -> argparse.Namespace:
    """What the orchestrating process asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True, nargs="+")
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--first", type=int, default=0, help="the first event's number")
    parser.add_argument("--connections", type=int, required=True)
    parser.add_argument("--rate", type=float, default=0.0, help="events a second; 0: closed loop")
    parser.add_argument("--seconds", type=float, default=20.0, help="the longest a run may take")
    return parser.parse_args()


if __name__ == "__main__":
    loops.run(main(arguments()))
