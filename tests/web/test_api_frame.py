"""What every endpoint gets from the frame: requests validated, errors as problems, documented."""

from __future__ import annotations

import asyncio
import gc
import json
import tracemalloc
import warnings
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import datetime  # noqa: TC003 - read by pydantic
from typing import Annotated, Any, Literal

import pytest
from aiohttp import web
from pydantic import Field

from circleci_relay.console.given import MANY
from circleci_relay.errors import Conflict, Invalid, NotFound, StoreUnavailable
from circleci_relay.web.api.configuration import config_endpoints
from circleci_relay.web.api.endpoints import Answer, Endpoint, Media, Reply, Request
from circleci_relay.web.api.openapi import document
from circleci_relay.web.api.reading import TEXTS
from circleci_relay.web.api.serving import Undocumented
from circleci_relay.web.api.shapes import Given, Told
from circleci_relay.web.gate import GATE
from circleci_relay.web.headers import ALWAYS
from support.wire import PATH, Relay, Wire
from support.wire import Reply as Answered

Begin = Callable[..., Awaitable[Relay]]

THINGS = "/api/v1/things"


class Look(Given):
    """What things to list."""

    limit: Annotated[int, Field(ge=1, le=100)] = 10
    state: tuple[Literal["dead", "pending"], ...] = ()
    text: str | None = None
    dry: bool = False
    since: datetime | None = None
    before: Annotated[str | None, Field(alias="from", max_length=5)] = None
    number: int | None = None


class Which(Given):
    """One thing."""

    id: Annotated[str, Field(pattern=r"^[0-9A-Z]{1,26}$")]


class Inner(Given):
    """A part of a body."""

    names: tuple[str, ...] = ()


class Change(Given):
    """What to change."""

    name: str
    inner: Inner = Inner()
    count: int = 1
    anything: dict[str, Any] = Field(default_factory=dict)


class Keys(Given):
    """Headers of the change."""

    key: Annotated[str | None, Field(alias="idempotency-key", max_length=10)] = None


class Seen(Told):
    """What the handler was given."""

    by: str
    said: str


def seen(request: Request) -> Seen:
    """Return what *request* holds."""
    parts = (request.path, request.query, request.body, request.headers)
    return Seen(by=request.caller.name, said=" | ".join(str(part) for part in parts if part))


class Things:
    """Endpoints of every kind; `fault` is what they raise, `answer` what they say instead."""

    def __init__(self) -> None:
        self.fault: Exception | None = None
        self.answer: Answer | None = None
        self.go_on = asyncio.Event()

    async def handle(self, request: Request) -> Answer:
        """Answer with what was given."""
        if self.fault is not None:
            raise self.fault
        return self.answer or seen(request)

    async def stream(self, request: Request) -> Answer:
        """Answer in two parts."""
        answer = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await answer.prepare(request.http)
        await answer.write(b"data: one\n\n")
        await self.go_on.wait()
        if self.fault is not None:
            raise self.fault
        known = request.http.app[GATE].still_known(request.http)
        await answer.write(b"data: %d\n\n" % known)
        return answer

    def endpoints(self) -> list[Endpoint]:
        """Return them all."""
        return [
            Endpoint(
                method="GET",
                path="/things",
                summary="Things.",
                tag="things",
                handler=self.handle,
                changes=False,
                query=Look,
                answers={200: Seen, 202: Media(type="text/plain"), 204: None},
            ),
            Endpoint(
                method="GET",
                path="/things/{id}",
                summary="One thing.",
                tag="things",
                handler=self.handle,
                changes=False,
                path_params=Which,
                answers={200: Seen},
                problems=(404,),
            ),
            Endpoint(
                method="POST",
                path="/things/{id}/change",
                summary="Change one.",
                tag="things",
                handler=self.handle,
                changes=True,
                path_params=Which,
                body=Change,
                headers=Keys,
                answers={200: Seen},
                problems=(404, 409),
            ),
            Endpoint(
                method="GET",
                path="/stream",
                summary="What happens.",
                tag="things",
                handler=self.stream,
                changes=False,
                answers={200: Media(type="text/event-stream")},
            ),
        ]


