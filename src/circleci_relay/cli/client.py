"""The admin API as the verbs call it; what goes wrong is one clear line with its remedy."""

from __future__ import annotations

import json
import socket
import ssl
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

import click

from circleci_relay.cli.output import printable
from circleci_relay.cli.verbs import Found

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from http.client import HTTPResponse

TIMEOUT = 60.0
"""Seconds without a byte after which an answer is given up."""

SILENT = 45.0
"""Seconds without a byte after which a stream is: there is a heartbeat every 15."""

PREFIX = "/api/v1"

WHOSE = "--server takes the address of its admin API, server.admin in relay.yaml"

OK, MOVED, WRONG = 200, 300, 400
UNKNOWN, FORBIDDEN = 401, 403

SOME = 3
"""Things wrong with a request that are told."""


_WHY: tuple[tuple[type[Exception], str], ...] = (
    (ConnectionRefusedError, "nothing listens at {there}: is the relay running? {whose}"),
    (TimeoutError, "no complete answer from {there} within {within:.0f} s; {whose}"),
    (socket.gaierror, "the host of {there} cannot be resolved; {whose}"),
    (HTTPException, "what answers at {there} is no circleci-relay; {whose}"),
)


_NO_NAME = "string should match pattern '^[a-z0-9][a-z0-9_-]"


