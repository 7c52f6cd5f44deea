"""The verbs that ask a running relay: what they show, what they change, what they say is wrong."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click
import pytest
from click.testing import CliRunner
from click.testing import _NamedTextIOWrapper as Input
from rich.cells import cell_len

from circleci_relay.cli import filters, main
from circleci_relay.cli.bulk import share_of, watch
from circleci_relay.cli.client import Client, Where
from circleci_relay.cli.columns import Column, table_of
from circleci_relay.cli.filters import Instant
from circleci_relay.cli.marks import last_try, standing_of
from circleci_relay.cli.tail import parsed
from circleci_relay.console import requests
from support.program import Program, an_event, circleci, write_config
from support.receiver import Receiver, answer
from support.starting import PIPE, start

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from click.testing import Result
    from pydantic import BaseModel

OPERATOR, VIEWER = "an-operators-token", "a-viewers-token-here"
TOKENS = {
    "looks": {"token": VIEWER, "role": "viewer"},
    "acts": {"token": OPERATOR, "role": "operator"},
}
EVIL = "main\x1b[2J\nforged"


class Scene:
    """A relay, where it delivers to, and a person at a terminal."""

    def __init__(self, config: Path, program: Program, good: Receiver, bad: Receiver) -> None:
        self.config = config
        self.program = program
        self.good = good
        self.bad = bad
        self.by_name = {
            "CIRCLECI_RELAY_SERVER": program.url("admin"),
            "CIRCLECI_RELAY_TOKEN": OPERATOR,
        }
        self.by_file = {"CIRCLECI_RELAY_CONFIG": str(config)}

    async def run(self, *args: str, code: int = 0, env: Mapping[str, str] | None = None) -> Result:
        """Run a verb; unless *env* does, variables name the relay and a token."""
        environment = self.by_name if env is None else env
        runner = CliRunner(env=environment)
        done = await asyncio.to_thread(runner.invoke, main, args, catch_exceptions=False)
        assert done.exit_code == code, done.output
        return done

    async def json(self, *args: str) -> Any:
        """Run a verb with --json."""
        return json.loads((await self.run(*args, "--json")).stdout)

    async def states(self, *args: str, **wanted: int) -> None:
        """Wait until deliveries stand so."""
        async with asyncio.timeout(20):
            while True:
                found = [each["state"] for each in (await self.json("deliveries", *args))["items"]]
                if {name: found.count(name) for name in set(found)} == wanted:
                    return


def a_port() -> int:
    """A port that is free now, and still is in a moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@asynccontextmanager
async def playing(folder: Path) -> AsyncIterator[Scene]:
    """A relay that has taken in four events: two failed, of which it could tell nobody."""
    async with AsyncExitStack() as stack:
        receivers = []
        for each in (Receiver([answer(200)]), Receiver([answer(410, body=b"gone\x1b[2J")])):
            server = await asyncio.start_server(each.serve, "127.0.0.1", 0)
            each.port = server.sockets[0].getsockname()[1]
            stack.callback(server.close)
            receivers.append(each)
        good, bad = receivers
        config = write_config(
            folder,
            server={"admin": f"127.0.0.1:{a_port()}", "admin_tokens": TOKENS},
            destinations={
                "good": {"url": good.url("/g")},
                "bad": {"url": bad.url("/b"), "retry": {"dead_on": [410]}},
            },
            routes={
                "all": {"to": "good"},
                "red": {"match": {"status": "failed"}, "to": "bad"},
            },
        )
        program = await (await Program.start(config)).ready()
        scene = Scene(config, program, good, bad)
        try:
            async with circleci(program) as sender:
                for number, status in enumerate(["success", "failed", "failed", "success"]):
                    body = an_event(
                        number,
                        workflow={"name": "build", "status": status},
                        pipeline={
                            "number": 41,
                            "vcs": {"branch": EVIL if number == 3 else "main"},
                        },
                    )
                    assert (await sender.post(body))[0] == 202
                assert (await sender.post(an_event(9), secret="another secret"))[0] == 401
            await scene.states(delivered=4, dead=2)
            yield scene
        finally:
            await scene.program.kill()


async def test_a_night(tmp_path: Path) -> None:
    """From "did CircleCI tell us" to "everybody knows", without a browser."""
    async with playing(tmp_path) as scene:
        await look(scene)
        await repair(scene)
        await agree(scene)
        await steer(scene)
        await propose(scene, tmp_path)
        await recheck(scene)
        await refused(scene, tmp_path)
        await follow(scene, tmp_path)


