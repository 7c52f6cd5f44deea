"""Logging in with a token, what the browser holds then, and who is turned away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest
from aiohttp import web

from circleci_relay.clock import ManualClock
from circleci_relay.web import sessions, throttle
from circleci_relay.web.access import CALLER, Denied
from circleci_relay.web.application import Page
from circleci_relay.web.gate import CSRF, FORM, GATE, SMALL_FORM, local_path
from circleci_relay.web.headers import ALWAYS
from circleci_relay.web.sessions import LIFE, Seal, Session
from circleci_relay.web.static import Static
from circleci_relay.web.throttle import Throttle, neighbourhood
from support.wire import Relay, Reply, Wire

if TYPE_CHECKING:
    from pathlib import Path

Begin = Callable[..., Awaitable[Relay]]

OPERATOR, VIEWER = "operator-token-1234", "viewer-token-123456"
TOKENS: dict[str, Any] = {
    "admin_tokens": {
        "ci-team": {"token": OPERATOR, "role": "operator"},
        "board": {"token": VIEWER, "role": "viewer"},
    }
}
HTTPS = TOKENS | {"external_url": "https://relay.example.com"}
RELOAD, CONFIG = "/api/v1/reload", "/api/v1/config"


async def log_in(request: web.Request) -> web.Response:
    """A login as the page has it."""
    cookie = await request.app[GATE].sign_in(request, request[FORM].get("token", ""))
    headers = {"set-cookie": cookie, "location": local_path(request[FORM].get("next"))}
    return web.Response(status=303, headers=headers)


async def log_out(request: web.Request) -> web.Response:
    """A logout as the page has it."""
    return web.Response(headers={"set-cookie": request.app[GATE].sign_out(request)})


async def show(request: web.Request) -> web.Response:
    """A page that tells who looks, and holds a form."""
    if "fail" in request.query:
        raise RuntimeError("secret words")
    who = request[CALLER].name if CALLER in request else "nobody"
    return web.json_response({"who": who, "csrf": request.get(CSRF)})


async def show_error(_request: web.Request, status: int, _words: str) -> web.Response:
    """An error as a page."""
    return web.Response(status=status, text=f"<p>{status}", content_type="text/html")


@pytest.fixture
def page(tmp_path: Path) -> Page:
    """A small page."""
    (tmp_path / "app.css").write_text("body {}")
    (tmp_path / "folder").mkdir()
    return Page(
        routes=[
            web.get("/", show),
            web.get("/login", show),
            web.post("/login", log_in),
            web.post("/logout", log_out),
            web.post("/do", show),
        ],
        static=Static.read(tmp_path),
        show_error=show_error,
    )


async def ask(relay: Relay, path: str, method: str = "GET", body: str = "", **more: str) -> Reply:
    """Ask the admin listener; header names are written with `_` for `-`."""
    fields = {"host": "localhost", "content-length": str(len(body))}
    fields |= {name.replace("_", "-"): value for name, value in more.items()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    async with Wire(relay.listeners.admin_address) as wire:
        wire.send(f"{method} {path} HTTP/1.1\r\n{lines}\r\n{body}".encode("latin-1"))
        return await wire.reply(head=method == "HEAD")


async def post(relay: Relay, path: str, fields: dict[str, str], **more: str) -> Reply:
    """Post a form."""
    form = {"content_type": "application/x-www-form-urlencoded", **more}
    return await ask(relay, path, "POST", urlencode(fields), **form)


async def logged_in(relay: Relay, token: str = OPERATOR) -> str:
    """Log in and return the cookie, name and value."""
    reply = await post(relay, "/login", {"token": token})
    assert reply.status == 303
    return reply.headers["set-cookie"].partition(";")[0]


async def test_a_session_from_login_to_logout(begin: Begin, page: Page) -> None:
    """The cookie is all it takes to look; it never holds the token; a logout clears it."""
    relay = await begin(settings=TOKENS, page=page)
    reply = await post(relay, "/login", {"token": OPERATOR, "next": "/events?x=1"})
    assert (reply.status, reply.headers["location"]) == (303, "/events?x=1")
    name, _, rest = reply.headers["set-cookie"].partition("=")
    value, *attributes = rest.split("; ")
    assert name == "relay-session"
    assert attributes == [f"Max-Age={LIFE}", "Path=/", "HttpOnly", "SameSite=Strict"]
    assert OPERATOR not in value
    cookie = f"{name}={value}"

    shown = await ask(relay, "/", cookie=cookie)
    assert shown.json["who"] == "ci-team"
    assert "set-cookie" not in shown.headers
    assert (await ask(relay, CONFIG, cookie=cookie)).status == 200
    csrf = shown.json["csrf"]
    gone = await post(relay, "/logout", {"csrf": csrf}, cookie=cookie)
    assert gone.headers["set-cookie"].startswith("relay-session=; Max-Age=0;")


async def test_changes_need_the_csrf_token(begin: Begin, page: Page) -> None:
    """A session alone changes nothing: the form's field or the header must come along."""
    relay = await begin(settings=TOKENS, page=page)
    cookie = await logged_in(relay)
    csrf = (await ask(relay, "/", cookie=cookie)).json["csrf"]
    other = (await ask(relay, "/", cookie=await logged_in(relay))).json["csrf"]
    assert other != csrf

    for given in ({}, {"x_csrf_token": other}, {"x_csrf_token": ""}, {"x_csrf_token": "\xff"}):
        assert (await ask(relay, RELOAD, "POST", cookie=cookie, **given)).status == 403
    proven = {"cookie": cookie, "x_csrf_token": csrf}
    assert (await ask(relay, RELOAD, "POST", **proven)).status == 200
    assert (await post(relay, "/do", {"csrf": csrf}, cookie=cookie)).status == 200
    assert (await post(relay, "/do", {"csrf": other}, cookie=cookie)).status == 403
    assert (await post(relay, "/do", {}, cookie=cookie)).status == 403

    for site, status in (("same-origin", 200), ("none", 200), ("same-site", 403), ("x", 403)):
        reply = await ask(relay, RELOAD, "POST", **proven, sec_fetch_site=site)
        assert reply.status == status
    strange = {"origin": "https://evil.example.com"}
    assert (await ask(relay, RELOAD, "POST", **proven, **strange)).status == 403
    assert (await ask(relay, RELOAD, "POST", authorization=f"Bearer {OPERATOR}")).status == 200


