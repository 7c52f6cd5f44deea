"""The admin API, and who may use it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from circleci_relay.model import Fault
from circleci_relay.web.api import ReloadReport
from support.wire import Relay, Reply, Wire

Begin = Callable[..., Awaitable[Relay]]

RELOAD = "/api/v1/reload"
CONFIG = "/api/v1/config"
OPERATOR, VIEWER = "operator-token-1234", "viewer-token-123456"
TOKENS: dict[str, Any] = {
    "admin_tokens": {
        "ci-team": {"token": OPERATOR, "role": "operator"},
        "board": {"token": VIEWER, "role": "viewer"},
    },
    "external_url": "https://relay.example.com",
}


async def ask(
    relay: Relay, path: str = CONFIG, method: str = "GET", **headers: str | bytes
) -> Reply:
    """Ask the admin listener."""
    fields: dict[str, str | bytes] = {"host": "localhost:8082", "content-length": "0", **headers}
    lines = b"".join(
        name.encode() + b": " + (value if isinstance(value, bytes) else value.encode()) + b"\r\n"
        for name, value in fields.items()
    )
    async with Wire(relay.listeners.admin_address) as wire:
        wire.send(f"{method} {path} HTTP/1.1\r\n".encode() + lines + b"\r\n")
        return await wire.reply()


def bearer(token: str) -> str:
    """Return the header that carries *token*."""
    return f"Bearer {token}"


async def test_loopback_needs_no_token(relay: Relay) -> None:
    """On loopback without tokens, anyone on the machine may do anything."""
    reply = await ask(relay, RELOAD, "POST")
    assert (reply.status, reply.json) == (
        200,
        {"result": "reloaded", "warnings": [], "restart_required": []},
    )
    assert (await ask(relay)).json["digest"] == "abc"


async def test_faults_are_told(relay: Relay) -> None:
    """A faulty configuration is a 422 that lists every fault."""
    fault = Fault(file="relay.yaml", line=3, column=5, path="store.keep", message="is odd")
    relay.report = ReloadReport(result="failed", faults=(fault,))
    reply = await ask(relay, RELOAD, "POST")
    assert reply.status == 422
    [told] = reply.json["faults"]
    assert told["text"] == "relay.yaml:3:5: store.keep: is odd"
    assert (told["line"], told["column"], told["path"]) == (3, 5, "store.keep")


async def test_warnings_and_restarts_are_told(relay: Relay) -> None:
    """What was taken up with a remark says so."""
    warning = Fault(file="relay.yaml", line=0, column=0, path="", message="look")
    relay.report = ReloadReport(
        result="unchanged", warnings=(warning,), restart_required=("server.listen",)
    )
    reply = await ask(relay, RELOAD, "POST")
    assert reply.status == 200
    assert reply.json["result"] == "unchanged"
    assert reply.json["restart_required"] == ["server.listen"]
    assert reply.json["warnings"][0]["text"] == "relay.yaml: look"


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [("/", "GET", 404), ("/api/v1/events", "GET", 404), (RELOAD, "GET", 405), (CONFIG, "PUT", 405)],
)
async def test_what_is_not_there(relay: Relay, path: str, method: str, status: int) -> None:
    """Other paths and methods are problems too."""
    reply = await ask(relay, path, method)
    assert (reply.status, reply.headers["content-type"]) == (status, "application/problem+json")
    assert reply.json["status"] == status
    assert (reply.headers.get("allow") is not None) == (status == 405)


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer wrong",
        f"Basic {OPERATOR}",
        f"Bearer {OPERATOR} x",
        b"Bearer \xff\xfe\x80",
    ],
)
async def test_tokens_are_needed(begin: Begin, authorization: str | bytes | None) -> None:
    """Where there are tokens, none but these will do, on loopback as well."""
    relay = await begin(settings=TOKENS)
    if authorization is None:
        reply = await ask(relay)
    else:
        reply = await ask(relay, authorization=authorization)
    assert (reply.status, reply.headers["www-authenticate"]) == (401, "Bearer")
    assert OPERATOR not in reply.body.decode()


async def test_roles(begin: Begin) -> None:
    """A viewer looks, an operator also changes."""
    relay = await begin(settings=TOKENS)
    for token, look, change in ((OPERATOR, 200, 200), (VIEWER, 200, 403)):
        assert (await ask(relay, authorization=bearer(token))).status == look
        reply = await ask(relay, RELOAD, "POST", authorization=bearer(token))
        assert reply.status == change


async def test_tokens_change_with_the_configuration(begin: Begin) -> None:
    """A token that is gone is worth nothing at once."""
    relay = await begin(settings=TOKENS)
    settings = relay.listeners._settings
    left = {"board": settings.admin_tokens["board"]}
    await relay.listeners.configure(settings.model_copy(update={"admin_tokens": left}))
    assert (await ask(relay, authorization=bearer(OPERATOR))).status == 401
    assert (await ask(relay, authorization=bearer(VIEWER))).status == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("127.0.0.1:8082", 200),
        ("[::1]:8082", 200),
        ("RELAY.example.com", 200),
        ("Relay-Admin:80", 200),
        ("evil.example.com", 403),
        ("localhost.evil.example.com", 403),
        ("192.0.2.1", 403),
        ("relay-admin.evil.example.com", 403),
        ("relay-admin.:80", 200),
        ("[::1].evil.example.com", 403),
        ("", 403),
        (b"\xff", 403),
    ],
)
async def test_hosts_are_ours(begin: Begin, host: str | bytes, status: int) -> None:
    """A name that is not ours is refused: a page may have let it resolve to this machine."""
    relay = await begin(settings=TOKENS | {"admin_hosts": ["relay-admin"]})
    token = bearer(OPERATOR)
    assert (await ask(relay, host=host, authorization=token)).status == status
    if host == "Relay-Admin:80":
        for origin, allowed in (("http://relay-admin:80", 200), ("http://relay-admin", 403)):
            browser = {"host": host, "origin": origin}
            reply = await ask(relay, RELOAD, "POST", authorization=token, **browser)
            assert reply.status == allowed
        fewer = relay.listeners._settings.model_copy(update={"admin_hosts": ()})
        await relay.listeners.configure(fewer)  # as a reload does
        assert (await ask(relay, host=host, authorization=token)).status == 403


async def test_any_address_will_do_on_every_interface(begin: Begin) -> None:
    """Bound to every interface, a request may name an address, though not a strange name."""
    relay = await begin(settings=TOKENS | {"admin": "0.0.0.0:0"})
    assert (await ask(relay, host="192.0.2.1:80", authorization=bearer(VIEWER))).status == 200
    assert (await ask(relay, host="evil.com", authorization=bearer(VIEWER))).status == 403


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://localhost:8082", 200),
        ("https://relay.example.com", 200),
        ("http://localhost:3000", 403),
        ("https://evil.example.com", 403),
        ("null", 403),
        ("", 403),
        (b"\xff", 403),
    ],
)
async def test_changes_only_from_our_own_pages(
    begin: Begin, origin: str | bytes, status: int
) -> None:
    """A page of another origin changes nothing, even with a token; looking is not asked."""
    relay = await begin(settings=TOKENS)
    token = bearer(OPERATOR)
    assert (await ask(relay, RELOAD, "POST", origin=origin, authorization=token)).status == status
    assert (await ask(relay, origin=origin, authorization=token)).status == 200
