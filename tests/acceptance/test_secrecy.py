"""
No secret in any output: marked secrets stand wherever one can, everything said is searched.

Said is: both streams of every command, in text and JSON; every answer of every endpoint; and
the database, its log included. `demo` is left out: it reads no secret that is anyone's.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import signal
import sqlite3
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import aiohttp
import pytest
import trustme
import yaml
from click.testing import CliRunner
from standardwebhooks import Webhook
from support.marks import Marks, forms
from support.program import PATIENCE, CircleCI, Program, an_event, write_config
from support.receiver import Receiver, answer
from yarl import URL

from circleci_relay.circleci import signature
from circleci_relay.cli import main
from circleci_relay.cli.verbs import VERBS

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
    tls_port: int = 0
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
            "untrusted": self.destination("untrusted", f"https://localhost:{self.tls_port}"),
            "not-tls": self.destination("not-tls", at["delivered"].replace("http:", "https:")),
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
                "admin_tokens": {
                    "ci": {"token": "${file:token}", "role": "operator"},
                    "look": {"token": mark("viewer"), "role": "viewer"},
                }
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
async def a_tls_server() -> AsyncIterator[int]:
    """Listen with a certificate that nobody trusts; yields the port."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("localhost").configure_cert(context)

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    server = await asyncio.start_server(hang_up, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@asynccontextmanager
async def command(scene: Scene, *args: str) -> AsyncIterator[Program]:
    """Run a command for as long as the block lasts; keep all of both streams."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "circleci_relay", *args),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **scene.env, "PYTHONUNBUFFERED": "1"},
        limit=1 << 24,
    )
    program = Program(process)

    async def read_stdout() -> None:
        assert process.stdout is not None
        while line := await process.stdout.readline():
            scene.note(f"{args[0]} stdout", line)
            async with program.written:
                program.raw.append(line.decode())
                program.written.notify_all()

    async def read() -> None:
        await asyncio.gather(program._read(), read_stdout())

    program.reading = asyncio.create_task(read())
    try:
        yield program
    finally:
        await program.kill()
        scene.note(f"{' '.join(args)} both streams", "".join(program.raw))


async def line(program: Program, pattern: str) -> re.Match[str]:
    """Return the first line that *pattern* is found in, once it is there."""

    def found() -> re.Match[str] | None:
        return next(filter(None, (re.search(pattern, row) for row in program.raw)), None)

    async with asyncio.timeout(PATIENCE), program.written:
        return await program.written.wait_for(found)  # type: ignore[return-value]


async def ask(
    scene: Scene, session: aiohttp.ClientSession, method: str, url: str | URL, **options: Any
) -> int:
    """Make a request, keep the whole answer, return its status."""
    async with session.request(method, url, **options) as response:
        scene.note(f"answer to {method} {URL(url).path}", repr(response.headers))
        scene.note(f"answer to {method} {URL(url).path}", await response.read())
        return response.status


async def post(
    scene: Scene, session: aiohttp.ClientSession, url: str | URL, body: bytes, secret: str
) -> int:
    """Post *body* signed with *secret*, keep the whole answer, return its status."""
    headers = {"circleci-signature": signature.sign(body, secret.encode())}
    return await ask(scene, session, "POST", url, data=body, headers=headers)


async def deliver(scene: Scene, program: Program, session: aiohttp.ClientSession) -> None:
    """Post an event under each secret; wait until each destination has had its attempts."""
    for number, (path, secret) in enumerate(scene.signers()):
        body = an_event_on("dev" if number else "main", number)
        assert await post(scene, session, program.url("listen", path), body, secret) == 202, path
        assert await post(scene, session, program.url("listen", path), body, secret) == 200, path
    for name in scene.destinations():
        if name != "rotating":
            then = "delivered" if name == "delivered" else "dead"
            await program.log("attempt", destination=name, then=then)


async def offend(scene: Scene, hooks: str, session: aiohttp.ClientSession) -> None:
    """Post what is turned away, with secrets where hasty people put them."""
    url, mark = hooks + "/webhooks/circleci", scene.mark
    assert await post(scene, session, url, an_event(70), "not-the-secret") == 401
    for header in (mark("list"), "v1=" + mark("list")):
        sent = {"circleci-signature": header}
        assert await ask(scene, session, "POST", url, data=b"{}", headers=sent) == 401
    for body in (b"[1]", b"{", b'{"id": 5}', b"\xff"):
        assert await post(scene, session, url, body, mark("list")) == 400
    assert await post(scene, session, url, b"{}" + b" " * (1 << 20), mark("list")) == 413
    conflict = an_event(0, happened_at="another time")
    assert await post(scene, session, url, conflict, mark("list")) == 200
    # The secret itself, where its name belongs.
    for place in ("map", "directory api"):
        wrong = URL(f"{hooks}/webhooks/mapped/{quote(mark(place), safe='')}", encoded=True)
        assert await post(scene, session, wrong, an_event(71), mark(place)) == 404
    assert await ask(scene, session, "GET", f"{url}?secret={mark('list')}") == 405
    encoded = {"content-encoding": mark("map")}
    assert await ask(scene, session, "POST", url, data=b"{}", headers=encoded) == 415
    host, _, port = hooks.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"{mark('map')} / HTTP/9\r\n{mark('list')}\r\n\r\n".encode())
    scene.note("answer to what is not HTTP", await reader.read())
    writer.close()


async def ask_everything(scene: Scene, program: Program, session: aiohttp.ClientSession) -> None:
    """Ask every endpoint, with every token and none."""
    mark = scene.mark
    for path in ("/metrics", "/healthz", "/readyz", f"/{mark('list')}"):
        found = await ask(scene, session, "GET", program.url("ops", path))
        assert found == (404 if mark("list") in path else 200)
    tokens = {
        mark("operator"): (200, 200),
        mark("viewer"): (200, 403),
        mark("list"): (401, 401),
        "": (401, 401),
    }
    for token, wanted in tokens.items():
        headers = {"authorization": f"Bearer {token}"} if token else {}
        config, reload = program.url("admin", "/api/v1/config"), "/api/v1/reload"
        got = (
            await ask(scene, session, "GET", config, headers=headers),
            await ask(scene, session, "POST", program.url("admin", reload), headers=headers),
        )
        assert got == wanted
        for path in ("/", "/api/v1/openapi.json", f"/api/v1/{mark('operator')}"):
            await ask(scene, session, "GET", program.url("admin", path), headers=headers)
        elsewhere = headers | {"host": f"{mark('list')}.example.com"}
        assert await ask(scene, session, "GET", config, headers=elsewhere) == 403


async def reload(scene: Scene, program: Program, session: aiohttp.ClientSession) -> int:
    """Have the configuration read again."""
    headers = {"authorization": f"Bearer {scene.mark('operator')}"}
    url = program.url("admin", "/api/v1/reload")
    return await ask(scene, session, "POST", url, headers=headers)


async def rotate(scene: Scene, program: Program, session: aiohttp.ClientSession) -> None:
    """Change a destination's secrets while an attempt with the old ones is under way."""
    body = an_event_on("rotate", 80)
    url = program.url("listen", "/webhooks/circleci")
    assert await post(scene, session, url, body, scene.mark("list")) == 202
    await scene.echo["rotating"].wait_for(1)
    scene.rotated = True
    scene.write()
    assert await reload(scene, program, session) == 200
    scene.rotate.set()
    await program.log("attempt", destination="rotating", then="dead")


def faulty(mark: Marks) -> Mapping[str, str]:
    """Return files in which a secret stands in or beside what is wrong."""
    good = {"sources": {"c": {"path": "/c", "secrets": [mark("beside a fault")]}}}

    def destination(**settings: Any) -> str:
        url = f"https://chat.example.com/{mark('URL beside a fault')}"
        return yaml.safe_dump(good | {"destinations": {"chat": {"url": url} | settings}})

    def secrets(written: str) -> str:
        return f"sources:\n  c:\n    path: /c\n    secrets: {written}\n"

    def token(value: object) -> str:
        return yaml.safe_dump(good | {"server": {"admin_tokens": {"ci": value}}})

    bad = mark("faulty value")
    return {
        "unknown key": destination(sing=bad),
        "no duration": destination(timeout="soon", headers={"x": bad}),
        "user in URL": destination(url=f"https://u:{bad}@chat.example.com/"),
        "no scheme": destination(url=f"htps://chat.example.com/{bad}"),
        "no port": destination(url=f"https://chat.example.com:{bad}/"),
        "fragment": destination(url=f"https://chat.example.com/#{bad}"),
        "space in URL": destination(url=f"https://chat.example.com/ {bad}"),
        "a URL alone": yaml.safe_dump(good | {"destinations": {"chat": f"https://x/{bad}"}}),
        "line break": destination(headers={"x": f"{bad}\n{bad}"}),
        "not Latin": destination(headers={"x": f"{bad}\u20ac"}),
        "headers a text": destination(headers=f"authorization: {bad}"),
        "headers a list": destination(headers=[f"authorization: {bad}"]),
        "unset variable": destination(headers={"x": f"Bearer {bad} ${{env:RELAY_UNSET}}"}),
        "never closed": destination(headers={"x": f"Bearer ${{{bad}"}),
        "default": destination(headers={"x": f"Bearer ${{env:1:-{bad}}}"}),
        "socks": destination(proxy=f"socks5://u:{bad}@proxy"),
        "proxy path": destination(proxy=f"http://u:{bad}@proxy/path"),
        "whsec": destination(sign={"scheme": "standard-webhooks", "secrets": f"whsec_{bad}"}),
        "no whsec": destination(sign={"scheme": "standard-webhooks", "secrets": bad}),
        "sign a text": destination(sign=bad),
        "token alone": token(bad),
        "token with space": token({"token": f"{bad} {bad}"}),
        "token a list": token({"token": [bad]}),
        "store": yaml.safe_dump(good | {"store": {"url": f"mysql://u:{bad}@host/db"}}),
        "postgresql": yaml.safe_dump(good | {"store": {"url": f"postgresql://u:{bad}@host:x/db"}}),
        "list of maps": secrets(f"[{{{bad}: x}}]"),
        "tag": secrets(f"!{bad} x"),
        "anchor": secrets(f"&{bad}"),
        "percent": secrets(f"%{bad}"),
        "backquote": secrets(f"`{bad}"),
        "open quote": secrets(f'"{bad}'),
        "escape": secrets(f'"{bad}\\q"'),
        "tab": secrets(f"\n\t- {bad}"),
        "no colon": f"sources:\n  c:\n    path: /c\n    secrets:{bad}\n",
        "no map": bad,
    }


async def misconfigure(scene: Scene, program: Program, session: aiohttp.ClientSession) -> None:
    """Reload faulty files, one after the other, by each of the three ways."""
    path = scene.folder / "relay.yaml"
    for what, text in faulty(scene.mark).items():
        path.write_text(text)
        assert await reload(scene, program, session) == 422, what
    program.signal(signal.SIGHUP)
    await program.log("config_reload_failed", cause="SIGHUP")
    path.write_text(f"sources: {scene.mark('faulty value')}")
    await program.log("config_reload_failed", cause="file")


def run_verbs(scene: Scene, config: Path) -> None:
    """Run every verb that ends by itself, in this process, on good files and faulty ones."""
    runner, mark = CliRunner(env=scene.env), scene.mark

    def run(*args: str, code: int) -> None:
        done = runner.invoke(main, args)
        scene.note(" ".join(args[:2]) + " stdout", done.stdout)
        scene.note(" ".join(args[:2]) + " stderr", done.stderr)
        assert done.exit_code == code, (args, done.output)

    on = ("-c", str(config))
    for verb in VERBS:
        run(verb, "--help", code=0)
    run("schema", code=0)
    for options in ([], ["--strict"], ["--json"], ["--no-secrets"], ["--strict", "--json"]):
        run("check", *options, *on, code=0)
    for options in (["gh_oauth_workflow_failed"], ["--set", "branch=main"]):
        run("explain", *options, "--source", "circleci", *on, code=0)
        run("explain", *options, "--source", "circleci", "--json", *on, code=0)
    to = ("--to", f"http://127.0.0.1:1/{mark('list')}")
    for source in (["--source", "circleci"], ["--source", "mapped", "--name", "web"]):
        # Nobody listens: port 0 of the file, and port 1.
        run("send", "gh_oauth_workflow_failed", *source, *on, code=1)
        run("send", "gh_oauth_workflow_failed", "--json", *source, *on, code=1)
    run("send", "ping", "--secret-env", "MARKED_SECRET", *to, code=1)
    wrong = config.with_name("wrong.yaml")
    for text in faulty(mark).values():
        wrong.write_text(text)
        for verb in (
            ["check"],
            ["check", "--json"],
            ["explain", "--set", "branch=main"],
            ["send", "gh_oauth_workflow_failed"],
            ["serve"],
        ):
            run(*verb, "-c", str(wrong), code=1)


async def speak_text(scene: Scene, config: Path, session: aiohttp.ClientSession) -> None:
    """Run it once more, logging as on a terminal: deliveries, rejects, a faulty reload."""
    args = ("--log-level", "debug", "--log-format", "text")
    async with command(scene, "serve", "-c", str(config), *args) as program:
        hooks = f"http://{(await line(program, r' started .* listen=([^ ]+)'))[1]}"
        body = an_event_on("main", 90)
        url = hooks + "/webhooks/circleci"
        assert await post(scene, session, url, body, scene.mark("list")) == 202
        for name in scene.destinations():
            if name != "rotating":
                await line(program, rf" attempt .*destination={name} .*then=(dead|delivered)")
        await offend(scene, hooks, session)
        for what, text in faulty(scene.mark).items():
            if what in {"unknown key", "tag"}:
                config.write_text(text)
                program.signal(signal.SIGHUP)
                await line(program, r" config_reload_failed .*cause=SIGHUP")
        assert await program.stop() == 0


async def fail_to_start(scene: Scene, config: Path) -> None:
    """Start it where its port is taken."""
    taken = yaml.safe_load(config.read_text())
    taken["server"]["listen"] = f"127.0.0.1:{scene.echo['delivered'].port}"
    config.write_text(yaml.safe_dump(taken))
    async with command(scene, "serve", "-c", str(config)) as program:
        assert await program.ended() == 1
        await line(program, "is already in use")


async def sink(scene: Scene, session: aiohttp.ClientSession) -> None:
    """Receive a signed event, and a forged one, with a secret to verify them by."""
    log = scene.folder / "sink.log"
    args = ("--listen", "127.0.0.1:0", "--secret-env", "MARKED_SECRET", "--log", str(log))
    secret = scene.mark("list from a variable")
    async with command(scene, "sink", *args) as program:
        url = (await line(program, r"listening on (\S+)"))[1]
        for key in (secret, "not-the-secret"):
            assert await post(scene, session, url, an_event(), key) == 200
        await line(program, "signature verified")
        await line(program, "SIGNATURE WRONG")
        assert await program.stop() == 0
    scene.note("sink --log", log.read_bytes())


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


def check_that_all_was_in_play(scene: Scene) -> None:
    """Fail if a secret was nowhere it could have leaked from, so that the search means something."""
    mark = scene.mark
    for name in ("delivered", "failing", "padded", "garbled", "rotating"):
        request = scene.echo[name].requests[0]
        for part in ("path", "query"):
            assert quote(mark(f"{name} {part}"), safe="") in request.line, name
        assert request.headers["x-api-key"] == mark(f"{name} header")
        assert request.headers["x-shared"] == mark("header of all")
    delivered, failing = (scene.echo[name].requests[0] for name in ("delivered", "failing"))
    assert delivered.headers["authorization"] == "Bearer " + mark("bearer")
    assert delivered.headers["x-variable"] == "token=" + mark("header from a variable")
    assert delivered.headers["x-file"] == mark("header from a file")
    for place in ("whsec", "old"):
        Webhook(mark(place)).verify(delivered.body, delivered.headers)
    basic = base64.b64decode(failing.headers["authorization"].removeprefix("Basic ")).decode()
    assert basic == f"relay:{mark('password in basic')}"
    own = failing.headers["circleci-signature"]
    signature.verify(failing.body, own, secret=mark("circleci sign").encode())
    proxied = scene.echo["proxy"].requests
    assert {request.line.partition(" ")[0] for request in proxied} == {"POST", "CONNECT"}
    wanted = f"{mark('proxy user')}:{mark('proxy password')}"
    for request in proxied:
        word = request.headers["proxy-authorization"].removeprefix("Basic ")
        assert base64.b64decode(word).decode() == wanted

    tried = attempts(scene)
    assert {name: {result for result, _, _ in each} for name, each in tried.items()} == {
        "delivered": {"ok"},
        "failing": {"server_error"},
        "padded": {"client_error"},
        "garbled": {"protocol"},
        "refused": {"connection"},
        "unresolved": {"connection"},
        "untrusted": {"tls"},
        "not-tls": {"tls"},
        "proxied": {"client_error"},
        "tunnelled": {"connection"},
        "proxy-down": {"connection"},
        "rotating": {"server_error"},
    }
    for name, each in tried.items():
        for result, error, excerpt in each:
            assert error or excerpt, (name, result)
    for name in ("delivered", "failing", "proxied", "rotating"):
        # What was echoed is kept, all but the secrets.
        for _, _, excerpt in tried[name]:
            assert "x-shared: ***" in excerpt
            assert END in excerpt


async def test_no_secret_is_in_any_output(tmp_path: Path, receiver: StartReceiver) -> None:
    """Every command and endpoint, on good files and faulty ones, gives no secret away."""
    scene = await set_up(tmp_path, receiver)
    async with a_tls_server() as scene.tls_port, aiohttp.ClientSession() as session:
        config = scene.write()
        args = ("--log-level", "debug", "--log-format", "json")
        async with command(scene, "serve", "-c", str(config), *args) as program:
            await program.ready()
            await deliver(scene, program, session)
            await offend(scene, program.url("listen"), session)
            await ask_everything(scene, program, session)
            await rotate(scene, program, session)
            scene.note_store("while it serves")
            await misconfigure(scene, program, session)
            assert await program.stop() == 0
        scene.note_store("at rest")
        await speak_text(scene, scene.write(), session)
        await fail_to_start(scene, scene.write())
        await sink(scene, session)
        await asyncio.to_thread(run_verbs, scene, scene.write())
    scene.note_store("in the end")
    check_that_all_was_in_play(scene)
    assert scene.mark.leaks(scene.said) == []


@pytest.mark.parametrize("form", [name for name, _ in forms("x" * 20)])
def test_the_search_finds_what_it_is_for(form: str) -> None:
    """A secret is found in each form, in the middle of other text."""
    mark = Marks()
    secret = mark("place", odd=ODD)
    said = {"log": b"some " + dict(forms(secret))[form].encode() + b" text"}
    assert f"log: place ({form})" in mark.leaks(said)


@pytest.mark.parametrize("ahead", range(5))
def test_the_search_finds_base64(ahead: int) -> None:
    """A secret is found wherever in a base64 text it stands."""
    mark = Marks()
    said = base64.b64encode(b"x" * ahead + mark("place").encode() + b" and more")
    assert mark.found_in(said)
