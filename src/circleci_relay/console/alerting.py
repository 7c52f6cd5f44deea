"""Watches what an operator must know of, and tells: once when it begins, once when it is over."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog

from circleci_relay.config.model import Notify
from circleci_relay.console.announcing import intake_of
from circleci_relay.console.judging import (
    DAYS,
    Finding,
    Seen,
    back,
    judge,
    over,
    quiet_sources,
    watched,
)
from circleci_relay.errors import StoreError, StoreUnavailable
from circleci_relay.model import SECOND
from circleci_relay.store.log import standings
from circleci_relay.store.log.overview import signs
from circleci_relay.store.repair import alerts as steps
from circleci_relay.ulid import Ulids

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from circleci_relay.clock import Clock
    from circleci_relay.config.model import Config
    from circleci_relay.model import Micros
    from circleci_relay.store import Store
    from circleci_relay.store.log.alerts import Alert
    from circleci_relay.upkeep import Upkeep

EVERY: Final = 5.0
"""Seconds between two looks."""

GRACE: Final = 300.0
"""Seconds after the start in which no source counts as silent: what was away comes back first."""

PATIENCE: Final = 10.0
"""Seconds that the store may take for the event that tells of an alert."""

_SHOWN: Final = Notify(to=("nobody",))
"""By what is judged what the page shows where nobody is told."""

log = structlog.get_logger()


class Alerting:
    """
    Judges every few seconds, and tells what began and what is over.

    Several replicas may do so at once: a row for each alert says where it stands, and the event
    that tells of it has an id that all of them would give it. A process that dies on the way
    leaves a row that says what is owed.
    """

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        upkeep: Upkeep,
    ) -> None:
        self._store = store
        self._clock = clock
        self._upkeep = upkeep
        self._ulids = Ulids()
        self._config: Config | None = None
        self._started = clock.monotonic()
        self.findings: Sequence[Finding] = ()
        """What was wrong at the last look, whether anybody is told or not."""

    def configure(self, config: Config) -> None:
        """Go on with *config*."""
        self._config = config

    async def watch(self) -> None:
        """Look, judge and tell, for ever."""
        while True:
            try:
                await self.evaluate()
            except StoreError:
                log.info("alerts_postponed")
            await self._clock.sleep(EVERY)

    async def evaluate(self) -> None:
        """Look and judge once; tell what is to be told."""
        config = self._config
        if config is None:
            return
        notify = config.notify or _SHOWN
        look = await self._look(config, notify)
        self.findings = judge(config, notify, look.seen)
        for alert in (*look.active, *look.owed):
            if config.notify is None or not watched(config, notify, alert.rule, alert.subject):
                await self._store.do(partial(steps.silence, alert=alert))
            elif not alert.told:
                await self._tell(config, alert)
        if config.notify is not None:
            await self._settle(config, notify, look)

    async def _look(self, config: Config, notify: Notify) -> _Look:
        census = await self._upkeep.census()
        now = self._clock.now()
        silent = None if notify.silent_for is None else round((notify.silent_for + 180) * SECOND)
        failing = None if notify.failing_for is None else back(config, notify)
        found = await self._store.look(partial(signs, now=now, attempts=failing, events=silent))
        active = [alert for alert in found.alerts if alert.ended_at is None]
        owed = [each for each in found.alerts if each.ended_at is not None and not each.told]
        seen = Seen(
            at=now,
            backlogs=census.backlogs,
            size=census.size,
            filled=found.filled,
            tries=found.tries,
            arrivals=found.arrivals,
            usual=await self._usual(config, notify, found.arrivals, now),
            paused={
                n for n, each in config.destinations.items() if each.paused or n in found.paused
            },
            under_way={(alert.rule, alert.subject) for alert in active},
        )
        return _Look(seen=seen, since=min(census.at, now), active=active, owed=owed)

    async def _usual(
        self, config: Config, notify: Notify, arrivals: Mapping[str, Micros], now: Micros
    ) -> Mapping[str, Sequence[float | None]]:
        """What came on other days, of those sources that are silent now."""
        if notify.silent_for is None or self._clock.monotonic() - self._started < GRACE:
            return {}
        seen = Seen(at=now, backlogs={}, size=0, filled=None, arrivals=arrivals)
        span = round(notify.silent_for * SECOND)
        return {
            name: await self._store.look(
                partial(standings.usual, source=name, now=now, span=span, days=DAYS)
            )
            for name in quiet_sources(config, notify, seen)
        }

    async def _settle(self, config: Config, notify: Notify, look: _Look) -> None:
        """Bring what is on record in line with what was found, and tell."""
        wrong = {(each.rule, each.subject): each for each in self.findings}
        known = set()
        for alert in look.active:
            name = (alert.rule, alert.subject)
            known.add(name)
            if name not in wrong and watched(config, notify, *name):
                detail = {**alert.detail, "text": over(*name, look.seen)}
                step = partial(steps.end, alert=alert, detail=detail, seen_at=look.since)
                await self._tell(config, await self._store.do(step))
        for name, finding in wrong.items():
            if name not in known:
                step = partial(
                    steps.begin,
                    rule=finding.rule,
                    subject=finding.subject,
                    detail=_detail(finding),
                    seen_at=look.since,
                )
                await self._tell(config, await self._store.do(step))

    async def _tell(self, config: Config, alert: Alert | None) -> None:
        """Store the event that tells of *alert*, once; then put down that it is."""
        if alert is None:
            return
        now = self._clock.now()
        intake = intake_of(alert, config, public_id=self._ulids.next(now), now=now)
        try:
            accepted = await self._store.accept(intake, deadline=self._clock.monotonic() + PATIENCE)
        except StoreUnavailable:
            raise
        except StoreError:
            # The others are told all the same.
            log.exception("alert_not_stored", rule=alert.rule, subject=alert.subject)
            return
        await self._store.do(partial(steps.told, alert=alert))
        if not accepted.duplicate:
            log.warning(
                "alert_started" if alert.ended_at is None else "alert_ended",
                rule=alert.rule,
                subject=alert.subject,
                text=alert.detail.get("text"),
                event_id=accepted.event,
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """What was seen, and what is on record of it."""

    seen: Seen
    since: Micros  #: when the oldest part of it was looked at
    active: Sequence[Alert]
    owed: Sequence[Alert]  #: over, and not known to be told


def _detail(finding: Finding) -> dict[str, Any]:
    return {"text": finding.text, "began": finding.began, "link": finding.link}
