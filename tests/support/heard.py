"""What a service's own client sends: a server for it to talk to, in a thread, on loopback."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass
class Heard:
    """The requests that came, as (path with query, headers in lower case, parsed body)."""

    url: str = ""
    requests: list[tuple[str, dict[str, str], Any]] = field(default_factory=list)


@contextmanager
def heard(answer: Any, status: int = 200) -> Iterator[Heard]:
    """Answer every POST with *answer* as JSON, and keep what was asked."""
    book = Heard()

    class Handler(BaseHTTPRequestHandler):
        """Answers, and says nothing of it."""

        def do_POST(self) -> None:
            """Keep it, answer it."""
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            book.requests.append((self.path, headers, json.loads(body)))
            said = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_: object) -> None:
            """Stay quiet."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        book.url = f"http://127.0.0.1:{server.server_port}"
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield book
        finally:
            server.shutdown()
            thread.join()