async def look(scene: Scene) -> None:
    """Lists, and one of each whole; nothing is printed that a terminal obeys."""
    listed = await scene.run("events", "--since", "1h")
    assert f"received ({datetime.now().astimezone().tzname()})" in listed.stdout
    assert listed.stdout.count("failed") >= 2
    assert "✗ 1 dead, ✓ 1 delivered" in listed.stdout
    assert "\x1b" not in listed.stdout
    evil = (await scene.json("events", "--status", "success", "--limit", "1"))["items"][0]["id"]
    shown = await scene.run("events", "show", evil)
    assert "main\\x1b[2J\\nforged" in shown.stdout
    found = await scene.json("events", "--status", "failed", "--outcome", "dead")
    assert (len(found["items"]), found["next"]) == (2, None)
    event = found["items"][0]
    few = await scene.run("events", "--limit", "1")
    assert "there are more" in few.stderr
    all_of_it = await scene.json("events", "--all", "--limit", "1")
    assert len(all_of_it["items"]) == 4
    assert "none found" in (await scene.run("events", "--branch", "nowhere")).stderr

    whole = await scene.run("events", "show", event["circleci_id"], env=scene.by_file)
    assert event["id"] in whole.stdout
    assert "status is failed" in whole.stdout
    assert "attempt 1 was answered: gone\\x1b[2J" in whole.stdout
    assert "pipeline_number  41\n" in whole.stdout
    raw = await scene.run("events", "show", event["id"], "--body")
    assert json.loads(raw.stdout)["id"] == event["circleci_id"]
    assert (await scene.json("events", "show", event["id"]))["id"] == event["id"]

    dead = await scene.run("dead")
    assert "bad" in dead.stdout
    assert "2 dead" in dead.stdout
    assert (await scene.json("dead"))["total"] == 2
    [one, _] = (await scene.json("deliveries", "--state", "dead"))["items"]
    shown = await scene.run("deliveries", "show", one["id"])
    assert "dead: refused" in shown.stdout
    assert "client_error 410" in shown.stdout
    assert (await scene.json("deliveries", "show", one["id"]))["log"][0]["status"] == 410
    table = await scene.run("deliveries", "--destination", "bad")
    assert table.stdout.count("✗ dead: refused") == 2


async def repair(scene: Scene) -> None:
    """One by one, and all that a filter selects: counted, agreed to, done once."""
    event = (await scene.json("events", "--status", "failed"))["items"][0]["id"]
    elsewhere = await scene.run("replay", event, "--to", "good")
    assert f"replayed: {event} to good, delivery " in elsewhere.stdout
    await scene.states(delivered=5, dead=2)

    counted = await scene.run("replay", "--state", "dead", "--dry-run")
    assert "2 deliveries to replay:\n  bad: 2" in counted.stdout
    assert (await scene.json("replay", "--state", "dead", "--dry-run"))["count"] == 2
    unasked = await scene.run("replay", "--state", "dead", code=1)
    assert "say --yes" in unasked.stderr
    assert (await scene.json("dead"))["total"] == 2
    await scene.run("replay", code=2)
    await scene.run("replay", event, "--state", "dead", code=2)
    await scene.run("replay", "123", "--to", "good", code=2)
    await scene.run("replay", "--state", "dead", "--to", "good", code=2)

    scene.bad.answers = [answer(200)]
    key = ("--idempotency-key", "the-night-of-1")
    job = await scene.json("replay", "--state", "dead", "--yes", "--rate", "1000", *key)
    assert (job["state"], job["made"]) == ("done", 2)
    await scene.states("--job", job["id"], delivered=2)
    assert "nothing is dead" in (await scene.run("dead")).stdout
    nothing = await scene.run("replay", "--state", "dead", "--yes")
    assert nothing.stdout == "nothing is selected: there is nothing to replay\n"
    nothing = await scene.run("replay", "--destination", "bad", "--dry-run")
    assert "no dead delivery is selected; --state delivered" in nothing.stdout
    listed = await scene.run("jobs")
    assert job["id"] in listed.stdout
    assert "2 of 2" in listed.stdout
    assert "state=dead" in (await scene.run("jobs", "show", job["id"])).stdout
    assert (await scene.json("jobs", "--state", "done"))["items"][0]["id"] == job["id"]
    assert (await scene.json("jobs", "show", job["id"]))["made"] == 2
    [once, *_] = (await scene.json("deliveries", "--job", job["id"]))["items"]
    again = await scene.json("replay", once["id"], "--new-id", "--again")
    assert again["deliveries"][0]["replay_of"] == once["id"]
    await scene.states("--destination", "bad", dead=2, delivered=3)


