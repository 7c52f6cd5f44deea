"""How things stand: destinations, charts, what is wrong, what went along the routes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from circleci_relay import __version__
from circleci_relay.config.faults import near
from circleci_relay.console import shapes
from circleci_relay.console.cursors import moment, moment_or_none
from circleci_relay.console.judging import dead_letters
from circleci_relay.console.traffic import Kept, traffic
from circleci_relay.console.troubles import Unmatched, troubles
from circleci_relay.errors import NotFound
from circleci_relay.model import SECOND, Backlog
from circleci_relay.store.log import charts, standings
from circleci_relay.store.log.alerts import alerts_of
from circleci_relay.store.log.overview import overview, states
from circleci_relay.store.log.standings import Doing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from circleci_relay.clock import Clock
    from circleci_relay.config import Destination, Loaded
    from circleci_relay.console.alerting import Alerting
    from circleci_relay.console.requests import OverviewQuery
    from circleci_relay.delivery.lane import LaneState
    from circleci_relay.model import Fault, Micros
    from circleci_relay.store import Store
    from circleci_relay.store.log.alerts import Alert
    from circleci_relay.store.log.overview import States
    from circleci_relay.store.log.standings import Pause
    from circleci_relay.upkeep import Census, Upkeep

SCALES: Final = {"hour": charts.HOUR, "day": charts.DAY, "week": charts.WEEK}

EVENTS: Final = ("accepted", "duplicate", "conflict", "rejected")
DELIVERIES: Final = ("delivered", "dead", "cancelled")
"""The series of the two charts, in the order they are shown."""

FILE: Final = "relay.yaml"
"""Who paused a destination where the file says so."""

_DAY: Final = 86_400 * SECOND
_NOTHING: Final = Backlog(pending=0, oldest=None, dead=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Notes:
    """What the reloader knows of the files."""

    restart_required: Sequence[str] = ()
    faults: Sequence[Fault] = ()  #: why what they say now is not in force


class Standing:
    """Answers how things stand, out of counts: no question looks at many rows."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        upkeep: Upkeep,
        alerting: Alerting,
        loaded: Callable[[], Loaded],
        notes: Callable[[], Notes] = Notes,
        lanes: Callable[[], Mapping[str, LaneState]] = dict,
    ) -> None:
        self._store = store
        self._clock = clock
        self._upkeep = upkeep
        self._alerting = alerting
        self._loaded = loaded
        self._notes = notes
        self._lanes = lanes
        self._started_at = clock.now()
        self._traffic = Kept(clock, lambda: traffic(store, clock.now()))
        self._astray = Kept(clock, self._count_unmatched)

    async def overview(self, query: OverviewQuery) -> shapes.Overview:
        """The first page: what is wrong, the charts, the destinations."""
        now = self._clock.now()
        scale = SCALES[query.span]
        census = await self._upkeep.census()
        look = await self._store.look(partial(overview, scale=scale, now=now))
        destinations = self._destinations(look.states, census, now)
        return shapes.Overview(
            span=query.span,
            troubles=troubles(
                findings=self._alerting.findings,
                states=destinations,
                faults=self._notes().faults,
                restart_required=self._notes().restart_required,
                unmatched=await self._astray.value(),
            ),
            events=_chart(look.charts["events"], query.span, EVENTS, scale.steps),
            deliveries=_chart(look.charts["deliveries"], query.span, DELIVERIES, scale.steps),
            destinations=destinations,
            last_event_at=moment_or_none(look.last_event_at),
            version=__version__,
            started_at=moment(self._started_at),
        )

    async def destinations(self) -> shapes.Destinations:
        """All destinations in the file, and those that are gone and still hold something."""
        return shapes.Destinations(items=await self._all_states())

    async def destination(self, name: str) -> shapes.DestinationState:
        """One of them."""
        states_now = await self._all_states()
        for state in states_now:
            if state.name == name:
                return state
        told = near(name, (state.name for state in states_now))
        raise NotFound(f"there is no destination {name}{told}")

    async def routes(self) -> shapes.Routes:
        """The configuration in force, and what went along it."""
        loaded, along = self._loaded(), await self._traffic.value()
        return shapes.Routes(
            config=loaded.config.masked(),
            digest=loaded.digest,
            restart_required=list(self._notes().restart_required),
            warnings=[str(warning) for warning in loaded.warnings],
            counts=list(along.counts),
            counted_from=moment_or_none(along.counted_from),
        )

    async def alerts(self) -> shapes.Alerts:
        """What is wrong enough to be told, and where it goes."""
        notify = self._loaded().config.notify
        census = await self._upkeep.census()
        found: dict[tuple[str, str], str] = {
            (each.rule, each.subject): each.text for each in self._alerting.findings
        }
        under_way = [each for each in await self._store.look(alerts_of) if each.ended_at is None]
        items = [
            shapes.Alert.model_validate(
                {
                    "rule": each.rule,
                    "subject": each.subject,
                    "since": moment(int(each.detail.get("began", each.since))),
                    "text": _text_now(each, found, census),
                    "told": each.told,
                }
            )
            for each in under_way
        ]
        return shapes.Alerts(items=items, to=[] if notify is None else [*notify.to])

    # Inside

    async def _all_states(self) -> list[shapes.DestinationState]:
        now = self._clock.now()
        census = await self._upkeep.census()
        found = await self._store.look(partial(states, now=now))
        return self._destinations(found, census, now)

    def _destinations(
        self, found: States, census: Census, now: Micros
    ) -> list[shapes.DestinationState]:
        configured = self._loaded().config.destinations
        gone = sorted(census.backlogs.keys() - configured.keys())
        lanes = self._lanes()
        return [
            _state(
                name,
                destination=configured.get(name),
                lane=lanes.get(name),
                doing=found.doings.get(name, Doing()),
                pause=found.pauses.get(name),
                backlog=census.backlogs.get(name) or _NOTHING,
                now=now,
            )
            for name in (*configured, *gone)
        ]

    async def _count_unmatched(self) -> Unmatched:
        now = self._clock.now()
        hour = await self._store.look(partial(standings.came, now=now, back=3600 * SECOND))
        found = Unmatched(hour=hour)
        if not found.many:
            return found
        day = await self._store.look(partial(standings.came, now=now, back=_DAY))
        return Unmatched(hour=hour, day=day)