class Refused(Found):
    """The relay said no; *status* is its answer's."""

    def __init__(self, status: int, message: str, problem: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.status = status
        faults = problem.get("faults") or []
        self._faults = [str(each.get("text", each)) for each in faults if isinstance(each, dict)]

    def show(self, file: Any = None) -> None:
        """Each fault of a configuration, then the one clear line."""
        for fault in self._faults:
            click.echo(printable(fault), file=file, err=file is None)
        super().show(file)


class Unreachable(Found):
    """No answer came."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """Which relay is asked, and with which token; and who said so."""

    url: str
    url_by: str
    token: str | None = field(default=None, repr=False)
    token_by: str = ""
    lacking: str = ""  #: why relay.yaml gave no token, if it should have


class Client:
    """Asks one relay; follows no redirect, since the token would go along."""

    def __init__(self, where: Where) -> None:
        self._where = where
        parts = urlsplit(where.url)
        try:
            port = parts.port
        except ValueError:
            port = -1
        known = parts.scheme in {"http", "https"} and parts.hostname and port != -1
        if not known or parts.username or parts.query or parts.fragment:
            raise click.UsageError(
                f"{printable(where.url)} ({where.url_by}) is no URL such as http://127.0.0.1:8082"
            )
        token = where.token or ""
        if not (token.isascii() and token.isprintable()):
            raise Found(f"the token from {where.token_by} holds characters that no token has")
        self._host = parts.hostname or ""
        self._port = port
        self._secure = parts.scheme == "https"
        self._base = parts.path.rstrip("/") + PREFIX
        self._shown = where.url.rstrip("/")

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> Any:
        """GET *path* below /api/v1, and return the JSON of the answer."""
        with self._asked("GET", path, params=params) as response:
            return self._json(response)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """POST *body* to *path* below /api/v1, and return the JSON of the answer."""
        with self._asked("POST", path, body=body) as response:
            return self._json(response)

    def raw(self, path: str) -> bytes:
        """GET *path* below /api/v1, and return what is answered as it is."""
        with self._asked("GET", path) as response:
            return self._read(response)

    @contextmanager
    def stream(self, path: str, params: Mapping[str, Any]) -> Iterator[Iterator[bytes]]:
        """GET *path*, which answers for ever, line by line; the lines end where it does."""
        with self._asked("GET", path, params=params, timeout=SILENT) as response:
            yield self._lines(response)

    @contextmanager
    def _asked(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        timeout: float = TIMEOUT,
    ) -> Iterator[HTTPResponse]:
        given = {name: value for name, value in (params or {}).items() if value is not None}
        target = self._base + path + (f"?{urlencode(given)}" if given else "")
        content = None if body is None else json.dumps(body).encode()
        headers = {"accept": "application/json, text/event-stream, */*;q=0.1"}
        if content is not None:
            headers["content-type"] = "application/json"
        if self._where.token:
            headers["authorization"] = f"Bearer {self._where.token}"
        connection = self._connection(timeout)
        try:
            with self._told(timeout):
                connection.request(method, target, body=content, headers=headers)
                response = connection.getresponse()
                if response.status >= MOVED:
                    raise self._refused(response)
            yield response
        finally:
            connection.close()

    @contextmanager
    def _told(self, within: float = TIMEOUT) -> Iterator[None]:
        """Tell of what keeps an answer from coming, *within* how many seconds."""
        try:
            yield
        except (OSError, HTTPException) as error:
            raise Unreachable(self._why(error, within)) from None

    def _connection(self, timeout: float) -> HTTPConnection:
        if not self._secure:
            return HTTPConnection(self._host, self._port, timeout=timeout)
        context = ssl.create_default_context()
        return HTTPSConnection(self._host, self._port, timeout=timeout, context=context)

    def _why(self, error: Exception, within: float) -> str:
        there = f"{self._shown} ({self._where.url_by})"
        for kind, said in _WHY:
            if isinstance(error, kind):
                return said.format(there=there, whose=WHOSE, within=within)
        if isinstance(error, ssl.SSLCertVerificationError):
            return (
                f"the certificate of {there} does not hold: {error.verify_message};"
                " SSL_CERT_FILE names the file of an authority to trust"
            )
        if isinstance(error, ssl.SSLError):
            return f"{there} speaks no TLS that is understood: is it http:// there?"
        return f"{there}: {printable(str(error)) or type(error).__name__}"

    def _lines(self, response: HTTPResponse) -> Iterator[bytes]:
        while True:
            with self._told(SILENT):
                line = response.readline(1 << 20)
            if not line:
                return
            yield line

    def _read(self, response: HTTPResponse) -> bytes:
        with self._told():
            return response.read()

    def _json(self, response: HTTPResponse) -> Any:
        content = self._read(response)
        try:
            return json.loads(content)
        except (ValueError, RecursionError):
            raise self._no_relay() from None

    def _no_relay(self) -> Found:
        there = f"{self._shown} ({self._where.url_by})"
        return Found(f"what answers at {there} is not the admin API of a circleci-relay; {WHOSE}")

    def _refused(self, response: HTTPResponse) -> Found:
        status = response.status
        if status < WRONG:
            return Found(
                f"{self._shown} sends us elsewhere ({status}), and a token must not follow;"
                " give the URL it leads to with --server"
            )
        kind = response.headers.get_content_type()
        try:
            problem = json.loads(response.read())
        except (ValueError, RecursionError):
            problem = None
        if kind != "application/problem+json" or not isinstance(problem, dict):
            return self._no_relay()
        return Refused(status, self._said(status, problem), problem)

    def _said(self, status: int, problem: Mapping[str, Any]) -> str:
        detail = printable(str(problem.get("detail", "")))
        token_by = self._where.token_by
        if status == UNKNOWN and self._where.token:
            return f"{self._shown} does not know the token from {token_by}: is it of this relay?"
        if status == UNKNOWN and self._where.lacking:
            return f"{self._shown} wants a token, but {printable(self._where.lacking)}"
        if status == UNKNOWN:
            return (
                f"{self._shown} wants a token: give --token-file FILE, set CIRCLECI_RELAY_TOKEN,"
                " or let relay.yaml name one in server.admin_tokens"
            )
        if status == FORBIDDEN and "viewer" in detail:
            return f"the token from {token_by} may only look (viewer); this takes an operator's"
        return _by_option(problem) or detail or f"the relay answered {status}"


def _by_option(problem: Mapping[str, Any]) -> str:
    """What is wrong with a request, by the options that said it; empty where it is none."""
    errors = [each for each in problem.get("errors") or [] if isinstance(each, dict)]
    found = []
    for each in errors[:SOME]:
        place = str(each.get("location", ""))
        for start in ("query.", "body.select.", "body."):
            if place.startswith(start):
                place = f"--{place.removeprefix(start).replace('_', '-')}"
                break
        message = str(each.get("message", ""))
        if message.startswith(_NO_NAME):
            message = "is no name: these are of small letters, digits, _ and -"
        found.append(f"{place}: {message}")
    return printable("; ".join(found) + ("; …" if len(errors) > SOME else ""))


def segment(text: str) -> str:
    """*text* as one segment of a path."""
    return quote(text, safe="")