async def test_roles_are_looked_up(begin: Begin, page: Page) -> None:
    """A session has the role its token has now; with the token gone or changed it is over."""
    relay = await begin(settings=TOKENS, page=page)
    cookie = await logged_in(relay, VIEWER)
    csrf = (await ask(relay, "/", cookie=cookie)).json["csrf"]

    async def status_with(**entry: str) -> int:
        settings = relay.listeners._settings.model_validate(
            {"admin": "127.0.0.1:0", "admin_tokens": {"board": entry}}
        )
        await relay.listeners.configure(settings)
        return (await ask(relay, RELOAD, "POST", cookie=cookie, x_csrf_token=csrf)).status

    assert await status_with(token=VIEWER, role="viewer") == 403
    assert await status_with(token=VIEWER, role="operator") == 200
    assert await status_with(token=VIEWER + "x", role="operator") == 401


async def test_sessions_end_and_are_renewed(begin: Begin, page: Page) -> None:
    """After half its life a session is lengthened, its forms still hold; unused it ends."""
    clock = ManualClock()
    relay = await begin(settings=TOKENS, page=page, clock=clock)
    cookie = await logged_in(relay)
    first = await ask(relay, "/", cookie=cookie)
    clock.advance(LIFE / 2 + 1)
    second = await ask(relay, "/", cookie=cookie)
    renewed = second.headers["set-cookie"].partition(";")[0]
    assert renewed != cookie
    assert second.json["csrf"] == first.json["csrf"]
    clock.advance(LIFE / 2)
    assert (await ask(relay, CONFIG, cookie=cookie)).status == 401
    assert (await ask(relay, CONFIG, cookie=renewed)).status == 200


async def test_every_replica_knows_a_session(begin: Begin, page: Page) -> None:
    """Nothing but the configuration is needed to know it: not the process that began it."""
    one = await begin(settings=TOKENS, page=page)
    two = await begin(settings=TOKENS, page=page)
    cookie = await logged_in(one)
    csrf = (await ask(one, "/", cookie=cookie)).json["csrf"]
    assert (await ask(two, RELOAD, "POST", cookie=cookie, x_csrf_token=csrf)).status == 200