@pytest.fixture
def things() -> Things:
    """Endpoints to ask."""
    return Things()


@pytest.fixture
async def api(begin: Begin, things: Things) -> Relay:
    """A relay with these endpoints."""
    return await begin(endpoints=things.endpoints())


async def ask(
    relay: Relay, path: str, method: str = "GET", body: bytes = b"", **headers: str
) -> Answered:
    """Ask the admin listener; header names are written with `_` for `-`."""
    fields = {"host": "localhost", "content-length": str(len(body))}
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    async with Wire(relay.listeners.admin_address) as wire:
        wire.send(f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode("latin-1") + body)
        return await wire.reply(head=method == "HEAD")


async def change(relay: Relay, body: bytes | object, **headers: str) -> Answered:
    """Ask for a change."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = {"content_type": "application/json", **headers}
    return await ask(relay, THINGS + "/A1/change", "POST", content, **given)


async def test_what_a_handler_is_given(api: Relay) -> None:
    """Parameters come as their types, by the names they have outside, with their defaults."""
    reply = await ask(
        api, THINGS + "?limit=7&state=dead&state=pending&dry=true&from=a%20b&text=&number=-3"
    )
    assert reply.status == 200
    assert reply.json["said"] == str(
        Look.model_validate(
            {
                "limit": 7,
                "state": ("dead", "pending"),
                "dry": True,
                "from": "a b",
                "text": "",
                "number": -3,
            }
        )
    )
    reply = await change(api, {"name": "é\u2028", "count": 2}, idempotency_key="k1")
    assert reply.json["by"] == "loopback"
    assert "id='A1' | name='é\\u2028'" in reply.json["said"]
    assert "count=2" in reply.json["said"]
    assert "key='k1'" in reply.json["said"]


@pytest.mark.parametrize(
    ("query", "where"),
    [
        ("limit=0", "limit"),
        ("limit=ten", "limit"),
        ("limit=1.0", "limit"),
        ("limit=%201", "limit"),
        ("limit=1_0", "limit"),
        ("limit=", "limit"),
        ("limit=5&limit=6", "limit"),
        ("number=9007199254740992", "number"),
        ("number=" + "9" * 5000, "number"),
        ("dry=yes", "dry"),
        ("state=gone", "state.0"),
        ("since=yesterday", "since"),
        ("since=1700000000.5", "since"),
        ("from=123456", "from"),
        ("before=1", "before"),
        ("text=" + "x" * 1001, "text"),
        ("text=%00", "text"),
        ("text=%ED%A0%80&limit=0", "limit"),
        ("no_such=1", "no_such"),
        ("%0aodd%1b=1", "?odd?"),
    ],
)
async def test_parameters_that_will_not_do(api: Relay, query: str, where: str) -> None:
    """Each is named, with what is wrong; no value is repeated."""
    reply = await ask(api, f"{THINGS}?{query}")
    assert (reply.status, reply.headers["content-type"]) == (422, "application/problem+json")
    assert where in {each["location"].removeprefix("query.") for each in reply.json["errors"]}
    assert len(reply.body) < 2000


async def test_a_query_where_there_is_none_to_give(api: Relay) -> None:
    """An endpoint without parameters refuses one."""
    reply = await ask(api, "/api/v1/config?x=1")
    assert reply.json["errors"] == [{"location": "query.x", "message": "is not known here"}]


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (b"", "body"),
        (b"{", "body"),
        (b"\xff\xfe", "body"),
        (b"[" * 50_000, "body"),
        (b'{"name": "x", "anything": ' + b'{"a":' * 4000 + b"1" + b"}" * 4001, "body"),
        (b'{"name": "\\ud800"}', "body"),
        (b'{"name": "x", "count": ' + b"9" * 5000 + b"}", "body"),
        (b'{"name": "x", "count": NaN}', "body.count"),
        (b'{"name": "x", "count": "1"}', "body.count"),
        (b'{"name": "x", "count": true}', "body.count"),
        (b'{"name": "x", "count": 9007199254740992}', "body.count"),
        (b'{"name": "\\u0000"}', "body.name"),
        (b'{"name": "x", "inner": {"names": ["\\u0000"]}}', "body.inner.names"),
        (b'{"name": "x", "inner": {"names": ["' + b"y" * 1001 + b'"]}}', "body.inner.names.0"),
        (b'{"name": "x", "inner": {"odd": 1}}', "body.inner.odd"),
        (b'{"Name": "x"}', "body.name"),
        (b"null", "body"),
    ],
)
async def test_bodies_that_will_not_do(api: Relay, body: bytes, where: str) -> None:
    """No bytes are a 500; what is wrong is told by its place."""
    reply = await change(api, body)
    assert reply.status == 422
    assert where in {each["location"] for each in reply.json["errors"]}


async def test_other_ways_a_body_will_not_do(api: Relay) -> None:
    """Type, encoding and size are looked at before the content."""
    fits = b'{"name": "a", "name": "b"}'
    assert (await change(api, fits)).status == 200
    assert (await change(api, fits, content_type="application/json; charset=utf-8")).status == 200
    assert (await change(api, fits, content_type="text/plain")).status == 415
    assert (await change(api, fits, content_encoding="gzip")).status == 415
    assert (await ask(api, THINGS + "/A1/change", "POST", fits)).status == 415
    assert (await change(api, b"x", content_length=str(1024 * 1024 + 1))).status == 413
    assert (await change(api, fits, idempotency_key="k" * 11)).json["errors"] == [
        {
            "location": "header.idempotency-key",
            "message": "string should have at most 10 characters",
        }
    ]
    assert (await change(api, fits, idempotency_key="\xff")).status == 422


async def test_a_body_without_end(api: Relay) -> None:
    """A body in chunks is bounded as it comes."""
    async with Wire(api.listeners.admin_address) as wire:
        wire.send(
            f"POST {THINGS}/A1/change HTTP/1.1\r\nhost: localhost\r\n"
            "content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n".encode()
        )
        chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
        for _ in range(17):
            wire.send(chunk)
        assert (await wire.reply()).status == 413


async def test_bodies_on_their_way_are_bounded_together(api: Relay) -> None:
    """Who opens many and sends each but a part holds no more than the budget; then it is free."""
    head = (
        f"POST {THINGS}/A1/change HTTP/1.1\r\nhost: localhost\r\n"
        "content-type: application/json\r\ncontent-length: 1000000\r\n\r\n"
    ).encode()
    async with AsyncExitStack() as stack:
        wires = [
            await stack.enter_async_context(Wire(api.listeners.admin_address)) for _ in range(36)
        ]
        for wire in wires:
            wire.send(head + b" " * 999_000)
        refused = [asyncio.ensure_future(wire.reply()) for wire in wires]
        done, waiting = await asyncio.wait(refused, return_when=asyncio.FIRST_COMPLETED)
        assert {(await each).status for each in done} == {503}
        for each in waiting:
            each.cancel()
        await asyncio.wait(waiting)
    assert (await change(api, b"{}")).status == 422  # read, and not liked


@pytest.mark.parametrize("path", [f"{THINGS}/A1/change", PATH])
async def test_what_was_cut_short_is_let_go(api: Relay, path: str) -> None:
    """At once, on both listeners: else whoever breaks off often takes all memory there is."""
    listeners = api.listeners
    address = listeners.hooks_address if path == PATH else listeners.admin_address
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    sent = head.encode() + b"content-length: 1000000\r\n\r\n" + b"x" * 900_000
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        async with Wire(address) as wire:
            wire.send(sent)
            wire.writer.write_eof()
            await wire.rest()
        assert tracemalloc.get_traced_memory()[0] < 450_000
    finally:
        tracemalloc.stop()
        gc.enable()


async def test_a_body_of_too_many_things(api: Relay) -> None:
    """What takes long to validate is refused before; escaped quotes are no names."""
    crowd = {str(number): 1 for number in range(2 * TEXTS)}
    for body in (crowd, {"name": "a", "anything": crowd}, {"name": "a", "inner": crowd}):
        reply = await change(api, body)
        assert (reply.status, "more than" in reply.json["detail"]) == (413, True)
    reply = await change(api, {"name": "a", "inner": {"names": [1] * (MANY + 1)}})
    assert (reply.status, f"at most {MANY}" in reply.json["detail"]) == (422, True)
    reply = await change(api, {"name": [[1] * MANY] * 3})
    assert reply.status == 422
    assert (await change(api, {"name": "a", "anything": {"a": '"' * 3 * TEXTS}})).status == 200


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (NotFound("no such thing"), 404),
        (Conflict("it is done already"), 409),
        (Invalid("makes no sense", where="body.name"), 422),
        (StoreUnavailable("secret words"), 503),
        (RuntimeError("secret words"), 500),
        (RecursionError("secret words"), 500),
    ],
)
async def test_what_services_raise(
    api: Relay,
    things: Things,
    fault: Exception,
    status: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each becomes a problem; what is a bug tells nothing outside and everything in the log."""
    things.fault = fault
    reply = await change(api, {"name": "x"})
    assert (reply.status, reply.json["status"]) == (status, status)
    assert b"secret words" not in reply.body
    assert ("request_failed" in capsys.readouterr().err) == (status == 500)
    assert ("retry-after" in reply.headers) == (status == 503)
    if status == 422:
        assert reply.json["errors"] == [{"location": "body.name", "message": "makes no sense"}]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (THINGS + "/", 404),
        (THINGS + "/a%2Fb", 422),
        (THINGS + "/%00", 422),
        (THINGS + "/%7B%7D%0A", 422),
        (THINGS + "/%FF", 422),
        ("/api/v2/config", 404),
        ("/api/v1", 404),
        ("//evil.example.com/api/v1/config", 404),
    ],
)
async def test_paths(api: Relay, path: str, status: int) -> None:
    """A path's value may hold anything, and is judged; other paths are not there."""
    assert (await ask(api, path)).status == status


