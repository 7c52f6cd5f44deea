"""
Takes CircleCI's events from circleci-relay: verified, each once, stored before it is answered.

Python 3.11 or newer, and nothing else. It is a WSGI application: `python receiver.py` serves it
for a try, `gunicorn receiver:application` for good. Settings are environment variables:

* CIRCLECI_WEBHOOK_SECRETS  for /circleci: CircleCI's own secret, or several with spaces between
* RELAY_SIGNING_SECRETS     for /signed: those under `sign.secrets` in relay.yaml, whsec_...
* DATABASE, PORT            receiver.db and 9000 unless you say otherwise
"""

from __future__ import annotations

import base64
import hmac
import json
import os
import sqlite3
import sys
import time
from contextlib import closing
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIServer, make_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from wsgiref.types import StartResponse, WSGIEnvironment

CIRCLECI = os.environ.get("CIRCLECI_WEBHOOK_SECRETS", "").split()
SIGNED = os.environ.get("RELAY_SIGNING_SECRETS", "").split()
DATABASE = os.environ.get("DATABASE", "receiver.db")
LONGEST = 1 << 20
"""Bytes of a body; the relay takes in no more, unless `server.max_body` says so."""
TOLERANCE = 300
"""Seconds that a signed timestamp may be off."""

TABLES = """
CREATE TABLE IF NOT EXISTS taken (key TEXT PRIMARY KEY, at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS workflows (
  id TEXT PRIMARY KEY, project TEXT, name TEXT, status TEXT, happened_at TEXT
);
"""


class Refused(Exception):  # noqa: N818 - an answer, not a fault
    """A request that is not taken, and why."""

    def __init__(self, status: str, why: str) -> None:
        super().__init__(why)
        self.status = status


def verify_circleci(body: bytes, header: Callable[[str], str]) -> None:
    """Check CircleCI's own signature; *body* is what was sent, before any parsing."""
    parts = [part.strip().partition("=") for part in header("circleci-signature").split(",")]
    given = {name: value for name, _, value in parts}.get("v1", "").encode()
    for secret in CIRCLECI:
        expected = hmac.new(secret.encode(), body, "sha256").hexdigest().encode()
        if hmac.compare_digest(expected, given):
            return
    raise Refused("401 Unauthorized", "no secret of ours made this circleci-signature")


def verify_signed(body: bytes, header: Callable[[str], str]) -> None:
    """Check a signature of Standard Webhooks, which the relay makes where it has `sign`."""
    stamp = header("webhook-timestamp")
    if not stamp.isdecimal() or abs(time.time() - int(stamp[:12])) > TOLERANCE:
        raise Refused("401 Unauthorized", "too old, or a clock is wrong")
    message = f"{header('webhook-id')}.{stamp}.".encode() + body
    given = [one.removeprefix("v1,").encode() for one in header("webhook-signature").split()]
    for secret in SIGNED:
        key = base64.b64decode(secret.removeprefix("whsec_"))
        expected = base64.b64encode(hmac.digest(key, message, "sha256"))
        if any(hmac.compare_digest(expected, one) for one in given):
            return
    raise Refused("401 Unauthorized", "no secret of ours made this webhook-signature")


def take(key: str, event: dict[str, Any]) -> bool:
    """Do the work once for each *key*; return whether this was the first time."""
    with closing(sqlite3.connect(DATABASE, timeout=5)) as database, database:
        # One transaction: a crash or an error below undoes both, the key and the work.
        new = database.execute(
            "INSERT INTO taken VALUES (?, ?) ON CONFLICT DO NOTHING", (key, time.time())
        ).rowcount
        if new:
            work(database, event)
    return bool(new)


def work(database: sqlite3.Connection, event: dict[str, Any]) -> None:
    """Keep the last word on each workflow, in whatever order events come."""
    if event.get("type") != "workflow-completed":
        return
    workflow = event["workflow"]
    database.execute(
        "INSERT INTO workflows VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE"
        " SET status = excluded.status, happened_at = excluded.happened_at"
        " WHERE excluded.happened_at > workflows.happened_at",
        (
            workflow["id"],
            event["project"]["slug"],
            workflow["name"],
            workflow["status"],
            event["happened_at"],
        ),
    )


def receive(environ: WSGIEnvironment) -> bool:
    """Take one request, or raise `Refused`; return whether its event is new."""

    def header(name: str) -> str:
        return str(environ.get("HTTP_" + name.upper().replace("-", "_"), ""))

    body = read(environ)
    if environ["PATH_INFO"] == "/circleci":
        verify_circleci(body, header)
    elif environ["PATH_INFO"] == "/signed":
        verify_signed(body, header)
    else:
        raise Refused("404 Not Found", "no such path")
    event = parsed(body)
    if header("relay-test"):
        return False  # from `circleci-relay send --to`: all is well, and nothing happened
    # Only what is signed can be trusted: CircleCI's signature does not cover webhook-id.
    key = event["id"] if environ["PATH_INFO"] == "/circleci" else header("webhook-id")
    return take(key, event)


def read(environ: WSGIEnvironment) -> bytes:
    """Read the whole body, or refuse it."""
    length = environ.get("CONTENT_LENGTH") or ""
    if not length.isdecimal():
        raise Refused("411 Length Required", "no content-length")
    stream, left = environ["wsgi.input"], int(length)
    if left <= LONGEST:
        return bytes(stream.read(left))
    # Read on, within reason: an answer before the end would be lost with the connection.
    left = min(left, 16 * LONGEST)
    while left > 0 and (piece := stream.read(min(left, 1 << 16))):
        left -= len(piece)
    raise Refused("413 Content Too Large", f"over {LONGEST} bytes")


def parsed(body: bytes) -> dict[str, Any]:
    """Return the event of *body*; what can never be read is refused for good, with 400."""
    try:
        event = json.loads(body)
    except (ValueError, RecursionError):
        raise Refused("400 Bad Request", "no JSON") from None
    if not isinstance(event, dict) or not isinstance(event.get("id"), str):
        raise Refused("400 Bad Request", "no event")
    return event


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer one request; what else goes wrong is the server's 500, and comes again."""
    try:
        new = receive(environ)
        status, said = "200 OK", "taken" if new else "nothing new"
    except Refused as refused:
        status, said = refused.status, str(refused)
    start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
    return [f"{said}\n".encode()]


class Server(ThreadingMixIn, WSGIServer):
    """A thread for each connection; for a try, not for the internet."""

    daemon_threads = True


with closing(sqlite3.connect(DATABASE)) as _database:
    _database.executescript(TABLES)

if __name__ == "__main__":
    if not CIRCLECI and not SIGNED:
        sys.exit("set CIRCLECI_WEBHOOK_SECRETS or RELAY_SIGNING_SECRETS")
    port = int(os.environ.get("PORT", "9000"))
    with make_server("127.0.0.1", port, application, server_class=Server) as server:
        print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)  # noqa: T201
        server.serve_forever()