async def test_cookies_over_https(begin: Begin, page: Page) -> None:
    """Over https the cookie is this host's alone, and no other will do."""
    relay = await begin(settings=HTTPS, page=page)
    reply = await post(relay, "/login", {"token": OPERATOR})
    cookie = reply.headers["set-cookie"]
    assert cookie.startswith("__Host-relay-session=")
    assert cookie.endswith("; Path=/; HttpOnly; SameSite=Strict; Secure")
    held = cookie.partition(";")[0]
    assert (await ask(relay, CONFIG, cookie=held)).status == 200
    assert (await ask(relay, CONFIG, cookie=held.removeprefix("__Host-"))).status == 401
    plain = await begin(settings=TOKENS, page=page)
    reply = await post(plain, "/login", {"token": OPERATOR}, x_forwarded_proto="https, http")
    assert reply.headers["set-cookie"].endswith("; Secure")


async def test_sessions_that_are_none(begin: Begin, page: Page) -> None:
    """Whatever else stands in the cookie is nobody's."""
    relay = await begin(settings=TOKENS, page=page)
    name, _, value = (await logged_in(relay)).partition("=")
    who, expires, nonce, signature = value.split(".")
    forged = [
        "",
        "x",
        "...",
        f"board.{expires}.{nonce}.{signature}",
        f"{who}.{int(expires) + 1}.{nonce}.{signature}",
        f"{who}.{expires}.{nonce[::-1]}.{signature}",
        f"{who}.{expires}.{nonce}.{signature[:-2]}AA",
        f"{who}.\u00b2.{nonce}.{signature}",
        f"nobody.{expires}.{nonce}.{signature}",
        value + "=",
        OPERATOR,
    ]
    for each in forged:
        assert (await ask(relay, CONFIG, cookie=f"{name}={each}")).status == 401, each


def test_keys_are_each_token_s_own() -> None:
    """Two tokens' seals do not know each other's sessions, nor a form's text the cookie's."""
    session = Session.begun("ci-team", now=1000.0)
    one, two = Seal("a" * 16), Seal("b" * 16)
    value = one.seal(session)
    claimed = sessions.parse(value)
    assert claimed is not None
    assert one.verify(*claimed, now=1000.0)
    assert not one.verify(*claimed, now=1000.0 + LIFE)
    assert not two.verify(*claimed, now=1000.0)
    assert one.csrf(session) not in value


async def test_people_are_led_to_the_login(begin: Begin, page: Page) -> None:
    """Pages lead to the login and back; the API says 401; the login and its style are open."""
    relay = await begin(settings=TOKENS, page=page)
    reply = await ask(relay, "/events?a=1&b=%2F")
    assert reply.status == 303
    assert reply.headers["location"] == "/login?next=/events%3Fa%3D1%26b%3D%252F"
    assert (await ask(relay, "/")).headers["location"] == "/login"
    assert (await ask(relay, "//evil.example.com/")).headers["location"] == "/login"
    assert (await post(relay, "/do", {})).headers["location"] == "/login"
    assert (await ask(relay, CONFIG)).status == 401
    shown = await ask(relay, "/login")
    assert (shown.status, shown.json["who"]) == (200, "nobody")
    assert ALWAYS.items() <= shown.headers.items()


@pytest.mark.parametrize(
    ("wanted", "followed"),
    [
        ("/events/1?x=1#y", "/events/1?x=1#y"),
        ("/a%2Fb", "/a%2Fb"),
        ("/%2Fevil.example.com", "/%2Fevil.example.com"),
        ("/caf\u00e9 ", "/"),
        ("/caf\u00e9", "/caf%C3%A9"),
        ("", "/"),
        (None, "/"),
        ("//evil.example.com", "/"),
        ("/\\evil.example.com", "/"),
        ("/\t/evil.example.com", "/"),
        ("/\n/evil.example.com", "/"),
        ("\\\\evil.example.com", "/"),
        (" //evil.example.com", "/"),
        ("https://evil.example.com", "/"),
        ("javascript:alert(1)", "/"),
        ("evil.example.com", "/"),
        ("/login?next=/x", "/"),
        ("/" + "x" * 3000, "/"),
        ("/\ud800", "/?"),
    ],
)
def test_where_a_login_leads(wanted: str | None, followed: str) -> None:
    """Only paths of ours are followed."""
    assert local_path(wanted) == followed