def _text_now(alert: Alert, found: Mapping[tuple[str, str], str], census: Census) -> str:
    """What is wrong, as it stands now: when it began, numbers were others."""
    backlog = census.backlogs.get(alert.subject)
    if alert.rule == "dead_letters" and backlog is not None and backlog.dead:
        return dead_letters(alert.subject, backlog.dead, 0).text
    return found.get((alert.rule, alert.subject)) or str(alert.detail.get("text", ""))


def _state(
    name: str,
    *,
    destination: Destination | None,
    lane: LaneState | None,
    doing: Doing,
    pause: Pause | None,
    backlog: Backlog,
    now: Micros,
) -> shapes.DestinationState:
    by_file = destination is not None and destination.paused
    held_until = None if lane is None else lane.held_until
    if held_until is not None and held_until <= now:
        held_until = None
    is_open = lane is not None and lane.breaker_open
    kept = {
        "removed": destination is None,
        "paused": by_file or pause is not None or (lane is not None and lane.paused),
        "open": is_open,
        "held": held_until is not None,
        "failing": doing.failing,
        "ok": True,
    }
    return shapes.DestinationState.model_validate(
        {
            "name": name,
            "configured": destination is not None,
            "url": None if destination is None else destination.display,
            "state": next(state for state, holds in kept.items() if holds),
            "paused": kept["paused"],
            "paused_by": FILE if by_file else pause and pause.by,
            "paused_at": None if pause is None else moment(pause.at),
            "paused_why": None if pause is None else pause.why,
            "breaker_open": is_open,
            "held_until": moment_or_none(held_until),
            "probe_at": None if lane is None else moment_or_none(lane.probe_at),
            "backlog": backlog.pending,
            "oldest": moment_or_none(backlog.oldest),
            "dead": backlog.dead,
            "hour": _quantiles(doing.hour),
            "day": _quantiles(doing.day),
            "spark": list(doing.spark),
            "spark_failed": list(doing.spark_failed),
        }
    )


def _chart(
    chart: charts.Chart, span: shapes.Span, names: Sequence[str], steps: int
) -> shapes.Chart:
    return shapes.Chart(
        span=span,
        begins_at=moment(chart.begins),
        step=chart.step // SECOND,
        series=[
            shapes.Series(name=name, counts=chart.series.get(name) or [0] * steps) for name in names
        ],
    )


def _quantiles(found: standings.Quantiles) -> shapes.Quantiles:
    return shapes.Quantiles(
        attempts=found.attempts,
        delivered=found.delivered,
        dead=found.dead,
        success_rate=found.success_rate,
        p50=found.p50,
        p95=found.p95,
    )
