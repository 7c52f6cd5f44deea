"""The door of the admin listener: who a request is from, and whether it may change anything."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote

from aiohttp import web
from multidict import MultiDict, MultiMapping

from circleci_relay.web import sessions
from circleci_relay.web.access import ANYBODY, CALLER, Caller, Denied, check_fetch
from circleci_relay.web.api.reading import body_of
from circleci_relay.web.record import Record, unrecorded
from circleci_relay.web.sessions import LIFE, Session
from circleci_relay.web.throttle import Throttle

if TYPE_CHECKING:
    from circleci_relay.clock import Clock
    from circleci_relay.web.access import Access

CSRF = web.RequestKey("csrf", str)
"""The text that a request's answer puts into its forms, as the field `csrf`."""

FORM = web.RequestKey("form", MultiMapping[str])
"""The fields of a form that was posted to the page."""

RENEWED = web.RequestKey("renewed", str)
"""The `set-cookie` that lengthens the request's session."""

SAFE = frozenset({"GET", "HEAD"})

COOKIE = "relay-session"

FORM_TYPE = "application/x-www-form-urlencoded"

FORM_SIZE, FIELDS = 4 * 1024 * 1024, 2000
"""The largest form: a relay.yaml of 1 MiB, each of its characters escaped."""

SMALL_FORM = 16 * 1024
"""The largest of whoever is not known yet; a larger one takes long to unescape."""

LONGEST_PATH = 2000
"""Characters of a `next` that is followed."""

_UNSAFE_IN_PATH = re.compile(r"[\x00-\x20\x7f\\]")


class Gate:
    """Lets requests in; *access* is replaced when the configuration changes."""

    def __init__(self, access: Access, *, clock: Clock, record: Record = unrecorded) -> None:
        self.access = access
        self._record = record
        self._clock = clock
        self._throttle = Throttle(clock)
        self._key = sessions.key()
        self._unescaping = asyncio.Lock()

    async def admit(self, request: web.Request, *, page: bool, public: bool = False) -> None:
        """
        Set `request[CALLER]` and `request[CSRF]`, and for a page's post `request[FORM]`.

        Raises `Denied`. What is *public* needs no caller, and so has none if nobody is known.
        """
        headers = request.headers
        changes = request.method not in SAFE
        self.access.check_host(headers.get("host"))
        check_fetch(headers.get("sec-fetch-site"), headers.get("sec-fetch-mode"), changes=changes)
        if changes:
            self.access.check_origin(headers.get("origin"), headers.get("host"))
        tied = await self._identify(request, page=page, public=public)
        if changes and page:
            request[FORM] = await self._form(request)
        if changes and tied and not public:
            self._check_csrf(request)

    async def sign_in(self, request: web.Request, token: str) -> str:
        """
        Return the `set-cookie` of a new session for whoever knows *token*.

        Raises `Denied` (401, or 429) after a while if nobody's token it is.
        """
        caller = self.access.caller(token)
        if caller is None:
            await self._throttle.wrong(request.remote)
            raise Denied(401, "nobody's token")
        await self._record(caller.name, "sign-in", "page")
        session = self.access.begin(caller, now=self._clock.wall())
        return self._cookie(request, self.access.seal(session), LIFE)

    def sign_out(self, request: web.Request) -> str:
        """Return the `set-cookie` that ends the browser's session."""
        return self._cookie(request, "", 0)

    def still_known(self, request: web.Request) -> bool:
        """Whether who opened a stream would still be let in: for long answers to ask at times."""
        if self.access.open:
            return True
        token = _bearer(request)
        if token is not None:
            return self.access.caller(token) == request[CALLER]
        found = self._session(request)
        return found is not None and found[0] == request[CALLER]

    async def _identify(self, request: web.Request, *, page: bool, public: bool) -> bool:
        """Say who asks; return whether changes must prove that they come from our own forms."""
        if self.access.open:
            request[CALLER] = Caller(name=ANYBODY, role="operator")
            request[CSRF] = sessions.tied(self._key)
            return page or bool({"origin", "sec-fetch-site"} & request.headers.keys())
        token = _bearer(request)
        if token is not None and not public:
            await self._by_token(request, token)
            return False
        found = self._session(request)
        if found is not None:
            request[CALLER], session = found
            request[CSRF] = self.access.csrf(session)
            follows = session.renewed(now=self._clock.wall())
            if follows is not None:
                request[RENEWED] = self._cookie(request, self.access.seal(follows), LIFE)
            return True
        if not public:
            raise _nobody("a token is needed: authorization: Bearer TOKEN")
        return False

    async def _by_token(self, request: web.Request, token: str) -> None:
        caller = self.access.caller(token)
        if caller is None:
            await self._throttle.wrong(request.remote)
            raise _nobody("nobody's token; it is sent as authorization: Bearer TOKEN")
        request[CALLER] = caller
        request[CSRF] = ""

    def _session(self, request: web.Request) -> tuple[Caller, Session] | None:
        cookie = request.cookies.get(_cookie_name(secure=self._secure(request)))
        return self.access.resume(cookie, now=self._clock.wall()) if cookie else None

    def _check_csrf(self, request: web.Request) -> None:
        given = request.headers.get("x-csrf-token")
        if given is None and FORM in request:
            given = request[FORM].get("csrf")
        if given is None or not sessions.same(request[CSRF], given):
            raise Denied(403, "the form is no longer valid; load the page again")

    async def _form(self, request: web.Request) -> MultiDict[str]:
        """Return the fields of the form that was posted; a large one is unescaped off the loop."""
        most = FORM_SIZE if CALLER in request else SMALL_FORM
        content = await body_of(request, most, content_type=FORM_TYPE)
        if len(content) <= SMALL_FORM:
            return _fields(content)
        async with self._unescaping:  # one at a time: each takes the interpreter
            return await asyncio.to_thread(_fields, content)

    def _secure(self, request: web.Request) -> bool:
        """Whether browsers come by https, as the settings say, or the proxy in front."""
        forwarded = request.headers.get("x-forwarded-proto", "").partition(",")[0]
        return self.access.https or forwarded.strip().lower() == "https"

    def _cookie(self, request: web.Request, value: str, age: int) -> str:
        secure = self._secure(request)
        parts = [
            f"{_cookie_name(secure=secure)}={value}",
            f"Max-Age={age}",
            "Path=/",
            "HttpOnly",
            "SameSite=Strict",
        ]
        return "; ".join([*parts, "Secure"] if secure else parts)