async def test_a_long_conversation(api: Relay) -> None:
    """A connection holds however many requests come over it, one after the other."""
    body = b'{"name": "%s"}' % (b"x" * 900)
    request = (
        f"POST {THINGS}/A1/change HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n"
        f"content-type: application/json\r\nx-long: {'y' * 4000}\r\n\r\n"
    ).encode()
    async with Wire(api.listeners.admin_address) as wire:
        for _ in range(20):
            wire.send(request + body)
            assert (await wire.reply()).status == 200


async def test_head_and_other_methods(api: Relay) -> None:
    """HEAD works where GET does, a stream's included; the others say what would."""
    whole = await ask(api, THINGS)
    head = await ask(api, THINGS, "HEAD")
    assert (head.status, head.headers["content-length"]) == (200, str(len(whole.body)))
    assert (await ask(api, "/api/v1/stream", "HEAD")).status == 200
    reply = await ask(api, THINGS, "DELETE")
    assert (reply.status, reply.headers["allow"]) == (405, "GET, HEAD")


async def test_every_answer_is_protected(api: Relay) -> None:
    """Headers for browsers go with answers, errors and streams."""
    for path in (THINGS, THINGS + "?x=1", "/nowhere"):
        reply = await ask(api, path)
        assert ALWAYS.items() <= reply.headers.items()
        assert reply.headers["cache-control"] == "no-store"