async def agree(scene: Scene) -> None:
    """At a terminal one is asked, and may say no."""
    runner = CliRunner(env=scene.by_name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Input, "isatty", lambda _: True, raising=False)
        args = ["replay", "--destination", "good", "--state", "delivered"]
        done = await asyncio.to_thread(runner.invoke, main, args, input="n\n")
    assert done.exit_code == 1
    assert "? [y/N]: n" in done.stderr


async def steer(scene: Scene) -> None:
    """Pausing keeps, cancelling ends, resuming and retrying go on."""
    paused = await scene.run("pause", "good", "--why", "a migration")
    assert "paused  good (a migration): " in paused.stdout
    event = (await scene.json("events", "--status", "success"))["items"][0]["id"]
    [waiting] = (await scene.json("replay", event))["deliveries"]
    clash = await scene.run("replay", event, code=1)
    assert clash.stderr.count("\n") == 1
    listed = await scene.run("deliveries", "--state", "pending")
    assert "pending: paused" in listed.stdout
    cancelled = await scene.run("cancel", waiting["id"])
    assert "cancelled: " in cancelled.stdout
    await scene.run("replay", event)
    job = await scene.json("cancel", "--destination", "good", "--yes")
    assert (job["kind"], job["state"], job["made"]) == ("cancel", "done", 1)
    await leave(scene)
    ended = await scene.run("cancel", "--job", job["id"], code=1)
    assert "circleci-relay: " in ended.stderr
    await scene.run("cancel", code=2)
    await scene.run("cancel", "1", "--job", "2", code=2)
    assert (await scene.json("resume", "good"))["paused"] is False
    assert "0 are tried now" in (await scene.run("retry", "good", "--held")).stdout
    for args in (["pause", "goo"], ["dead", "--destination", "goo"]):
        nobody = await scene.run(*args, code=1)
        assert "goo" in nobody.stderr
    assert "no destination is called goo" in nobody.stderr
    await scene.run("tail", "--destination", "goo", code=1)
    await scene.run("deliveries", "--job", "01NONE", code=1)


async def leave(scene: Scene) -> None:
    """Ending a job takes back what nobody attempted, and says how much that is."""
    slow = ["--state", "delivered", "--rate", "1", "--yes", "--no-wait"]
    job = (await scene.json("replay", "--destination", "good", *slow))["id"]
    ended = await scene.run("cancel", "--job", job)
    assert "it made were taken back\n" in ended.stdout


async def propose(scene: Scene, folder: Path) -> None:
    """A new relay.yaml is sent as it is, and its difference told; its faults too."""
    new = folder / "new.yaml"
    text = """
        sources: {circleci: {path: /hook, secrets: ["${env:NOT_THERE}"]}}
        destinations: {good: {url: "http://localhost/"}, other: {url: "${env:NOT_THERE}"}}
        routes: {all: {to: other}}
    """
    await asyncio.to_thread(new.write_text, text)
    shown = await scene.run("backtest", "-c", str(new))
    assert "4 events looked at" in shown.stdout
    assert "+4" in shown.stdout
    found = await scene.json("backtest", "-c", str(new), "--since", "1h")
    assert (found["added"], found["dropped"], found["next"]) == (4, 6, None)
    dropped = await scene.run("backtest", "-c", str(new), "--fail-on-drop", code=1)
    assert "6 deliveries would be dropped" in dropped.stderr
    await asyncio.to_thread(new.write_text, text.rstrip() + "\n        nonsense: 1\n")
    faulty = await scene.run("backtest", "-c", str(new), code=1)
    assert faulty.stderr.startswith(f"{new}:5:9: nonsense: unknown key")
    assert faulty.stderr.endswith("circleci-relay: the configuration is faulty\n")