async def test_an_open_listener_has_forms_too(begin: Begin, page: Page) -> None:
    """On loopback without tokens nobody logs in, but pages prove that a form is theirs."""
    relay = await begin(page=page)
    csrf = (await ask(relay, "/")).json["csrf"]
    assert (await post(relay, "/do", {"csrf": csrf})).status == 200
    assert (await post(relay, "/do", {})).status == 403
    assert (await ask(relay, RELOAD, "POST")).status == 200
    browser = {"origin": "http://localhost", "sec_fetch_site": "same-origin"}
    assert (await ask(relay, RELOAD, "POST", **browser)).status == 403
    assert (await ask(relay, RELOAD, "POST", **browser, x_csrf_token=csrf)).status == 200
    for mode, status in (("navigate", 200), ("no-cors", 403)):
        strange = {"sec_fetch_site": "cross-site", "sec_fetch_mode": mode}
        assert (await ask(relay, CONFIG, **strange)).status == status


async def test_forms_that_are_none(begin: Begin, page: Page) -> None:
    """What is no form of ours is refused without a fault."""
    relay = await begin(page=page)
    form = "application/x-www-form-urlencoded"
    many = "&".join(["a=1"] * 3000)
    assert (await ask(relay, "/do", "POST", many, content_type=form)).status == 413
    assert (await ask(relay, "/do", "POST", "a", content_type="multipart/form-data")).status == 415
    odd = {"content_type": form + "; charset=no-such"}
    assert (await ask(relay, "/do", "POST", "csrf=%FF%00", **odd)).status == 403


