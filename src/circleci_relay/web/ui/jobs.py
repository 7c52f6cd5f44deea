"""Bulk jobs: counted first, begun, watched, cancelled."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiohttp import web
from pydantic import ValidationError

from circleci_relay.console.requests import BulkCancel, BulkReplay, JobQuery, Selection
from circleci_relay.console.shapes import Job, Preview
from circleci_relay.errors import Conflict, Invalid
from circleci_relay.model import State
from circleci_relay.web.access import CALLER
from circleci_relay.web.gate import FORM
from circleci_relay.web.ui.forms import filled, kept, operator
from circleci_relay.web.ui.notices import seen

if TYPE_CHECKING:
    from collections.abc import Iterable

    from circleci_relay.web.ui.desk import Desk

MOST = 100
"""Selections that one form may hold."""

EXAMPLES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One job that would be begun."""

    selection: str
    key: str


class _Jobs:
    """The pages of bulk jobs."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._repairing = desk.console.repairing

    async def count(self, request: web.Request) -> web.Response:
        """Say what would be done; change nothing: a viewer may ask, too."""
        who = request[CALLER].name
        kind = _kind(request)
        if not request[FORM].getall("selection", []):
            raise seen("/dead" if kind == "replay" else "/deliveries", "unticked")
        selections = _selections(request)
        found: list[Preview] = []
        for each in selections:
            answer = await self._ask(kind, request, each, who, key=None)
            if isinstance(answer, Preview):
                found.append(answer)
        return self._desk.view.page(
            request,
            "preview.html",
            kind=kind,
            total=sum(each.count for each in found),
            partial=any(each.partial for each in found),
            by_destination=_together(found),
            examples=[one for each in found for one in each.examples][:EXAMPLES],
            parts=[
                Part(selection=_written(wanted), key=each.idempotency_key)
                for wanted, each in zip(selections, found, strict=True)
                if each.count
            ],
            routes=_routes(request),
            back="/dead" if kind == "replay" else "/deliveries",
        )

    async def start(self, request: web.Request) -> web.Response:
        """Begin a job for each selection; asked again, the same ones are found."""
        who = operator(request)
        kind, selections = _kind(request), _selections(request)
        keys = request[FORM].getall("key", [])
        if len(keys) != len(selections):
            raise Invalid("the form is not whole; count again")
        begun: list[Job] = []
        for wanted, key in zip(selections, keys, strict=True):
            answer = await self._ask(kind, request, wanted, who, key=key)
            if isinstance(answer, Job):
                begun.append(answer)
        if len(begun) == 1:
            raise seen(f"/jobs/{begun[0].id}", "job")
        raise seen("/jobs", "jobs", len(begun))

    async def listed(self, request: web.Request) -> web.Response:
        """List jobs."""
        query, _ = filled(JobQuery, request.query)
        found = await self._repairing.jobs(query or JobQuery())
        return self._desk.view.page(
            request,
            "jobs.html",
            found=found,
            fields=kept(request.query, JobQuery, "limit"),
            selected=selected,
        )

    async def show(
        self, request: web.Request, *, problem: str | None = None, status: int = 200
    ) -> web.Response:
        """Show one job."""
        job = await self._repairing.job(request.match_info["id"])
        return self._desk.view.page(
            request,
            "job.html",
            job=job,
            selected=selected,
            working=job.state == "running" or bool(job.states.get(State.PENDING)),
            problem=problem,
            status=status,
        )

    async def cancel(self, request: web.Request) -> web.Response:
        """Cancel one job."""
        who = operator(request)
        job = request.match_info["id"]
        try:
            await self._repairing.cancel_job(job, who)
        except (Conflict, Invalid) as fault:
            return await self.show(request, problem=str(fault), status=fault.status)
        raise seen(request.rel_url.raw_path.removesuffix("/cancel"), "job-cancelled")

    async def _ask(
        self, kind: str, request: web.Request, wanted: Selection, who: str, *, key: str | None
    ) -> Preview | Job:
        given: dict[str, Any] = {"select": wanted, "dry_run": key is None, "idempotency_key": key}
        if kind == "cancel":
            return await self._repairing.cancel(_made(BulkCancel, given), who)
        form = request[FORM]
        given["rate"] = form.get("rate", "").strip() or None
        given["new_id"] = bool(form.get("new_id"))
        given["routes"] = _routes(request)
        return await self._repairing.replay(_made(BulkReplay, given), who)


def job_routes(desk: Desk) -> list[web.RouteDef]:
    """Return what serves bulk jobs."""
    jobs = _Jobs(desk)
    return [
        web.post("/bulk", jobs.count),
        web.post("/bulk/start", jobs.start),
        web.get("/jobs", jobs.listed),
        web.get("/jobs/{id:[^/]+}", jobs.show),
        web.post("/jobs/{id:[^/]+}/cancel", jobs.cancel),
    ]


def selected(job: Job) -> str:
    """Return in words what *job* concerns."""
    select = job.request.get("select", job.request)
    told = [
        f"{name} {value}"
        for name, value in select.items()
        if value is not None and name != "deliveries"
    ]
    if select.get("deliveries"):
        told.append(f"{len(select['deliveries'])} deliveries chosen one by one")
    if job.request.get("routes") == "now":
        told.append("through the routes as they are now")
    return ", ".join(told) or "everything"


def _kind(request: web.Request) -> str:
    kind = request[FORM].get("kind")
    if kind not in {"replay", "cancel"}:
        raise Invalid("kind: replay or cancel")
    return kind


def _routes(request: web.Request) -> str:
    return "now" if request[FORM].get("routes") == "now" else "then"


def _selections(request: web.Request) -> list[Selection]:
    given = request[FORM].getall("selection", [])
    if not given:
        raise Invalid("nothing is selected: go back and tick what to replay")
    if len(given) > MOST:
        raise Invalid(f"more than {MOST} groups at once; select fewer")
    try:
        return [Selection.model_validate_json(each) for each in given]
    except ValidationError:
        raise Invalid("the selection cannot be read; go back and select again") from None


def _made(shape: type[Any], given: dict[str, Any]) -> Any:
    try:
        return shape.model_validate(given)
    except ValidationError as wrong:
        fields = ", ".join(sorted({str(each["loc"][0]) for each in wrong.errors() if each["loc"]}))
        raise Invalid(f"{fields or 'form'}: not as it should be") from None


def _written(selection: Selection) -> str:
    return selection.model_dump_json(exclude_none=True)


def _together(found: Iterable[Preview]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for each in found:
        total.update(each.by_destination)
    return dict(sorted(total.items()))
