"""`send` and `sink`, which are tried on each other: real processes, real sockets."""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from circleci_relay.circleci import payload, samples
from circleci_relay.cli.receiver import Arrival, Manner, Receiver
from circleci_relay.cli.sink import LONGEST_SHOWN, _for_people, _reporter, _whole
from circleci_relay.errors import StartupError

if TYPE_CHECKING:
    from pathlib import Path

Relay = Callable[..., Awaitable[Any]]
Sinks = Callable[..., AbstractAsyncContextManager[Any]]

SAMPLES = {name: samples.load(name) for name in samples.names()}

SIGNED = ("--secret-env", "HOOK_SECRET")
ENV = {"HOOK_SECRET": samples.SECRET.decode()}


def request(*headers: str, body: bytes) -> bytes:
    """The bytes of a request with any headers and body."""
    lines = ["POST / HTTP/1.1", "host: x", f"content-length: {len(body)}", "connection: close"]
    return "\r\n".join([*lines, *headers, "", ""]).encode("latin-1") + body


def written(path: Path, text: str) -> Path:
    """*path*, holding *text*."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def lines_of(path: Path) -> list[str]:
    """The lines of a file."""
    return path.read_text().splitlines()


def listen_on(config: Path, address: str) -> None:
    """Change a relay.yaml so that it listens on *address*."""
    config.write_text(f"server: {{listen: '{address}'}}\n{config.read_text()}")


def many_secrets(folder: Path, address: str) -> Path:
    """A relay.yaml whose path names the secret, of which there are two."""
    written(folder / "secrets" / "api", "for-api")
    written(folder / "secrets" / "web", samples.SECRET.decode())
    return written(
        folder / "relay.yaml",
        f"""
server: {{listen: '{address}'}}
sources:
  many: {{path: '/hooks/{{secret}}', secrets: {{dir: ./secrets}}}}