async def recheck(scene: Scene) -> None:
    """What was turned away is shown as what it is, and taken in once it holds."""
    async with asyncio.timeout(20):  # written within a second
        while not (found := await scene.json("rejects"))["items"]:
            pass
    [reject] = found["items"]
    listed = await scene.run("rejects", "--reason", "unauthorized")
    assert "✗ unauthorized: circleci-signature does not match" in listed.stdout
    assert "untrusted" in listed.stderr
    shown = await scene.run("rejects", "show", reject["id"])
    assert "circleci-signature does not match" in shown.stdout
    assert reject["circleci_id"] in shown.stdout
    done = await scene.run("rejects", "recheck", "--source", "circleci", code=1)
    assert done.stdout == "1 reject checked, 0 taken in; still turned away: 1 unauthorized\n"
    done = await scene.run("rejects", "recheck", reject["id"], "--json", code=1)
    assert json.loads(done.stdout)["checked"] == 1
    await scene.run("rejects", "recheck", reject["id"], "--source", "circleci", code=2)


async def refused(scene: Scene, folder: Path) -> None:
    """Each thing that can be wrong is one line that says which, and what to do."""
    server = ("--server", scene.program.url("admin"))
    nobody: dict[str, str] = {}

    async def said(*args: str, env: Mapping[str, str] | None = None) -> str:
        done = await scene.run(*args, code=1, env=env)
        assert done.stderr.count("\n") == 1
        return done.stderr

    assert "wants a token" in await said("events", *server, env=nobody)
    assert "does not know the token from --token" in await said("events", "--token", "x" * 20)
    by_env = scene.by_name | {"CIRCLECI_RELAY_TOKEN": VIEWER}
    viewer = await said("resume", "good", env=by_env)
    assert "the token from CIRCLECI_RELAY_TOKEN may only look (viewer)" in viewer
    for listener in ("listen", "ops"):
        wrong = await said("events", "--server", scene.program.url(listener))
        assert "is not the admin API of a circleci-relay" in wrong
    nothing = f"http://127.0.0.1:{a_port()}"
    assert "nothing listens at" in await said("events", "--server", nothing)
    tls = scene.program.url("admin").replace("http://", "https://")
    assert "is it http://" in await said("events", "--server", tls)
    assert "no such event" in await said("events", "show", "01NONE")
    asked = await scene.run("events", "-c", str(folder / "none.yaml"), code=1, env=nobody)
    assert "none.yaml" in asked.stderr
    await scene.run("events", "--server", "nonsense", code=2)
    file = folder / "token"
    await asyncio.to_thread(file.write_text, f"{VIEWER}\n")
    listed = await scene.run("events", *server, "--token-file", str(file), "--json", env=nobody)
    assert json.loads(listed.stdout)["items"]
    above = await said("events", *server, "--token", VIEWER, "show", "01NONE", env=nobody)
    assert "wants a token" not in above
    url, lacking = scene.program.url("admin").removeprefix("http://"), folder / "lacking.yaml"
    text = (
        f'{{server: {{admin: "{url}", admin_tokens: {{a: {{token: "${{env:NOT_THERE}}"}}}}}},'
        " sources: {a: {path: /a, unsigned: true}}}"
    )
    await asyncio.to_thread(lacking.write_text, text)
    assert "NOT_THERE" in await said("events", "-c", str(lacking), env=nobody)


async def follow(scene: Scene, folder: Path) -> None:
    """What happens is told while it does, also after the relay was away; Ctrl-C ends it."""
    piped: dict[str, Any] = {"stdout": PIPE, "stderr": PIPE, "cwd": folder, "env": scene.by_name}
    process = await start("tail", "--json", **piped)
    people = await start("tail", **piped)
    assert process.stdout is not None
    assert process.stderr is not None
    assert people.stdout is not None
    assert people.stderr is not None
    try:
        async with asyncio.timeout(20):
            for each in (people, process):
                assert each.stderr is not None
                assert b"listening; times are" in await each.stderr.readline()
            await post(scene.program, 21)
            told = [json.loads(await process.stdout.readline()) for _ in range(2)]
            assert [each["kind"] for each in told] == ["event", "attempt"]
            assert told[1]["destination"] == "good"
            assert b"workflow build succeeded" in await people.stdout.readline()
            assert b"ok 200" in await people.stdout.readline()
            await scene.program.stop()
            assert b"the connection is lost" in await process.stderr.readline()
            scene.program = await (await Program.start(scene.config)).ready()
            while b"listening again" not in await process.stderr.readline():
                pass
            await post(scene.program, 22)
            assert json.loads(await process.stdout.readline())["kind"] == "event"
            for each in (process, people):
                each.send_signal(signal.SIGINT)
                assert await each.wait() == 0
    finally:
        for each in (process, people):
            if each.returncode is None:
                each.kill()
                await each.wait()


