"""What the store reports after each commit, counted and logged."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import TYPE_CHECKING

import structlog

from circleci_relay.live import Happening, Hub
from circleci_relay.model import SECOND, Facts, Result, Settlement, State
from circleci_relay.rendering import words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from circleci_relay.metrics import Metrics

log = structlog.get_logger()


class Tally:
    """The store's watch: a delivery counts as ended once that is durable, not before."""

    def __init__(self, metrics: Metrics, hub: Hub | None = None) -> None:
        self._metrics = metrics
        self._hub = hub or Hub()

    def committed(self, seconds: float, items: int) -> None:
        """See `store.lanes.Watch`."""
        self._metrics.store_commit_duration_seconds.observe(seconds)
        self._metrics.store_commit_items.observe(items)

    def settled(self, held: Sequence[Settlement], fenced: Sequence[Settlement]) -> None:
        """See `store.lanes.Watch`."""
        for settlement in held:
            if self._hub.heard:
                self._hub.tell(_happening(settlement))
            state = settlement.decision.state
            if state is State.PENDING:
                continue
            claim, outcome = settlement.claim, settlement.outcome
            series = self._metrics.destination(claim.destination)
            series.deliveries[state].inc(1 + len(claim.others))
            if state is State.DELIVERED and not claim.replay:
                ended = outcome.started_at + outcome.duration
                series.delivery_duration.observe((ended - claim.received_at) / SECOND)
                for other in claim.others:
                    series.delivery_duration.observe((ended - other.received_at) / SECOND)
        if fenced:
            self._metrics.settles_fenced_total.inc(len(fenced))

    def lost(self, counts: Mapping[str, int]) -> None:
        """See `store.lanes.Watch`."""
        for destination, count in counts.items():
            self._metrics.destination(destination).attempts[Result.LOST].inc(count)
            log.warning("attempts_lost", destination=destination, count=count)

    def superseded(self, counts: Mapping[str, int]) -> None:
        """See `store.lanes.Watch`."""
        for destination, count in counts.items():
            self._metrics.destination(destination).deliveries[State.CANCELLED].inc(count)
            log.info("deliveries_superseded", destination=destination, count=count)

    def dropped(self, settlement: Settlement, error: Exception) -> None:
        """See `store.lanes.Watch`."""
        claim = settlement.claim
        log.error(
            "settlement_dropped",
            event_id=claim.event,
            destination=claim.destination,
            attempt=claim.attempt,
            error=type(error).__name__,
        )

    def outage(self, error: Exception) -> None:
        """See `store.lanes.Watch`."""
        log.error("store_unavailable", error=str(error))

    def recovered(self, seconds: float) -> None:
        """See `store.lanes.Watch`."""
        log.info("store_recovered", after_s=round(seconds, 1))


_FACTS = frozenset(each.name for each in fields(Facts))


def _happening(settlement: Settlement) -> Happening:
    """Return what is told live of an attempt."""
    claim, outcome, decision = settlement.claim, settlement.outcome, settlement.decision
    known = {name: value for name, value in json.loads(claim.facts).items() if name in _FACTS}
    facts = Facts(**{"type": "", **known})
    return Happening(
        kind="attempt",
        about={
            "delivery": str(claim.delivery),
            "event": claim.event,
            "source": claim.source,
            "destination": claim.destination,
            "title": words.title(facts),
            "outcome": words.outcome(facts),
            "others": len(claim.others),
            "started_at": outcome.started_at / SECOND,
            "duration": outcome.duration / SECOND,
            "result": outcome.result.value,
            "status": outcome.status,
            "error": outcome.error,
            "attempt": claim.attempt,
            "state": decision.state.value,
        },
    )