async def test_large_forms_are_for_those_who_are_known(begin: Begin, page: Page) -> None:
    """Whoever holds no token cannot have megabytes unescaped; others may, one after the other."""
    relay = await begin(settings=TOKENS, page=page)
    large = {"token": "x", "why": "%" * (SMALL_FORM // 3)}
    assert (await post(relay, "/login", large)).status == 413
    cookie = await logged_in(relay)
    csrf = (await ask(relay, "/", cookie=cookie)).json["csrf"]
    both = await asyncio.gather(
        *(post(relay, "/do", large | {"csrf": each}, cookie=cookie) for each in (csrf, "x"))
    )
    assert [reply.status for reply in both] == [200, 403]
    by_token = await post(relay, "/do", large, authorization=f"Bearer {OPERATOR}")
    assert by_token.status == 200


async def test_a_client_that_goes_in_the_middle_is_no_fault(
    begin: Begin, page: Page, capsys: pytest.CaptureFixture[str]
) -> None:
    """Anybody can do that, as often as they like: nothing is logged."""
    relay = await begin(settings=TOKENS, page=page)
    head = "POST /login HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n"
    head += "content-type: application/x-www-form-urlencoded\r\nexpect: 100-continue\r\n\r\n"
    async with Wire(relay.listeners.admin_address) as wire:
        wire.send(head.encode() + b"token=")
        await wire.reply()  # it reads the body
    await relay.listeners.close()  # what is under way has ended
    assert "failed" not in capsys.readouterr().err


async def test_errors_are_pages(begin: Begin, page: Page) -> None:
    """Errors of pages are shown as pages, those of the API stay problems."""
    relay = await begin(page=page)
    assert (await ask(relay, "/nowhere")).body == b"<p>404"
    assert (await ask(relay, "/?fail=1")).body == b"<p>500"
    reply = await ask(relay, "/do")
    assert (reply.status, reply.headers["allow"]) == (405, "POST")
    assert (await ask(relay, "/api/v1/nowhere")).json["status"] == 404


async def test_static_files(begin: Begin, page: Page) -> None:
    """A name with the digest is kept for good; the plain one is asked for again."""
    relay = await begin(settings=TOKENS, page=page)
    url = page.static.url("app.css")
    reply = await ask(relay, url)
    assert (reply.status, reply.body) == (200, b"body {}")
    assert reply.headers["content-type"] == "text/css; charset=utf-8"
    assert "immutable" in reply.headers["cache-control"]
    assert reply.headers["x-content-type-options"] == "nosniff"
    plain = await ask(relay, "/static/app.css")
    assert plain.headers["cache-control"] == "no-cache"
    again = await ask(relay, "/static/app.css", if_none_match=plain.headers["etag"])
    assert (again.status, again.body) == (304, b"")
    for path in ("/static/", "/static/folder", "/static/..%2Fapp.css", "/static/no.css"):
        assert (await ask(relay, path)).status in {303, 404}


async def test_wrong_tokens_are_slowed(begin: Begin, page: Page) -> None:
    """Each waits longer, a crowd is sent away, and the right token is let in all the while."""
    clock = ManualClock()
    relay = await begin(settings=TOKENS, page=page, clock=clock)
    wrong = {"authorization": "Bearer wrong"}
    for _ in range(throttle.FREE):
        assert (await ask(relay, CONFIG, **wrong)).status == 401
    async with asyncio.TaskGroup() as tasks:
        slowed = [
            tasks.create_task(ask(relay, CONFIG, **wrong)) for _ in range(throttle.WAITING_EACH)
        ]
        held = relay.listeners._gate._throttle._waiting
        async with asyncio.timeout(10):
            while held.total() < throttle.WAITING_EACH:  # noqa: ASYNC110 -- it tells nobody
                await asyncio.sleep(0)
        reply = await post(relay, "/login", {"token": "wrong"})
        assert (reply.status, reply.headers["retry-after"]) == (429, "4")
        assert (await ask(relay, CONFIG, authorization=f"Bearer {VIEWER}")).status == 200
        assert await logged_in(relay)
        assert not any(task.done() for task in slowed)
        clock.advance(throttle.LONGEST)
    assert {task.result().status for task in slowed} == {401}


async def test_how_long_a_wrong_token_waits(
    clock: ManualClock, capsys: pytest.CaptureFixture[str]
) -> None:
    """Delays double up to a bound and are forgotten; other addresses are not held to them."""
    slow = Throttle(clock)
    delays = []
    async with asyncio.TaskGroup() as tasks:
        for _ in range(throttle.FREE + 6):
            waiting = tasks.create_task(slow.wrong("192.0.2.1"))
            await asyncio.sleep(0)
            delays.append(clock.next_call or 0.0)
            clock.advance(throttle.LONGEST)
            await waiting
    assert delays == [0.0, 0.0, 0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 4.0]
    await slow.wrong("192.0.2.2")
    clock.advance(throttle.FORGET)
    await slow.wrong("192.0.2.1")
    assert 1 <= capsys.readouterr().err.count("login_failed") <= len(delays) + 2


async def test_a_flood_of_wrong_tokens_is_bounded(
    clock: ManualClock, capsys: pytest.CaptureFixture[str]
) -> None:
    """From however many addresses: few wait, few are remembered, little is logged."""
    slow = Throttle(clock)
    turned_away = 0

    async def guess(address: str) -> None:
        nonlocal turned_away
        try:
            await slow.wrong(address)
        except Denied:
            turned_away += 1

    async with asyncio.TaskGroup() as tasks:
        for number in range(throttle.ADDRESSES + 50):
            for _ in range(throttle.FREE + 1):
                tasks.create_task(guess(f"10.0.{number // 250}.{number % 250}"))
        await asyncio.sleep(0)
        assert slow._waiting.total() == throttle.WAITING
        clock.advance(throttle.LONGEST)
    assert turned_away == throttle.ADDRESSES + 50 - throttle.WAITING
    assert len(slow._wrong) == throttle.ADDRESSES
    assert capsys.readouterr().err.count("login_failed") == 1


@pytest.mark.parametrize(
    ("remote", "place"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8::ffff:1", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        (None, "unknown"),
        ("", "unknown"),
    ],
)
def test_neighbourhoods(remote: str | None, place: str) -> None:
    """What one subscriber can choose from counts as one address."""
    assert neighbourhood(remote) == place
