"""Dead letters, grouped by where and of what they died."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from aiohttp import web

from circleci_relay.console.requests import DeadQuery, Selection
from circleci_relay.console.shapes import Dead
from circleci_relay.model import State
from circleci_relay.web.ui.forms import filled, kept, looked, query_of, tidy
from circleci_relay.web.ui.timeline import WHY, result_words

if TYPE_CHECKING:
    from circleci_relay.console.shapes import DeadGroup
    from circleci_relay.web.ui.desk import Desk

NOTHING = Dead(groups=[], total=0, partial=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grave:
    """One group as a line of its table."""

    group: DeadGroup
    told: str
    selection: str  #: for a bulk job
    query: str  #: for the list of deliveries


def dead_routes(desk: Desk) -> list[web.RouteDef]:
    """Return what serves dead letters."""

    async def listed(request: web.Request) -> web.Response:
        tidy(request)
        query, faults = filled(DeadQuery, request.query)
        found = await looked(query, faults, desk.console.looking.dead, NOTHING)
        return desk.view.page(
            request,
            "dead.html",
            found=found,
            groups=graves(found),
            fields=kept(request.query, DeadQuery),
            faults=faults,
            destinations=desk.destinations,
            status=422 if faults else 200,
        )

    return [web.get("/dead", listed)]


def graves(found: Dead) -> list[tuple[str, list[Grave]]]:
    """Return the groups by destination, the largest of each first."""
    ordered = sorted(found.groups, key=lambda each: (each.destination, -each.count))
    by_destination = groupby(ordered, key=lambda each: each.destination)
    return [(name, [_grave(each) for each in members]) for name, members in by_destination]


def _grave(group: DeadGroup) -> Grave:
    selection = Selection(
        destination=group.destination,
        state=State.DEAD,
        reason=group.reason,
        result=group.result,
        status=group.status,
        last_error=group.error or "",
    )
    asked = selection.model_dump(mode="json", exclude_none=True)
    if last := asked.pop("last_error"):
        asked["error"] = last  # a list is searched, where a replay must be exact
    return Grave(
        group=group,
        told=_told(group),
        selection=selection.model_dump_json(exclude_none=True),
        query=query_of(asked | {"replayed": "false"}),
    )


def _told(group: DeadGroup) -> str:
    parts = [WHY[group.reason] if group.reason else "given up"]
    if group.result is not None:
        parts.append(result_words(group.result))
    if group.status is not None:
        parts.append(f"status {group.status}")
    return ", ".join(parts)
