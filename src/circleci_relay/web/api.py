"""The admin API: JSON under /api/v1."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import structlog
from aiohttp import web

from circleci_relay.web.access import Access, Caller, Denied
from circleci_relay.web.answers import json_error, json_response

if TYPE_CHECKING:
    from circleci_relay.model import Fault

log = structlog.get_logger()

SAFE = frozenset({"GET", "HEAD"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ReloadReport:
    """What came of reading the configuration again."""

    result: Literal["reloaded", "unchanged", "failed"]
    faults: tuple[Fault, ...] = ()  #: why nothing was changed
    warnings: tuple[Fault, ...] = ()
    restart_required: tuple[str, ...] = ()  #: paths of keys that only a restart brings into force


Reload = Callable[[], Awaitable[ReloadReport]]

Describe = Callable[[], Mapping[str, Any]]
"""Returns the configuration in force, masked, with its digest: JSON's own types only."""


class Api:
    """The handlers behind `application`."""

    def __init__(self, *, access: Access, reload: Reload, describe: Describe) -> None:
        self.access = access
        self._reload = reload
        self._describe = describe

    def application(self) -> web.Application:
        """Return the routes; one middleware judges every request and turns errors into JSON."""
        app = web.Application(middlewares=[self._judge], client_max_size=1024 * 1024)
        app.router.add_get("/api/v1/config", self._config)
        app.router.add_post("/api/v1/reload", self._post_reload)
        return app

    @web.middleware
    async def _judge(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        host = request.headers.get("host")
        try:
            self.access.check_host(host)
            if request.method not in SAFE:
                self.access.check_origin(request.headers.get("origin"), host)
            request[CALLER] = self.access.identify(
                request.headers.get("authorization"), changes=request.method not in SAFE
            )
            return await handler(request)
        except Denied as denied:
            headers = {"www-authenticate": "Bearer"} if denied.status == 401 else None  # noqa: PLR2004
            return json_error(denied.status, denied.error, headers=headers)
        except web.HTTPMethodNotAllowed as wrong:
            allow = ", ".join(sorted(wrong.allowed_methods))
            return json_error(405, f"only {allow} is taken", headers={"allow": allow})
        except web.HTTPException as wrong:
            return json_error(wrong.status, wrong.reason.lower())

    async def _config(self, _request: web.Request) -> web.Response:
        return json_response(self._describe())

    async def _post_reload(self, request: web.Request) -> web.Response:
        log.info("reload_requested", by=request[CALLER].name)
        report = await self._reload()
        if report.result == "failed":
            return json_error(
                422,
                "the configuration is faulty; nothing was changed",
                faults=[_fault(fault) for fault in report.faults],
            )
        return json_response(
            {
                "result": report.result,
                "warnings": [_fault(warning) for warning in report.warnings],
                "restart_required": list(report.restart_required),
            }
        )


CALLER = web.RequestKey("caller", Caller)


def _fault(fault: Fault) -> dict[str, Any]:
    return asdict(fault) | {"text": str(fault)}
