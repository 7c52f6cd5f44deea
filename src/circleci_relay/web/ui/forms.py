"""Filters and forms: fields as a browser sends them, checked by the models of `requests`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, get_origin
from urllib.parse import urlencode

from aiohttp import web
from pydantic import BaseModel, ValidationError

from circleci_relay.console.requests import TIMES
from circleci_relay.errors import Invalid, NotFound
from circleci_relay.web.access import CALLER, Denied
from circleci_relay.web.gate import FORM

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from multidict import MultiMapping
    from pydantic_core import ErrorDetails

T = TypeVar("T", bound=BaseModel)
F = TypeVar("F")

_PLAIN = {
    "datetime": f"should be {TIMES}",
    "int": "a whole number",
    "float": "a number",
    "pattern": "not written as it should be",
}


def filled(shape: type[T], fields: MultiMapping[str]) -> tuple[T | None, dict[str, str]]:
    """
    Return *shape* made of those *fields* it knows; blank ones count as not given.

    Where some cannot be, None and what is wrong with each.
    """
    given: dict[str, Any] = {}
    for name, field in shape.model_fields.items():
        values = [each.strip() for each in fields.getall(name, ()) if each.strip()]
        if not values:
            continue
        given[name] = values if _many(field.annotation) else values[-1]
    try:
        return shape.model_validate(given), {}
    except ValidationError as wrong:
        found = wrong.errors(include_url=False, include_context=False, include_input=False)
        return None, {_name(each): _told(each) for each in found}


async def looked(
    query: T | None,
    faults: dict[str, str],
    ask: Callable[[T], Awaitable[F]],
    nothing: F,
) -> F:
    """Return what *query* finds; *nothing*, with the fault beside its field, if it cannot be."""
    if query is None:
        return nothing
    try:
        return await ask(query)
    except Invalid as fault:
        if fault.where is None:
            raise
        faults[fault.where.rpartition(".")[2]] = str(fault)
    except NotFound as fault:
        faults["job"] = str(fault)
    return nothing


def tidy(request: web.Request) -> None:
    """Raise the redirect to the same page without the fields that a form left empty."""
    kept = [(name, value) for name, value in request.query.items() if value]
    if len(kept) < len(request.query):
        query = f"?{urlencode(kept, errors='replace')}" if kept else ""
        raise web.HTTPSeeOther(f"{request.rel_url.raw_path}{query}")


def posted(shape: type[T], request: web.Request) -> T:
    """Return what a form asks for; raise `Invalid` if it cannot be."""
    found, faults = filled(shape, request[FORM])
    if found is None:
        told = "; ".join(f"{name}: {what}" for name, what in faults.items())
        raise Invalid(told)
    return found


def operator(request: web.Request) -> str:
    """Return the name of whoever asks; raise `Denied` if they may not change anything."""
    caller = request[CALLER]
    if caller.role != "operator":
        raise Denied(403, "your role is viewer; this takes an operator")
    return caller.name


def query_of(values: Mapping[str, Any]) -> str:
    """Return *values* that are not None as an address's query, with its question mark."""
    pairs = [(name, str(value)) for name, value in values.items() if value not in {None, ""}]
    return f"?{urlencode(pairs, errors='replace')}" if pairs else ""


def kept(fields: MultiMapping[str], shape: type[BaseModel], *without: str) -> dict[str, str]:
    """Return the fields of *shape* that were given, as they were given."""
    return {
        name: fields[name].strip()
        for name in shape.model_fields
        if name not in without and fields.get(name, "").strip()
    }


def _many(annotation: Any) -> bool:
    text = str(annotation)
    return get_origin(annotation) is list or "list[" in text


def _name(fault: ErrorDetails) -> str:
    return str(fault["loc"][0]) if fault["loc"] else "form"


def _told(fault: ErrorDetails) -> str:
    for part, words in _PLAIN.items():
        if part in fault["type"]:
            return words
    return fault["msg"].removeprefix("Value error, ")[:200]
