"""No bytes whatever in any header or body give a 500, and none stop the listener."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from circleci_relay.circleci import signature
from circleci_relay.config import load
from circleci_relay.ingest import Ingest
from circleci_relay.metrics import Metrics
from circleci_relay.web.connections import Limits
from support.storing import opened
from support.wire import PATH, Relay, Wire, post

if TYPE_CHECKING:
    from pathlib import Path

Begin = Callable[..., Awaitable[Relay]]
SECRET = "fanout-test-secret"

PATIENT = settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

names = st.sampled_from(
    [
        "circleci-signature",
        "circleci-event-type",
        "content-type",
        "content-length",
        "content-encoding",
        "transfer-encoding",
        "connection",
        "upgrade",
        "expect",
        "host",
        "user-agent",
        "x-anything",
    ]
)
values = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(b"chunked gzip upgrade websocket 100-continue -1 1e3".split()),
).map(lambda value: value.replace(b"\r", b"").replace(b"\n", b""))
bodies = st.one_of(
    st.binary(max_size=200),
    st.text(max_size=50).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.sampled_from(
        [
            b"[" * 100_000,
            b'{"id": "\\ud800", "type": "\\u0000"}',
            b'{"id": "1", "type": "x", "pipeline": ' + b'{"vcs": ' * 500 + b"1" + b"}" * 501,
            b'{"id": "1", "type": "workflow-completed", "workflow": []}',
            b'{"id": 1e999, "type": NaN}',
            b'\xef\xbb\xbf{"id": "1", "type": "x"}',
        ]
    ),
)


@pytest.fixture
async def brief(begin: Begin) -> Relay:
    """Listeners that wait for nobody, so that an example ends where its bytes do."""
    return await begin(limits=Limits(head=0.02, body=0.02, idle=0.2, linger=0.02))


async def answered(relay: Relay, data: bytes) -> bytes:
    """Send *data*; return all that comes back until the connection is closed."""
    async with Wire(relay.listeners.hooks_address) as wire:
        wire.send(data)
        return await wire.rest()


@given(data=st.binary(max_size=300))
@PATIENT
async def test_any_bytes_at_all(brief: Relay, data: bytes) -> None:
    """What is no HTTP is answered by a 4xx; silence by closing the connection."""
    said = await answered(brief, data)
    assert said.startswith(b"HTTP/1.1 4") or not data


@given(headers=st.lists(st.tuples(names, values), max_size=6), body=bodies)
@PATIENT
async def test_any_headers(brief: Relay, headers: list[tuple[str, bytes]], body: bytes) -> None:
    """Headers of any bytes, those that steer HTTP itself included, give no 5xx."""
    lines = b"".join(name.encode() + b": " + value + b"\r\n" for name, value in headers)
    data = post(body, connection="close").replace(b"host: localhost\r\n", lines)
    said = await answered(brief, data)
    assert not [part for part in said.split(b"HTTP/1.1 ")[1:] if part.startswith(b"5")]
    assert said.startswith((b"HTTP/1.1 4", b"HTTP/1.1 202", b"HTTP/1.1 100"))


@given(path=st.binary(min_size=1, max_size=60), method=st.sampled_from(["GET", "POST", "CONNECT"]))
@PATIENT
async def test_any_path(brief: Relay, path: bytes, method: str) -> None:
    """A path of any bytes is found or not."""
    assume(not set(path) & set(b" \r\n"))
    head = (
        method.encode()
        + b" /"
        + path
        + b" HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
    )
    said = await answered(brief, head)
    assert said.startswith(b"HTTP/1.1 4")


@pytest.fixture
async def real(begin: Begin, tmp_path: Path) -> AsyncIterator[Relay]:
    """Listeners before the real intake on a real store."""
    file = tmp_path / "relay.yaml"
    text = f"""
        sources: {{circleci: {{path: {PATH}, secrets: [{SECRET}]}}}}
        destinations: {{chat: {{url: "http://localhost:1/"}}}}
        routes: {{all: {{to: chat}}, main: {{match: {{branch: "/ma.n/", type: "*"}}, to: chat}}}}
    """
    await asyncio.to_thread(file.write_text, text)
    loaded = await asyncio.to_thread(load, [file])
    metrics = Metrics(process=False)
    async with opened(f"sqlite:///{tmp_path / 'relay.db'}") as bench:
        intake = Ingest(store=bench.store, metrics=metrics, clock=bench.clock)
        intake.configure(loaded.config)
        await bench.store.reconcile(("chat",))
        yield await begin(front=intake, metrics=metrics, clock=bench.clock)


@given(body=bodies, signed=st.binary(max_size=30), kind=st.binary(max_size=30))
@PATIENT
async def test_any_body_and_signature(real: Relay, body: bytes, signed: bytes, kind: bytes) -> None:
    """A signature header of any bytes is a 401, whatever the body."""
    signed, kind = (value.translate(None, b"\r\n") for value in (signed, kind))
    lines = b"circleci-signature: %b\r\ncircleci-event-type: %b\r\n" % (signed, kind)
    data = post(body).replace(b"host: localhost\r\n", lines + b"host: localhost\r\n")
    assert (await real.hook(data)).status in {400, 401}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
keys = st.sampled_from(
    ["type", "id", "webhook", "project", "organization", "workflow", "pipeline", "job", "vcs"]
)


@given(
    body=bodies
    | st.dictionaries(keys, json_values | st.dictionaries(keys | st.text(), json_values)).map(
        lambda found: json.dumps({"id": "1", "type": "ping"} | found).encode()
    )
)
@PATIENT
async def test_any_body_signed(real: Relay, body: bytes) -> None:
    """What is rightly signed is stored or malformed: 200, 202 or 400, never anything else."""
    header = signature.sign(body, SECRET.encode())
    reply = await real.hook(post(body, circleci_signature=header))
    assert reply.status in {200, 202, 400}, reply
