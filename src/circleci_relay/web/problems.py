"""Errors as RFC 9457 problems."""

from __future__ import annotations

from http import HTTPStatus
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from aiohttp import web

from circleci_relay.config.base import Strict
from circleci_relay.console.shapes import ConfigFault
from circleci_relay.errors import ConfigError, Invalid, StoreUnavailable, Unanswerable
from circleci_relay.web.access import Denied

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from circleci_relay.model import Fault

TYPE = "application/problem+json"

SOON = 5
"""Seconds after which to ask again while the store is away."""


class Complaint(Strict):
    """One thing wrong with a request."""

    location: str
    """Where: `query.limit`, `path.id`, `header.idempotency-key`, `body.filter.state`, `body`."""
    message: str
    """What."""


class Problem(Strict):
    """What is wrong, as RFC 9457 has it."""

    type: Literal["about:blank"] = "about:blank"
    title: str
    """The status in words."""
    status: int
    detail: str
    """What is wrong, and what would be right."""
    errors: tuple[Complaint, ...] | None = None
    """Each thing wrong with the request, with 422."""
    faults: tuple[ConfigFault, ...] | None = None
    """Each thing wrong with a configuration, where that is what is wrong."""


class Refused(Exception):  # noqa: N818 -- it is an answer
    """A request that ends in a problem; raised by the frame, never by a service."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        errors: Sequence[Complaint] = (),
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.errors = tuple(errors)
        self.headers = dict(headers)


def problem(
    status: int,
    detail: str,
    *,
    errors: Sequence[Complaint] = (),
    faults: Sequence[Fault] = (),
    headers: Mapping[str, str] = MappingProxyType({}),
) -> web.Response:
    """Return the answer that tells a problem."""
    told = Problem(
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        errors=tuple(errors) or None,
        faults=tuple(map(ConfigFault.of, faults)) or None,
    )
    return web.Response(
        body=told.model_dump_json(exclude_none=True).encode(),
        status=status,
        content_type=TYPE,
        headers=headers,
    )


def problem_of(fault: Exception) -> web.Response | None:  # noqa: PLR0911 -- one for each kind
    """Return the problem that *fault* is to whoever asked; None where it is a bug of ours."""
    match fault:
        case Refused():
            return problem(fault.status, fault.detail, errors=fault.errors, headers=fault.headers)
        case Denied():
            return problem(fault.status, fault.error, headers=fault.headers)
        case Invalid() if fault.where:
            complaint = Complaint(location=fault.where, message=str(fault))
            return problem(fault.status, f"{fault.where}: {fault}", errors=[complaint])
        case Unanswerable():
            return problem(fault.status, str(fault))
        case ConfigError():
            return problem(422, "the configuration is faulty", faults=fault.faults)
        case StoreUnavailable():
            return problem(
                503,
                "the store cannot be asked now; please ask again",
                headers={"retry-after": str(SOON)},
            )
        case web.HTTPMethodNotAllowed():
            allow = ", ".join(sorted(fault.allowed_methods))
            return problem(405, f"only {allow} is taken", headers={"allow": allow})
        case web.HTTPNotFound():
            return problem(404, "there is nothing at this path")
        case web.HTTPException():
            return problem(fault.status, fault.reason)
    return None
