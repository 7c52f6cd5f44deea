"""What the first page reads, and what alerts are judged by: each in one look."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from circleci_relay.store.log import charts, standings
from circleci_relay.store.log.alerts import alerts_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    import sqlalchemy as sa

    from circleci_relay.model import Micros
    from circleci_relay.store.log.alerts import Alert
    from circleci_relay.store.log.charts import Chart, Scale
    from circleci_relay.store.log.standings import Doing, Pause, Tries


@dataclass(frozen=True, slots=True, kw_only=True)
class States:
    """How destinations stand, as far as the store knows."""

    doings: Mapping[str, Doing]
    pauses: Mapping[str, Pause]


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """What the first page reads."""

    charts: Mapping[str, Chart]
    states: States
    last_event_at: Micros | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Signs:
    """What alerts are judged by."""

    alerts: Sequence[Alert]
    tries: Mapping[str, Tries]
    arrivals: Mapping[str, Micros]
    filled: float | None
    paused: Collection[str]  #: by an operator


def states(connection: sa.Connection, *, now: Micros) -> States:
    """How destinations stand."""
    return States(doings=standings.doings(connection, now=now), pauses=standings.pauses(connection))


def overview(connection: sa.Connection, *, scale: Scale, now: Micros) -> Overview:
    """What the first page shows over *scale*."""
    return Overview(
        charts=charts.chart(connection, scale, now=now, kinds=("events", "deliveries")),
        states=states(connection, now=now),
        last_event_at=standings.last_event(connection),
    )


def signs(
    connection: sa.Connection, *, now: Micros, attempts: Micros | None, events: Micros | None
) -> Signs:
    """What there is to judge; *attempts* and *events* say how far back, None: not at all."""
    return Signs(
        alerts=alerts_of(connection),
        tries={} if attempts is None else standings.tries(connection, now=now, back=attempts),
        arrivals={} if events is None else standings.arrivals(connection, now=now, back=events),
        filled=standings.filled(connection),
        paused=standings.pauses(connection).keys(),
    )
