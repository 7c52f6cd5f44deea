"""
No secret in any output: marked secrets stand wherever one can, everything said is searched.

Said is: both streams of every command, in text and JSON; every answer of every endpoint; and
the database, its log included. `demo` is left out: it reads no secret that is anyone's.
"""

from __future__ import annotations

import asyncio
import base64
import re
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

import aiohttp
import pytest
from click.testing import CliRunner
from standardwebhooks import Webhook
from yarl import URL

from circleci_relay.circleci import signature
from circleci_relay.cli import main
from circleci_relay.cli.verbs import VERBS
from support.marks import Marks, faulty, forms
from support.program import PATIENCE, Program, an_event
from support.receiver import Receiver
from support.secret_scene import END, ODD, Scene, an_event_on, attempts, set_up, tls_servers
from support.starting import PIPE, start

if TYPE_CHECKING:
    from pathlib import Path

StartReceiver = Callable[..., Awaitable[Receiver]]


@asynccontextmanager
async def command(scene: Scene, *args: str) -> AsyncIterator[Program]:
    """Run a command for as long as the block lasts; keep all of both streams."""
    process = await start(*args, stdout=PIPE, env=scene.env, limit=1 << 24)
    program = Program(process)
    scene.note(f"{args[0]} stdout", "")

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
        await program.written.wait_for(lambda: found() or program.process.returncode is not None)
    seen = found()
    assert seen, "".join(program.raw)
    return seen


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
    assert await post(scene, session, url, b"{}" + b" " * (1 << 16), mark("list")) == 413
    conflict = an_event(0, happened_at="another time")
    assert await post(scene, session, url, conflict, mark("list")) == 200
    # The secret itself, where its name belongs.
    for place in ("directory api", "map"):
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

    def run(*args: str, code: int | None = None) -> None:
        done = runner.invoke(main, args)
        scene.note(" ".join(args[:2]) + " stdout", done.stdout)
        scene.note(" ".join(args[:2]) + " stderr", done.stderr)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
        assert code in {None, done.exit_code}, (args, done.output)

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
        run("send", "gh_oauth_workflow_failed", *source, *on, code=1)
        run("send", "gh_oauth_workflow_failed", "--json", *source, *on, code=1)
    run("send", "gh_oauth_workflow_failed", "--secret-env", "MARKED_SECRET", *to, code=1)
    wrong = config.with_name("wrong.yaml")
    for text in faulty(mark).values():
        wrong.write_text(text)
        for words in (["check"], ["check", "--json"], ["serve"]):
            run(*words, "-c", str(wrong), code=1)
        # These do without secrets, and so without what is wrong with some.
        run("explain", "--set", "branch=main", "-c", str(wrong))
        run("send", "gh_oauth_workflow_failed", *to, "-c", str(wrong))


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
                await asyncio.to_thread(config.write_text, text)
                program.signal(signal.SIGHUP)
                await line(program, r" config_reload_failed .*cause=SIGHUP")
        assert await program.stop() == 0


def listening_on(config: Path, port: int) -> Path:
    """Change the port in *config* that hooks are taken at."""
    text = config.read_text()
    config.write_text(text.replace("listen: 127.0.0.1:0", f"listen: 127.0.0.1:{port}"))
    return config


async def fail_to_start(scene: Scene, config: Path) -> None:
    """Start it where its port is taken."""
    listening_on(config, scene.echo["delivered"].port)
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


def check_that_all_was_in_play(scene: Scene) -> None:
    """Fail if a secret was nowhere it could have leaked from."""
    mark = scene.mark
    for name in ("delivered", "failing", "padded", "garbled", "rotating"):
        request = scene.echo[name].requests[0]
        for part in ("path", "query"):
            assert mark(f"{name} {part}") in unquote(request.line), name
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
    async with tls_servers() as scene.tls_ports, aiohttp.ClientSession() as session:
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
        await asyncio.to_thread(run_verbs, scene, listening_on(scene.write(), 1))
    scene.note_store("in the end")
    check_that_all_was_in_play(scene)
    assert scene.said.keys() >= {"serve stdout", "sink --log", "relay.db at rest"}
    leaks = scene.mark.leaks(scene.said)
    assert leaks == [], "\n".join(leaks)


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