async def test_replies_of_other_kinds(api: Relay, things: Things) -> None:
    """Text, nothing, another status, headers."""
    things.answer = Reply(content="plain", status=202, headers={"location": "/x"})
    reply = await ask(api, THINGS)
    assert (reply.status, reply.body, reply.headers["location"]) == (202, b"plain", "/x")
    assert reply.headers["content-type"] == "text/plain"
    things.answer = Reply(status=204)
    assert (await ask(api, THINGS)).status == 204


@pytest.mark.parametrize(
    "answer",
    [
        Reply(content=Look()),
        Reply(content=Seen(by="x", said="y"), status=201),
        Reply(content=b"bytes"),
        Reply(),
        Seen.model_construct(by=5, said="y"),
        NotFound("a problem that is not named"),
    ],
)
async def test_undocumented_answers(api: Relay, things: Things, answer: Answer | Exception) -> None:
    """Whoever asks gets what there is; a test, where warnings are errors, fails."""
    if isinstance(answer, Exception):
        things.fault = answer
    else:
        things.answer = answer
    assert (await ask(api, THINGS)).status == 500  # as warnings are errors here
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        assert (await ask(api, THINGS)).status < 500
    assert len(warned) == 1
    assert issubclass(warned[0].category, Undocumented | UserWarning)


