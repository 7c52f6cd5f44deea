"""The OpenAPI document, out of the definitions that validate requests."""

from __future__ import annotations

import asyncio
import functools
import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from pydantic.json_schema import models_json_schema

from circleci_relay import __version__
from circleci_relay.web.api.endpoints import PREFIX, Endpoint, Media, Reply, Request
from circleci_relay.web.api.parameters import present
from circleci_relay.web.api.shapes import Schemas
from circleci_relay.web.problems import TYPE, Problem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic import BaseModel
    from pydantic.json_schema import JsonSchemaMode

    from circleci_relay.web.api.shapes import Given

Json = dict[str, Any]

SECURITY: Json = {
    "token": {
        "type": "http",
        "scheme": "bearer",
        "description": "One of `server.admin_tokens`. Not needed where there are none.",
    },
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": "__Host-relay-session",
        "description": "What the page's login sets; `relay-session` where it is served over http.",
    },
    "csrf": {
        "type": "apiKey",
        "in": "header",
        "name": "x-csrf-token",
        "description": "Goes with a session, on whatever is not GET or HEAD.",
    },
}

WHEN = {
    401: "A token is needed, or a session.",
    403: "The role does not suffice, or the host or origin is not ours.",
    404: "There is no such thing.",
    408: "The body took too long.",
    409: "It is in a state in which this cannot be done.",
    413: "The body is too large.",
    415: "The body is of another type, or encoded.",
    422: "The request makes no sense; `errors` says where.",
    429: "Too many wrong tokens at once.",
    500: "A fault of the relay's own; its log says more.",
    503: "The store cannot be asked now.",
}


NOT_HTTP: Final[Json] = {
    "description": "No HTTP, or its first line or a header is over 8 KiB: the API has not seen it",
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "properties": {"error": {"type": "string"}},
                "required": ["error"],
            }
        }
    },
}


def openapi_endpoint(endpoints: Sequence[Endpoint]) -> Endpoint:
    """Return the endpoint that documents *endpoints* and itself."""

    @functools.cache
    def text() -> str:
        return json.dumps(document([*endpoints, own]), ensure_ascii=False)

    async def show(_request: Request) -> Reply:
        return Reply(content=await asyncio.to_thread(text))

    own = Endpoint(
        method="GET",
        path="/openapi.json",
        summary="This document.",
        tag="documentation",
        handler=show,
        changes=False,
        answers={
            200: Media(type="application/json", summary="OpenAPI 3.1.", schema={"type": "object"})
        },
    )
    return own


def document(endpoints: Sequence[Endpoint]) -> Json:
    """Return the whole document: the same for the same *endpoints*."""
    schemas = _Components(endpoints)
    paths: Json = {}
    for endpoint in endpoints:
        operation = _operation(endpoint, schemas)
        paths.setdefault(PREFIX + endpoint.path, {})[endpoint.method.lower()] = operation
    problems = sorted({status for endpoint in endpoints for status in endpoint.errors})
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "circleci-relay",
            "version": __version__,
            "description": "Everything that came in and went out, and the means to repair it.",
        },
        "paths": paths,
        "components": {
            "securitySchemes": SECURITY,
            "responses": {
                "NotHTTP": NOT_HTTP,
                **{f"Problem{status}": _problem(status, schemas) for status in problems},
            },
            "schemas": schemas.shown,
        },
    }


