"""
A relay.yaml with a secret wherever one can stand, and receivers that repeat all they are told.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sqlite3
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import trustme
from yarl import URL

from support.marks import Marks
from support.program import an_event, write_config
from support.receiver import Receiver, answer

if TYPE_CHECKING:
    from pathlib import Path

StartReceiver = Callable[..., Awaitable[Receiver]]

ODD = 'a/b+c "d\\e'
"""What JSON and URLs write otherwise."""
END = "the end of what was echoed"
HANDS = 4096
"""Bytes of a response that are kept."""


@dataclass
class Scene:
    """The secrets, the receivers that see them, and all that was said."""

    folder: Path
    mark: Marks = field(default_factory=Marks)
    echo: dict[str, Receiver] = field(default_factory=dict)
    said: dict[str, bytes] = field(default_factory=dict)
    rotate: asyncio.Event = field(default_factory=asyncio.Event)
    env: dict[str, str] = field(default_factory=dict)
    tls_ports: tuple[int, int] = (0, 0)
    rotated: bool = False

    def destination(self, name: str, url: str, **settings: Any) -> dict[str, Any]:
        """Return the settings of *name*, with secrets in its URL's path and query and a header."""
        path = quote(self.mark(f"{name} path", odd="a/b"), safe="")
        query = quote(self.mark(f"{name} query", odd="a/b+c"), safe="")
        key = self.mark(f"{name} header", odd=ODD)
        return {
            "url": f"{url}/services/{path}?token={query}&v=1",
            "headers": {"x-api-key": key} | settings.pop("headers", {}),
            **settings,
        }

    def destinations(self) -> dict[str, Any]:
        """Return one destination for each way an attempt can go, and each way to be secret."""
        mark, at = self.mark, {name: there.url("") for name, there in self.echo.items()}
        proxy = URL(at["proxy"]).with_user(mark("proxy user")).with_password(mark("proxy password"))
        down = URL("http://127.0.0.1:1").with_user("u").with_password(mark("proxy down"))
        self.env["MARKED_HEADER"] = mark("header from a variable")
        (self.folder / "header").write_text(mark("header from a file") + "\n")
        signs = {"scheme": "standard-webhooks", "secrets": [mark.whsec("whsec"), mark.whsec("old")]}
        basic = base64.b64encode(f"relay:{mark('password in basic')}".encode()).decode()
        second = "second " if self.rotated else ""
        return {
            "delivered": self.destination(
                "delivered",
                at["delivered"],
                sign=signs,
                headers={
                    "authorization": "Bearer " + mark("bearer"),
                    "x-variable": "token=${env:MARKED_HEADER}",
                    "x-file": "${file:header}",
                },
            ),
            "failing": self.destination(
                "failing",
                at["failing"],
                sign={"scheme": "circleci", "secrets": mark("circleci sign")},
                retry={"max_attempts": 2, "initial": "10ms"},
                headers={"authorization": f"Basic {basic}"},
            ),
            "padded": self.destination("padded", at["padded"]),
            "garbled": self.destination("garbled", at["garbled"]),
            "refused": self.destination("refused", "http://127.0.0.1:1"),
            "unresolved": self.destination("unresolved", "http://relay.invalid"),
            "untrusted": self.destination("untrusted", f"https://localhost:{self.tls_ports[0]}"),
            "not-tls": self.destination("not-tls", f"https://localhost:{self.tls_ports[1]}"),
            "proxied": self.destination("proxied", "http://relay.invalid", proxy=str(proxy)),
            "tunnelled": self.destination("tunnelled", "https://relay.invalid", proxy=str(proxy)),
            "proxy-down": self.destination("proxy-down", "http://relay.invalid", proxy=str(down)),
            "rotating": self.destination(f"{second}rotating", at["rotating"]),
        }

    def write(self) -> Path:
        """Write a relay.yaml with a secret wherever one can stand."""
        mark, folder = self.mark, self.folder
        (folder / "secrets").mkdir(exist_ok=True)
        for name in ("api", "api.next"):
            (folder / "secrets" / name).write_text(mark(f"directory {name}", odd=ODD) + "\n")
        (folder / "secret").write_text(mark("list from a file") + "\n")
        (folder / "token").write_text(mark("operator") + "\n")
        self.env["MARKED_SECRET"] = mark("list from a variable", odd=ODD)
        destinations = self.destinations()
        main_only = {"source": "circleci", "branch": "main"}
        return write_config(
            folder,
            server={
                "max_body": "64KiB",
                "admin_tokens": {
                    "ci": {"token": "${file:token}", "role": "operator"},
                    "look": {"token": mark("viewer"), "role": "viewer"},
                },
            },
            sources={
                "circleci": {
                    "path": "/webhooks/circleci",
                    "secrets": [mark("list"), "${env:MARKED_SECRET}", "${file:secret}"],
                },
                "mapped": {
                    "path": "/webhooks/mapped/{secret}",
                    "secrets": {"api": mark("map"), "web": [mark("map one"), mark("map two")]},
                },
                "directory": {
                    "path": "/webhooks/directory/{secret}",
                    "secrets": {"dir": "secrets"},
                },
            },
            defaults={
                "headers": {"x-shared": mark("header of all")},
                "retry": {"max_attempts": 1},
                "timeout": "8s",
            },
            destinations=destinations,
            routes={
                "all": {"match": main_only, "to": [n for n in destinations if n != "rotating"]},
                "rotate": {"match": {"branch": "rotate"}, "to": "rotating"},
            },
        )

    def signers(self) -> Iterable[tuple[str, str]]:
        """Return the paths to post to, each with a secret that is good there."""
        mark = self.mark
        for place in ("list", "list from a variable", "list from a file"):
            yield "/webhooks/circleci", mark(place)
        yield "/webhooks/mapped/api", mark("map")
        for place in ("map one", "map two"):
            yield "/webhooks/mapped/web", mark(place)
        for place in ("directory api", "directory api.next"):
            yield "/webhooks/directory/api", mark(place)

    def note(self, output: str, text: bytes | str) -> None:
        """Keep what *output* said."""
        more = text if isinstance(text, bytes) else text.encode(errors="surrogateescape")
        self.said[output] = self.said.get(output, b"") + more + b"\n"

    def note_store(self, when: str) -> None:
        """Keep what the database holds, its log included."""
        for path in self.folder.glob("relay.db*"):
            self.note(f"{path.name} {when}", path.read_bytes())


