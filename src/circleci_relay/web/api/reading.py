"""Requests read and validated by what their endpoint says."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from aiohttp import web
from pydantic import ValidationError

from circleci_relay.console.given import EXACT
from circleci_relay.console.requests import TIMES
from circleci_relay.web.api.endpoints import Request
from circleci_relay.web.api.parameters import parameters
from circleci_relay.web.problems import Complaint, Refused

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic_core import ErrorDetails

    from circleci_relay.web.access import Caller
    from circleci_relay.web.api.endpoints import Endpoint
    from circleci_relay.web.api.shapes import Given

PATIENCE = 8.0
"""Seconds a body may take."""

IN_FLIGHT = 32 * 1024 * 1024
"""Bytes of bodies that may be on their way at once."""

TEXTS = 5000
"""Names and texts that a body may hold: to tell what is wrong with each takes microseconds."""

COMPLAINTS = 20
"""How many things wrong with a request are told."""


async def read(endpoint: Endpoint, http: web.Request, caller: Caller) -> Request:
    """Return what *http* asks of *endpoint*; raise `Refused` for what it cannot be asked."""
    complaints: list[Complaint] = []
    given: dict[str, Any] = {}
    for key, where, shape, pairs in (
        ("path", "path", endpoint.path_params, http.match_info.items()),
        ("query", "query", endpoint.query, http.query.items()),
        ("headers", "header", endpoint.headers, http.headers.items()),
    ):
        if shape is not None:
            given[key] = _values(shape, where, pairs, complaints)
        elif key == "query":
            complaints += [_unknown(f"query.{name}") for name in dict.fromkeys(http.query)]
    if complaints:
        raise invalid(complaints)
    if endpoint.body is not None:
        without = not endpoint.needs_body and not http.body_exists
        content = b"{}" if without else await body_of(http, endpoint.max_body)
        given["body"] = _body(endpoint.body, content)
    return Request(caller=caller, http=http, **given)


async def body_of(http: web.Request, most: int, *, content_type: str = "application/json") -> bytes:
    """Return the body; raise `Refused` if it is of another type, too large or too slow."""
    if http.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise Refused(415, "a content-encoding is not taken")
    if http.content_type != content_type:
        raise Refused(415, f"the body must be {content_type}; say so in content-type")
    if (http.content_length or 0) > most:
        raise _too_large(most)
    content = bytearray()
    try:
        async with asyncio.timeout(PATIENCE):
            async for chunk in http.content.iter_any():
                if not _budget.take(len(chunk)):
                    raise Refused(503, "too many bodies at once", headers={"retry-after": "5"})
                content += chunk
                if len(content) > most:
                    raise _too_large(most)
    except TimeoutError:
        raise Refused(408, "the body took too long") from None
    except (web.RequestPayloadError, ConnectionError) as fault:
        # The stream keeps the fault, and by that this frame, and by that what it has read.
        fault.__traceback__ = None
        raise Refused(422, "the body is malformed or cut short") from None
    finally:
        _budget.give_back(len(content))
    return bytes(content)


class _Budget:
    """Bytes of bodies that are being read, of all requests together."""

    def __init__(self, most: int) -> None:
        self._left = most

    def take(self, size: int) -> bool:
        """Take *size* bytes, if there are so many."""
        if size > self._left:
            return False
        self._left -= size
        return True

    def give_back(self, size: int) -> None:
        """Give *size* bytes back."""
        self._left += size


_budget = _Budget(IN_FLIGHT)


def _too_large(most: int) -> Refused:
    return Refused(413, f"the body is larger than {most} bytes")


def invalid(complaints: list[Complaint]) -> Refused:
    """Return the 422 that tells *complaints*."""
    told = complaints[:COMPLAINTS]
    detail = "; ".join(f"{each.location}: {each.message}" for each in told[:3])
    return Refused(422, detail + ("; …" if len(told) > 3 else ""), errors=told)  # noqa: PLR2004


def _values(
    shape: type[Given],
    where: str,
    pairs: Iterable[tuple[str, str]],
    complaints: list[Complaint],
) -> Given | None:
    """Return the parameters as *shape*; add what is wrong with them to *complaints*."""
    known = parameters(shape)
    if where == "header":
        pairs = [(name.lower(), value) for name, value in pairs if name.lower() in known]
    found: dict[str, Any] = {}
    for name, value in pairs:
        location = f"{where}.{_shown(name)}"
        parameter = known.get(name)
        if parameter is None:
            complaints.append(_unknown(location))
        elif not _encodable(value):
            complaints.append(Complaint(location=location, message="is not UTF-8"))
        elif not parameter.fits(value):
            complaints.append(Complaint(location=location, message=f"should be {TIMES}"))
        elif parameter.many:
            found.setdefault(name, []).append(parameter.convert(value))
        elif name in found:
            complaints.append(Complaint(location=location, message="is given more than once"))
        else:
            found[name] = parameter.convert(value)
    if complaints:
        return None
    try:
        return shape.model_validate_json(json.dumps(found), context=EXACT)
    except ValidationError as fault:
        complaints += _complaints(fault, where)
        return None


def _body(shape: type[Given], content: bytes) -> Given:
    # Quotes that begin or end a text: at least one for each, two for nearly all.
    if content.count(b'"') - content.count(b'\\"') > 2 * TEXTS:
        raise Refused(413, f"the body holds more than {TEXTS} names and texts")
    try:
        return shape.model_validate_json(content, context=EXACT)
    except ValidationError as fault:
        raise invalid(_complaints(fault, "body")) from None


def _complaints(fault: ValidationError, where: str) -> list[Complaint]:
    told = fault.errors(include_url=False, include_input=False, include_context=False)
    return [
        Complaint(location=_place(where, each), message=_words(each))
        for each in told[: COMPLAINTS + 1]
    ]


def _place(where: str, error: ErrorDetails) -> str:
    return ".".join([where, *(_shown(str(key)) for key in error["loc"])])


def _words(error: ErrorDetails) -> str:
    if error["type"] == "extra_forbidden":
        return "is not known here"
    if error["type"] == "missing":
        return "is missing"
    text = error["msg"].removeprefix("Value error, ")
    return text[:1].lower() + text[1:] if text[1:2].islower() else text


def _unknown(location: str) -> Complaint:
    return Complaint(location=location, message="is not known here")


def _shown(name: str) -> str:
    """Return a name out of a request as it may be repeated to whoever sent it."""
    return "".join(each if each.isprintable() else "?" for each in name[:100])


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