async def test_streams(api: Relay, things: Things) -> None:
    """A handler may answer bit by bit; what fails on the way is broken off, not ended."""
    async with Wire(api.listeners.admin_address) as wire:
        wire.send(b"GET /api/v1/stream HTTP/1.1\r\nhost: localhost\r\n\r\n")
        head = await wire.reader.readuntil(b"\r\n\r\n")
        assert b"nosniff" in head
        await wire.reader.readuntil(b"one\n\n")
        things.go_on.set()
        await wire.reader.readuntil(b"data: 1\n\n\r\n0\r\n\r\n")
        things.fault = RuntimeError("on the way")
        wire.send(b"GET /api/v1/stream HTTP/1.1\r\nhost: localhost\r\n\r\n")
        await wire.reader.readuntil(b"one\n\n")
        assert not (await wire.rest()).endswith(b"0\r\n\r\n")


async def test_the_documentation(api: Relay, things: Things) -> None:
    """The document is there, the same each time, and says what the frame does."""
    reply = await ask(api, "/api/v1/openapi.json")
    assert reply.headers["content-type"].startswith("application/json")
    told = reply.json
    own = config_endpoints(describe=dict, reload=None)  # type: ignore[arg-type]
    assert json.dumps(document([*own, *things.endpoints()])) == json.dumps(
        document([*own, *things.endpoints()])
    )
    assert "/api/v1/openapi.json" in told["paths"]
    operation = told["paths"][THINGS + "/{id}/change"]["post"]
    assert {"401", "403", "404", "409", "415", "422", "503"} <= operation["responses"].keys()
    assert [each["name"] for each in operation["parameters"]] == ["id", "idempotency-key"]
    limits = {each["name"]: each["schema"] for each in told["paths"][THINGS]["get"]["parameters"]}
    assert limits["text"]["maxLength"] == 1000
    assert limits["limit"]["maximum"] == 100
    assert "Look" not in told["components"]["schemas"]


async def _nothing(_request: Request) -> Answer:
    return Reply()


@pytest.mark.parametrize(
    "wrong",
    [
        {"path": "/x/{id}"},
        {"path_params": Which},
        {"query": Seen},
        {"body": Change},
        {"answers": {}},
    ],
)
def test_definitions_that_make_no_sense(wrong: dict[str, Any]) -> None:
    """They fail where they are written, not when they are asked."""
    right: dict[str, Any] = {
        "method": "GET",
        "path": "/x",
        "summary": "X.",
        "tag": "x",
        "handler": _nothing,
        "changes": False,
        "answers": {200: Seen},
    }
    with pytest.raises(TypeError):
        Endpoint(**right | wrong)
