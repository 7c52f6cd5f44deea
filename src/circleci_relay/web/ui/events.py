"""Events: the list, and everything of one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from aiohttp import web

from circleci_relay.console.requests import EventQuery, ReplayEvent
from circleci_relay.console.shapes import Events
from circleci_relay.errors import Conflict, Invalid
from circleci_relay.model import RELAY
from circleci_relay.web.gate import FORM
from circleci_relay.web.ui.forms import filled, kept, looked, operator, tidy
from circleci_relay.web.ui.notices import seen
from circleci_relay.web.ui.timeline import timeline
from circleci_relay.web.ui.tree import tree
from circleci_relay.web.ui.words import some

if TYPE_CHECKING:
    from collections.abc import Iterable

    from circleci_relay.console.shapes import EventWhole, RouteVerdict
    from circleci_relay.web.ui.desk import Desk

_COMMON = {"text", "outcome", "destination", "project", "branch", "status", "since"}
"""Filters that are shown unfolded."""

NOTHING = Events(items=[], next=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    """Why an event did, or did not, go to one destination."""

    destination: str
    went: bool
    answer: str
    verdicts: list[RouteVerdict]


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What the relay tells of: a destination, a source, the store."""

    kind: str
    name: str
    link: str | None


def event_routes(desk: Desk) -> list[web.RouteDef]:
    """Return what serves events."""

    async def listed(request: web.Request) -> web.Response:
        tidy(request)
        query, faults = filled(EventQuery, request.query)
        found = await looked(query, faults, desk.console.looking.events, NOTHING)
        fields = kept(request.query, EventQuery, "limit")
        return desk.view.page(
            request,
            "events.html",
            found=found,
            fields=fields,
            faults=faults,
            more=bool(fields.keys() - _COMMON - {"before"}),
            destinations=desk.destinations,
            paths=desk.paths,
            status=422 if faults else 200,
        )

    async def show(
        request: web.Request, *, problem: str | None = None, status: int = 200
    ) -> web.Response:
        event = await desk.console.looking.event(request.match_info["id"])
        return desk.view.page(
            request,
            "event.html",
            event=event,
            moments=timeline(event),
            tree=tree(event.payload),
            whys=whys(event, desk.destinations),
            about=about(event),
            destinations=desk.destinations,
            problem=problem,
            status=status,
        )

    async def replay(request: web.Request) -> web.Response:
        who = operator(request)
        event = request.match_info["id"]
        try:
            made = await desk.console.repairing.replay_event(event, _wanted(request), who)
        except (Conflict, Invalid) as fault:
            return await show(request, problem=str(fault), status=fault.status)
        raise seen(
            request.rel_url.raw_path.removesuffix("/replay"), "replayed", len(made.deliveries)
        )

    return [
        web.get("/events", listed),
        web.get("/events/{id:[^/]+}", show),
        web.post("/events/{id:[^/]+}/replay", replay),
    ]


def whys(event: EventWhole, destinations: Iterable[str]) -> list[Why]:
    """Return an answer for each destination, configured then or now."""
    went = {each.destination for each in event.log}
    named = {to for verdict in event.verdicts for to in verdict.to}
    return [_why(event, name, name in went) for name in sorted({*destinations, *named, *went})]


def _why(event: EventWhole, name: str, went: bool) -> Why:  # noqa: FBT001
    leading = [each for each in event.verdicts if name in each.to]
    matched = [each.route for each in leading if each.matched]
    if went and matched:
        answer = f"it went there, by {', '.join(matched)}"
    elif went:
        answer = "it went there by hand, or by what was configured then"
    elif matched:
        answer = f"{', '.join(matched)} matched, yet there is no delivery"
    elif leading:
        answer = f"it did not: of {some(len(leading), 'route')} that led there, none matched"
    else:
        answer = "it did not: no route led there"
    if event.source == RELAY:
        answer = "it went where notify says" if went else "it did not: notify does not name it"
    return Why(destination=name, went=went, answer=answer, verdicts=leading)


def about(event: EventWhole) -> About | None:
    """Return what an event of the relay's own is about; None of any other."""
    rule, subject = event.facts.get("workflow"), event.facts.get("job")
    if event.source != RELAY or not isinstance(subject, str):
        return None
    name = quote(subject, safe="")
    if rule == "silent":
        return About(kind="source", name=subject, link=f"/events?source={name}")
    if rule in {"failing", "dead_letters"}:
        return About(kind="destination", name=subject, link=f"/destinations/{name}")
    return About(kind="store", name=subject, link=None)


def _wanted(request: web.Request) -> ReplayEvent:
    form = request[FORM]
    found, faults = filled(ReplayEvent, form)
    if found is None:
        raise Invalid("; ".join(f"{name}: {what}" for name, what in faults.items()))
    if form.get("where") == "all":
        return found.model_copy(update={"destinations": None})
    if not found.destinations:
        raise Invalid("choose a destination")
    return found