destinations:
  warehouse: {{url: http://127.0.0.1:9/}}
routes:
  everything: {{to: warehouse}}
""",
    )


async def test_a_sample_arrives_signed_under_a_fresh_id(relay: Relay, a_sink: Sinks) -> None:
    """What `send` posts is what CircleCI would, and `sink` verifies it."""
    async with a_sink(*SIGNED) as sink:
        done = await relay("send", "gh_oauth_workflow_failed", "--to", sink.url, *SIGNED, env=ENV)
        arrival = await sink.next()
        code = await sink.stop()

    original = SAMPLES["gh_oauth_workflow_failed"]
    expected = samples.with_id(original, arrival["id"])
    assert done.code == 0
    assert arrival["id"] != payload.event_id(payload.parse(original))
    assert arrival["sha256"] == hashlib.sha256(expected).hexdigest()
    assert (arrival["verified"], arrival["answered"]) == (True, 200)
    assert arrival["type"] == "workflow-completed"
    assert code == 0


async def test_the_same_id_is_kept_on_request(relay: Relay, a_sink: Sinks) -> None:
    """`--same-id` posts the very bytes of the payload, `--count` times."""
    async with a_sink() as sink:
        done = await relay(
            *("send", "ping", "--to", sink.url, "--unsigned", "--same-id", "--count", "2", "--json")
        )
        arrivals = [await sink.next(), await sink.next()]

    lines = [json.loads(line) for line in done.out.splitlines()]
    assert [line["status"] for line in lines] == [200, 200]
    digest = hashlib.sha256(SAMPLES["ping"]).hexdigest()
    assert [arrival["sha256"] for arrival in arrivals] == [digest, digest]
    assert [arrival["verified"] for arrival in arrivals] == [None, None]


async def test_a_wrong_signature_is_seen(relay: Relay, a_sink: Sinks, tmp_path: Path) -> None:
    """A sink that knows the secret says when a signature does not fit, or is not there."""
    wrong = written(tmp_path / "secret", "another\n")
    async with a_sink(*SIGNED) as sink:
        await relay("send", "ping", "--to", sink.url, "--secret-file", str(wrong))
        await relay("send", "ping", "--to", sink.url, "--unsigned")
        assert [(await sink.next())["verified"], (await sink.next())["verified"]] == [False, False]


async def test_a_refusal_exits_with_1(relay: Relay, a_sink: Sinks) -> None:
    """`send` is content only with a 2xx."""
    async with a_sink("--status", "503") as sink:
        done = await relay("send", "ping", "--to", sink.url, "--unsigned")

    assert done.code == 1
    assert done.out.startswith("503")
    assert done.err == "circleci-relay: 1 of 1 not accepted\n"


async def test_no_answer_exits_with_1(relay: Relay) -> None:
    """A refused connection is told in one line."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        done = await relay("send", "ping", "--to", url, "--unsigned")

    assert done.code == 1
    assert done.out.startswith("---  ping")


async def test_every_sample_is_listed_and_sent(relay: Relay, a_sink: Sinks) -> None:
    """`--list` names what `--all` sends, each with an id of its own."""
    listed = (await relay("send", "--list")).out.split()
    async with a_sink(*SIGNED) as sink:
        done = await relay("send", "--all", "--to", sink.url, *SIGNED, env=ENV)
        arrivals = [await sink.next() for _ in listed]

    assert done.code == 0
    assert listed == list(SAMPLES)
    assert len({arrival["id"] for arrival in arrivals}) == len(listed)
    assert all(arrival["verified"] for arrival in arrivals)


async def test_a_payload_comes_from_standard_input(relay: Relay, a_sink: Sinks) -> None:
    """Anything can be posted, also what is no event."""
    async with a_sink() as sink:
        done = await relay("send", "-", "--to", sink.url, "--unsigned", stdin=b"\xff not JSON")
        arrival = await sink.next()

    assert done.code == 0
    assert arrival["bytes"] == len(b"\xff not JSON")
    assert (arrival["id"], arrival["type"]) == (None, None)


async def test_the_target_comes_from_relay_yaml(relay: Relay, a_sink: Sinks, config: Path) -> None:
    """Without --to, `send` posts where relay.yaml listens, signed with its source's secret."""
    async with a_sink(*SIGNED) as sink:
        listen_on(config, f"0.0.0.0:{urlsplit(sink.url).port}")
        done = await relay("send", "ping", "-c", str(config), env=ENV)
        arrival = await sink.next()

    assert done.code == 0, done.err
    assert (arrival["path"], arrival["verified"]) == ("/webhooks/circleci", True)


async def test_to_needs_no_address_in_relay_yaml(relay: Relay, a_sink: Sinks, config: Path) -> None:
    """With --to, relay.yaml gives only the secret: its port may be any free one."""
    listen_on(config, "127.0.0.1:0")
    async with a_sink(*SIGNED) as sink:
        to = f"{sink.url}/elsewhere"
        source = ("--source", "circleci", "-c", str(config))
        done = await relay("send", "ping", "--to", to, *source, env=ENV)
        arrival = await sink.next()
    refused = await relay("send", "ping", *source, env=ENV)

    assert done.code == 0, done.err
    assert (arrival["path"], arrival["verified"]) == ("/elsewhere", True)
    assert refused.code == 2
    assert "say --to URL" in refused.err


async def test_a_named_secret_is_part_of_the_path(
    relay: Relay, a_sink: Sinks, tmp_path: Path
) -> None:
    """Where the path names the secret, --name says which, and must where there are many."""
    async with a_sink(*SIGNED) as sink:
        config = many_secrets(tmp_path, f"127.0.0.1:{urlsplit(sink.url).port}")
        unnamed = await relay("send", "ping", "-c", str(config))
        unknown = await relay("send", "ping", "-c", str(config), "--name", "wab")
        done = await relay("send", "ping", "-c", str(config), "--name", "web")
        arrival = await sink.next()

    assert (unnamed.code, unknown.code) == (2, 2)
    assert "--name" in unnamed.err
    assert done.code == 0, done.err
    assert (arrival["path"], arrival["verified"]) == ("/hooks/web", True)


async def test_the_first_attempts_of_each_webhook_id_fail(a_sink: Sinks) -> None:
    """`--fail-first` counts by webhook-id, so one delivery's failures are not another's."""
    async with a_sink("--fail-first", "2", "--fail-status", "502") as sink:
        statuses = []
        async with aiohttp.ClientSession() as session:
            for webhook_id in ("a", "a", "b", "a", "b", "b"):
                headers = {"webhook-id": webhook_id, "relay-attempt": "1"}
                async with session.post(sink.url, data=b"{}", headers=headers) as response:
                    statuses.append(response.status)
                arrival = await sink.next()
                assert arrival["webhook_id"] == webhook_id
                assert arrival["answered"] == statuses[-1]

    assert statuses == [502, 502, 502, 200, 502, 200]


async def test_arrivals_are_logged_to_a_file(a_sink: Sinks, tmp_path: Path) -> None:
    """`--log` appends what --json prints."""
    log = tmp_path / "arrivals.jsonl"
    async with a_sink("--log", str(log)) as sink:
        async with aiohttp.ClientSession() as session:
            await session.put(f"{sink.url}/x?y=1", data=b"1")
        arrival = await sink.next()

    assert [json.loads(line) for line in lines_of(log)] == [arrival]
    assert (arrival["method"], arrival["path"]) == ("PUT", "/x?y=1")


async def test_headers_and_body_are_shown_on_request(a_sink: Sinks, tmp_path: Path) -> None:
    """`--show` puts them into what scripts read and the log; JSON as JSON, all else as text."""
    log = tmp_path / "arrivals.jsonl"
    bodies = [b'{"text": "a"}', b"plain \xff", b"[NaN]", b"[" * 3000 + b"]" * 3000]
    async with a_sink("--show", "--log", str(log)) as sink:
        async with aiohttp.ClientSession() as session:
            for body in bodies:
                async with session.post(sink.url, data=body, headers={"X-Key": "k"}) as answer:
                    assert answer.status == 200
        arrivals = [await sink.next() for _ in bodies]

    assert [json.loads(line) for line in lines_of(log)] == arrivals
    assert arrivals[0]["headers"]["x-key"] == "k"
    assert [arrival["body"] for arrival in arrivals] == [
        {"text": "a"},
        "plain \ufffd",
        "[NaN]",
        bodies[3].decode(),
    ]


def test_what_is_shown_of_an_arrival_moves_no_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    """Headers, an empty line, the body in lines; the end of what is very long is left out."""
    arrival = Arrival(
        time=datetime(2026, 3, 2, tzinfo=UTC),
        method="POST",
        path="/",
        webhook_id=None,
        attempt=None,
        type=None,
        id=None,
        body=json.dumps({"text": "\x1b[31m\u202eé", "list": [1]}).encode(),
        verified=None,
        answered=200,
        headers=(("content-type", "application/json"), ("x-a", "\x1b[0m")),
    )

    _reporter(as_json=False, show=True, quiet=False, log=None)(arrival)
    shown = capsys.readouterr().out
    long = list(_whole(replace(arrival, headers=(), body=b"x" * (LONGEST_SHOWN + 7))))

    assert shown.splitlines()[1:] == [
        "    content-type: application/json",
        "    x-a: \\x1b[0m",
        "",
        "    {",
        '      "text": "\\u001b[31m\\u202eé",',
        '      "list": [',
        "        1",
        "      ]",
        "    }",
        "",
    ]
    assert long[-1] == "    ... 7 more characters; --json has all of them"
    assert list(_whole(replace(arrival, headers=(), body=b""))) == []


async def test_a_hanging_sink_still_tells_and_still_ends(a_sink: Sinks) -> None:
    """One that never answers shows what arrived, and Ctrl-C ends it."""
    async with a_sink("--hang") as sink:
        url = urlsplit(sink.url)
        reader, writer = await asyncio.open_connection(url.hostname, url.port)
        writer.write(b"POST /x HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}")
        arrival = await sink.next()
        code = await sink.stop()
        assert await reader.read() == b""
        writer.close()

    assert arrival["answered"] is None
    assert code == 0


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x00\xff\r\n\r\n",
        request("circleci-signature: v1=\xff\xfe", body=b"{}"),
        b"POST /%00%0a\x1b HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        request("content-encoding: gzip", body=b"\x1f\x8b\x00"),
        request(body=b"[" * 100_000),
    ],
    ids=["no HTTP", "signature of any bytes", "control characters", "not gzip", "deep JSON"],
)
async def test_no_request_disturbs_it(a_sink: Sinks, request_bytes: bytes) -> None:
    """Hostile requests are answered, never with a 5xx, and the next good one is taken."""
    async with a_sink(*SIGNED) as sink:
        url = urlsplit(sink.url)
        reader, writer = await asyncio.open_connection(url.hostname, url.port)
        writer.write(request_bytes)
        async with asyncio.timeout(10):
            answer = await reader.readline()
        writer.close()
        assert answer.split()[1] in {b"200", b"400"}

        async with aiohttp.ClientSession() as session, session.post(sink.url, data=b"{}") as fine:
            assert fine.status == 200