class _Components:
    """The models' schemas, each made once."""

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        modes: dict[tuple[type[BaseModel], JsonSchemaMode], None] = {
            (Problem, "serialization"): None
        }
        flat: set[type[BaseModel]] = set()
        for endpoint in endpoints:
            modes |= dict.fromkeys((shape, "validation") for shape in endpoint.inputs)
            modes |= dict.fromkeys(
                (model, "serialization")
                for model in endpoint.answers.values()
                if isinstance(model, type)
            )
            flat |= set(endpoint.inputs) - {endpoint.body}
        self._refs, told = models_json_schema(
            sorted(modes, key=lambda mode: (mode[0].__name__, mode[0].__module__, mode[1])),
            ref_template="#/components/schemas/{model}",
            schema_generator=Schemas,
        )
        self._all: Json = told.get("$defs", {})
        # Parameters stand with their operation, not as an object.
        left_out = {_name(self._refs[shape, "validation"]) for shape in flat}
        self.shown = {name: self._all[name] for name in sorted(self._all) if name not in left_out}

    def given(self, shape: type[BaseModel]) -> Json:
        """Return the reference to what comes in."""
        return self._refs[shape, "validation"]

    def told(self, model: type[BaseModel]) -> Json:
        """Return the reference to what goes out."""
        return self._refs[model, "serialization"]

    def whole(self, shape: type[BaseModel]) -> Json:
        """Return the schema of what comes in."""
        found: Json = self._all[_name(self.given(shape))]
        return found


def _name(reference: Json) -> str:
    return str(reference["$ref"]).rpartition("/")[2]


def _operation(endpoint: Endpoint, schemas: _Components) -> Json:
    takes = "Takes an operator." if endpoint.changes else ""
    if endpoint.spares is not None:
        takes = "Takes an operator, unless it is a dry run."
    said = [endpoint.description, takes]
    operation: Json = {
        "operationId": _operation_id(endpoint),
        "summary": endpoint.summary,
        "description": " ".join(filter(None, said)),
        "tags": [endpoint.tag],
        "security": [
            {"token": []},
            {"session": []} if endpoint.method == "GET" else {"session": [], "csrf": []},
        ],
        "parameters": [
            *_parameters("path", endpoint.path_params, schemas),
            *_parameters("query", endpoint.query, schemas),
            *_parameters("header", endpoint.headers, schemas),
        ],
        "responses": {
            **{str(status): _answer(status, endpoint, schemas) for status in endpoint.answers},
            **{
                str(status): {"$ref": f"#/components/responses/Problem{status}"}
                for status in endpoint.errors
            },
            "400": {"$ref": "#/components/responses/NotHTTP"},
        },
    }
    if endpoint.body is not None:
        operation["requestBody"] = {
            "required": endpoint.needs_body,
            "content": {"application/json": {"schema": schemas.given(endpoint.body)}},
        }
    return {key: value for key, value in operation.items() if value not in ("", [])}


def _operation_id(endpoint: Endpoint) -> str:
    words = endpoint.path.translate(str.maketrans("/-{}.", "    _")).split()
    return "_".join([endpoint.method.lower(), *words])


def _parameters(where: str, shape: type[Given] | None, schemas: _Components) -> list[Json]:
    if shape is None:
        return []
    whole = schemas.whole(shape)
    found = []
    for name, value in whole.get("properties", {}).items():
        schema = present(value)
        found.append(
            {
                "name": name,
                "in": where,
                "required": name in whole.get("required", ()),
                "description": schema.pop("description", ""),
                "schema": schema,
            }
        )
    return found


def _answer(status: int, endpoint: Endpoint, schemas: _Components) -> Json:
    answer = endpoint.answers[status]
    if answer is None:
        return {"description": HTTPStatus(status).phrase}
    if isinstance(answer, Media):
        kind = answer.type.partition(";")[0]
        return {"description": answer.summary, "content": {kind: {"schema": dict(answer.schema)}}}
    said = (answer.__doc__ or HTTPStatus(status).phrase).strip().partition("\n")[0]
    return {
        "description": said,
        "content": {"application/json": {"schema": schemas.told(answer)}},
    }


def _problem(status: int, schemas: _Components) -> Json:
    told: Json = {
        "description": WHEN.get(status, HTTPStatus(status).phrase),
        "content": {TYPE: {"schema": schemas.told(Problem)}},
    }
    if status in {429, 503}:
        told["headers"] = {
            "retry-after": {"description": "In seconds.", "schema": {"type": "string"}}
        }
    return told