async def post(program: Program, number: int) -> None:
    """Send an event."""
    async with circleci(program) as sender:
        assert (await sender.post(an_event(number)))[0] == 202


@pytest.mark.parametrize(
    "args",
    [
        ["-c", "relay.yaml"],
        ["-c", "."],
        ["-c", "relay.yaml", "--token", OPERATOR],
        ["-c", "relay.yaml", "--relay", "link.yml"],
        ["-c", "link.yml", "--relay", "relay.yaml"],
        ["-c", "hard.yml", "--relay", "relay.yaml"],
        ["-c", "relay.yaml", "--relay", "."],
        ["-c", "out/link.yml", "--server", "nobody"],
        ["-c", "out", "--server", "nobody"],
        ["-c", "relay.yaml", "--server", "ours"],
        ["-c", "relay.yaml", "--server", "ours", "--token-file", "token"],
    ],
    ids=" ".join,
)
async def test_whoever_proposes_is_told_nothing(
    args: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proposed relay.yaml says neither where to ask nor what is shown there."""
    monkeypatch.chdir(tmp_path)
    theirs, ours = Receiver([answer(200)]), Receiver([answer(200)])
    async with AsyncExitStack() as stack:
        for each in (theirs, ours):
            server = await asyncio.start_server(each.serve, "127.0.0.1", 0)
            each.port = server.sockets[0].getsockname()[1]
            stack.callback(server.close)
        (tmp_path / "relay.yaml").write_text(
            f'{{server: {{admin: "127.0.0.1:{theirs.port}", external_url: "{ours.url("")}",'
            ' admin_tokens: {a: {token: "${env:DEPLOY_KEY}", role: operator}}},'
            " sources: {a: {path: /a, unsigned: true}}}"
        )
        (tmp_path / "link.yml").symlink_to("relay.yaml")
        (tmp_path / "out").mkdir()
        for name in ("link.yml", "link.yaml"):
            (tmp_path / "out" / name).symlink_to("../token")
        (tmp_path / "hard.yml").hardlink_to(tmp_path / "relay.yaml")
        (tmp_path / "token").write_text(OPERATOR)
        named = [ours.url("") if each in {"ours", "nobody"} else each for each in args]
        runner = CliRunner(env={"DEPLOY_KEY": "nobody-elses-business"})
        done = await asyncio.to_thread(runner.invoke, main, ["backtest", *named])
    assert done.exit_code == 1
    assert theirs.requests == []
    assert len(ours.requests) == ("ours" in args)
    assert not any("nobody-elses" in str(each.headers) for each in ours.requests)
    assert "nobody-elses" not in done.output
    why = "leads out of its folder" if "nobody" in args else " is proposed, so it is not asked"
    assert "ours" in args or why in done.stderr


@pytest.mark.parametrize("width", [80, 100, 120])
def test_a_list_is_a_line_each(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a terminal the title gives way, and never what is to be copied."""
    for name, value in {"TTY_COMPATIBLE": "1", "COLUMNS": str(width), "TERM": "xterm"}.items():
        monkeypatch.setenv(name, value)
    cells = {"title": "漢" * 300, "id": "01K3ZT6M5X8QJ2W9V4B7C1D0EF", "at": "2026-03-02 09:46:07"}
    columns = [
        Column(head="at", show=lambda each: each["at"], brief=lambda each: each["at"][11:]),
        Column(head="title", show=lambda each: each["title"], cut=True),
        Column(head="never said", show=lambda _: ""),
        Column(head="wide", show=lambda _: "there is room", least=100),
        Column(head="id", show=lambda each: each["id"]),
    ]
    table_of(columns, [cells, {**cells, "title": "short\x1b[2J"}])
    _, rule, one, other = capsys.readouterr().out.splitlines()
    assert cell_len(rule) <= width
    assert width - 1 <= cell_len(one) <= width
    assert one.endswith(cells["id"])
    assert "…" in one
    assert one.startswith("09:46:07  ")
    assert "short\\x1b[2J" in other
    assert ("there is room" in one) == (width >= 100)


def test_progress_is_what_was_made() -> None:
    """A job's share is of what was expected, where that is known."""
    job = {"state": "running", "made": 20, "skipped": 5, "expected": 100, "progress": 0.9}
    assert share_of(job) == 0.25
    assert share_of({**job, "expected": None}) == 0.9
    assert share_of({**job, "expected": 10}) == 1.0
    assert share_of({**job, "expected": None, "progress": None}) is None


def test_a_job_goes_on_without_whoever_began_it(capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C says once how to look and how to end it."""

    def leave(_: Mapping[str, Any]) -> bool:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as left:
        watch(Client(Where(url="http://localhost:1", url_by="a test")), {"id": "J"}, until=leave)
    assert left.value.code == 130
    told = capsys.readouterr().err
    assert told.count("the job goes on") == 1
    assert "`circleci-relay jobs show J`" in told
    assert "`circleci-relay cancel --job J`" in told


def test_words() -> None:
    """What a word of the API's does not say by itself is said."""
    assert last_try("lost", None, "cancelled").startswith("cut short when the relay ended")
    assert standing_of("open").text.endswith("failing, breaker open")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["deliveries", "show", "abc"], "abc is no delivery's id: these are numbers"),
        (["cancel", "abc"], "abc is no delivery's id: these are numbers"),
        (["events", "--since", "yesterday"], "how long ago (90m, 2h, 3d)"),
        (["replay", "--state", "dead", "--idempotency-key", "a"], "8 to 100 letters"),
    ],
)
def test_misuse_is_said_before_anything_is_asked(args: list[str], said: str) -> None:
    """Nobody is asked what can be seen to be wrong from here."""
    done = CliRunner().invoke(main, args)
    assert done.exit_code == 2
    assert said in done.stderr