async def test_a_port_in_use_is_one_clear_line(relay: Relay, a_sink: Sinks) -> None:
    """A second sink on the same port says so and ends."""
    async with a_sink() as sink:
        done = await relay("sink", "--listen", urlsplit(sink.url).netloc)

    assert done.code == 1
    assert done.err.startswith("circleci-relay: cannot listen on 127.0.0.1:")
    assert done.err.count("\n") == 1


async def test_a_receiver_tells_its_address() -> None:
    """Port 0 takes any free port; a taken one is a `StartupError`."""
    arrivals: list[Arrival] = []
    async with Receiver(Manner(), arrivals.append) as receiver:
        port = urlsplit(receiver.url).port
        assert port
        with pytest.raises(StartupError, match="cannot listen"):
            await Receiver(Manner(), arrivals.append).at("127.0.0.1", port).__aenter__()

    assert arrivals == []


def test_hostile_requests_are_shown_escaped() -> None:
    """What people read is one line, and nothing in it drives their terminal."""
    arrival = Arrival(
        time=datetime(2026, 3, 2, tzinfo=UTC),
        method="POST",
        path="/\x1b[31m\udcff",
        webhook_id="a\nb",
        attempt="1",
        type=None,
        id=None,
        body=b"x",
        verified=False,
        answered=503,
    )

    line = _for_people(arrival)

    assert line.isprintable()
    assert "POST /\\x1b[31m\\udcff  -> 503" in line
    assert "SIGNATURE WRONG" in line