GATE = web.AppKey("gate", Gate)
"""The admin listener's gate: `request.app[GATE]`."""


def local_path(wanted: str | None) -> str:
    """
    Return where to go after a login: *wanted*, if it is a path of ours, else `/`.

    Browsers take a backslash for a slash, leave tabs and line ends out, and take `//host`
    for another host.
    """
    if (
        not wanted
        or len(wanted) > LONGEST_PATH
        or not wanted.startswith("/")
        or wanted.startswith(("//", "/login", "/logout"))
        or _UNSAFE_IN_PATH.search(wanted)
    ):
        return "/"
    return quote(wanted, safe="/?#[]@!$&'()*+,;=:-._~%", errors="replace")


def login_path(request: web.Request) -> str:
    """Return the path of the login that leads back to *request*, if that only looks."""
    wanted = local_path(request.raw_path) if request.method in SAFE else "/"
    return "/login" if wanted == "/" else "/login?next=" + quote(wanted, safe="/")


def _nobody(error: str) -> Denied:
    return Denied(401, error, headers={"www-authenticate": "Bearer"})


def _bearer(request: web.Request) -> str | None:
    """Return the token a request carries; a proxy's own `Basic` is none of our business."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _cookie_name(*, secure: bool) -> str:
    # With the prefix a browser takes it from this very host alone, and over https.
    return f"__Host-{COOKIE}" if secure else COOKIE


def _fields(content: bytes) -> MultiDict[str]:
    try:
        fields = parse_qsl(
            content.decode("utf-8", "replace"),
            keep_blank_values=True,
            max_num_fields=FIELDS,
            errors="replace",
        )
    except ValueError:
        raise Denied(413, "the form has too many fields") from None
    return MultiDict(fields)