def an_event_on(branch: str, number: int) -> bytes:
    """Return an event of its own on *branch*."""
    return an_event(number, pipeline={"id": "p", "number": number, "vcs": {"branch": branch}})


def echoed(there: Receiver) -> str:
    """Return the last request in each way that receivers show requests."""
    request = there.requests[-1]
    raw = "\n".join([request.line, *(f"{k}: {v}" for k, v in request.headers.items())])
    said = {"url": request.line.split()[1], "headers": request.headers}
    return "\n".join([raw, json.dumps(said), quote(raw), END])


def echoing(there: Receiver, status: int) -> None:
    """Have *there* answer *status* and everything it was told, in headers and body."""

    async def reply(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        text = echoed(there)
        where = there.requests[-1].line.split()[1]
        writer.write(answer(status, f"location: {where}", body=text.encode("latin-1")))
        await writer.drain()

    there.answers = [reply]


async def set_up(folder: Path, receiver: StartReceiver) -> Scene:
    """Start the receivers."""
    scene = Scene(folder)
    for name in ("delivered", "failing", "padded", "garbled", "proxy", "rotating"):
        scene.echo[name] = await receiver()
    echoing(scene.echo["delivered"], 200)
    echoing(scene.echo["failing"], 500)
    echoing(scene.echo["proxy"], 407)

    async def padded(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        key = scene.echo["padded"].requests[-1].headers["x-api-key"]
        body = "." * (HANDS - len(key) + 2) + key + "." * HANDS
        writer.write(answer(410, body=body.encode()))
        await writer.drain()

    async def garbled(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(echoed(scene.echo["garbled"]).encode("latin-1"))
        await writer.drain()

    async def rotating(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await scene.rotate.wait()
        writer.write(answer(500, body=echoed(scene.echo["rotating"]).encode("latin-1")))
        await writer.drain()

    for reply in (padded, garbled, rotating):
        scene.echo[reply.__name__].answers = [reply]
    return scene


@asynccontextmanager
async def tls_servers() -> AsyncIterator[tuple[int, int]]:
    """Listen with a certificate that nobody trusts, and where TLS is not spoken at all."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("localhost").configure_cert(context)

    async def speak(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(400))
        writer.close()

    # Handshakes that fail, as they shall, are told to the loop.
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    untrusted = await asyncio.start_server(speak, "127.0.0.1", 0, ssl=context)
    plain = await asyncio.start_server(speak, "127.0.0.1", 0)
    try:
        yield untrusted.sockets[0].getsockname()[1], plain.sockets[0].getsockname()[1]
    finally:
        untrusted.close()
        plain.close()


def attempts(scene: Scene) -> dict[str, list[tuple[str, str, str]]]:
    """Return each destination's attempts as stored: result, error, and excerpt."""
    found: dict[str, list[tuple[str, str, str]]] = {}
    with closing(sqlite3.connect(scene.folder / "relay.db")) as store:
        for destination, result, error, excerpt in store.execute(
            "SELECT destination, result, error, excerpt FROM attempts"
            " JOIN deliveries ON deliveries.key = delivery ORDER BY delivery, number"
        ):
            kept = (result, error or "", (excerpt or b"").decode())
            found.setdefault(destination, []).append(kept)
    return found