@pytest.mark.parametrize(
    ("known", "shape"),
    [
        (filters.EVENTS, requests.EventQuery),
        (filters.DELIVERIES, requests.DeliveryQuery),
        (filters.DEAD, requests.DeadQuery),
        (filters.REJECTS, requests.RejectQuery),
        (filters.STREAM, requests.StreamQuery),
        (filters.JOBS, requests.JobQuery),
        (filters.SELECTION, requests.Selection),
    ],
)
def test_filters_are_the_apis(known: Mapping[str, Any], shape: type[BaseModel]) -> None:
    """Each has the name that the API gives it, and none is left out."""
    assert set(known) == set(shape.model_fields) - {"limit", "before", "deliveries"}


def test_times_are_local() -> None:
    """A time without a zone is of the terminal's; how long ago is left to the relay."""
    kind = Instant()

    def read(text: str) -> str:
        return kind.convert(text, None, None)

    assert read("2h") == "2h"
    assert read("2026-01-31T03:00:00Z") == "2026-01-31T03:00:00Z"
    local = datetime(2026, 1, 31, 3, tzinfo=None).astimezone(UTC)
    assert datetime.fromisoformat(read("2026-01-31 03:00")) == local
    today = datetime.fromisoformat(read("03:00"))
    assert abs(today - datetime.now(UTC)) < timedelta(days=1)
    for wrong in ("soon", "25:00", "2026-13-01", ""):
        with pytest.raises(click.BadParameter):
            read(wrong)


def test_what_is_no_event_is_passed_by() -> None:
    """Comments, broken JSON and what is no object are no events."""
    lines = b': hello\nretry: 2\n\nevent: event\nid: 1\ndata: {"a":1}\n\ndata: [\n\ndata: 1\n\n'
    assert list(parsed(lines.splitlines(keepends=True))) == [("event", {"a": 1})]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str) -> None:
    """The script asks this program, which knows its verbs without importing them."""
    script = CliRunner().invoke(main, ["completion", shell])
    assert "_CIRCLECI_RELAY_COMPLETE" in script.stdout
    words = {"COMP_WORDS": "circleci-relay re", "COMP_CWORD": "1" if shell != "fish" else "re"}
    env = {"_CIRCLECI_RELAY_COMPLETE": f"{shell}_complete", **words}
    found = CliRunner(env=env).invoke(main, [], prog_name="circleci-relay")
    verbs = ("render", "rejects", "replay", "resume", "retry")
    assert all(verb in found.stdout for verb in verbs)
    assert "serve" not in found.stdout
