"""One definition per endpoint: it validates requests and makes the documentation."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from aiohttp import web
from pydantic import BaseModel

if TYPE_CHECKING:
    from circleci_relay.web.access import Caller
    from circleci_relay.web.api.shapes import Given

PREFIX = "/api/v1"

BODY = 1024 * 1024
"""Bytes of a body, where an endpoint does not say otherwise."""

_PARAMETER = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """
    What a handler is given, all of it validated.

    *query*, *path*, *body* and *headers* are instances of what the endpoint names for them,
    None where it names nothing: `wanted: EventsQuery = request.query`.
    """

    caller: Caller
    query: Any = None
    path: Any = None
    body: Any = None
    headers: Any = None
    http: web.Request  #: only for an answer that is prepared by the handler, such as a stream


@dataclass(frozen=True, slots=True, kw_only=True)
class Media:
    """
    An answer that is no model: its type, and its JSON Schema if that says something.

    Of `text/event-stream` the schema is that of each event: an object of `event`, `data`, `id`.
    """

    type: str
    summary: str = "As it says."
    schema: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """
    An answer with another status than the first of its endpoint's, or headers of its own.

    *content* is an instance of the model that the endpoint names for *status*; bytes or text
    where it names a `Media`; None where it names nothing.
    """

    content: BaseModel | bytes | str | None = None
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


Answer = Reply | BaseModel | web.StreamResponse
"""What a handler returns; a `StreamResponse` is one it has prepared itself."""

Handler = Callable[[Request], Awaitable[Answer]]


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """
    One method at one path.

    *path* is below /api/v1. *changes* says that it takes an operator; what merely looks may
    be a POST all the same. *spares* says of a body, once it is read, that it changes nothing after
    all. *answers* maps each status that is no error to its model, to a
    `Media`, or to None where there is no body; the first is the usual one. *problems* are
    the errors the handler's own services raise; those of the frame are added to them.
    """

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    path: str
    summary: str
    tag: str
    handler: Handler
    changes: bool
    spares: Callable[[Any], bool] | None = None
    description: str = ""
    query: type[Given] | None = None
    path_params: type[Given] | None = None
    headers: type[Given] | None = None
    body: type[Given] | None = None
    max_body: int = BODY
    answers: Mapping[int, type[BaseModel] | Media | None]
    problems: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        named = set(_PARAMETER.findall(self.path))
        known = set(self.path_params.model_fields) if self.path_params else set()
        if named != known:
            raise TypeError(f"{self.name}: the path names {named}, path_params {known}")
        for shape in self.inputs:
            if shape.model_config.get("extra") != "forbid" or not shape.model_config.get(
                "str_max_length"
            ):
                raise TypeError(f"{self.name}: {shape.__name__} is no Given")
        if self.body is not None and self.method == "GET":
            raise TypeError(f"{self.name}: a GET has no body")
        if not self.answers:
            raise TypeError(f"{self.name}: no answer is named")

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return f"{self.method} {self.path}"

    @property
    def inputs(self) -> tuple[type[Given], ...]:
        """Every model a request is validated by."""
        named = (self.query, self.path_params, self.headers, self.body)
        return tuple(shape for shape in named if shape is not None)

    @property
    def route(self) -> str:
        """The path as aiohttp's router reads it; a value may hold anything but a slash."""
        return PREFIX + _PARAMETER.sub(r"{\1:[^/]+}", self.path)

    @property
    def usual(self) -> int:
        """The status of an answer that names none."""
        return next(iter(self.answers))

    @property
    def streams(self) -> bool:
        """Whether it answers for as long as somebody listens."""
        usual = self.answers[self.usual]
        return isinstance(usual, Media) and usual.type == "text/event-stream"

    @property
    def needs_body(self) -> bool:
        """Whether a request without a body lacks something."""
        shape = self.body
        return shape is not None and any(each.is_required() for each in shape.model_fields.values())

    @cached_property
    def errors(self) -> tuple[int, ...]:
        """Every error it may answer, those of the frame included."""
        # 422 always: a query is refused where there is none to give.
        found = {401, 403, 422, 429, 500, 503, *self.problems}
        found |= {408, 413, 415} if self.body is not None else set()
        return tuple(sorted(found))
