"""Taking in: from a request's bytes to a stored event."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import structlog

from circleci_relay.circleci import payload, signature
from circleci_relay.doorstep import Refused, forwarded
from circleci_relay.errors import BadSignature, Malformed, StoreError, StoreUnavailable
from circleci_relay.live import Happening, Hub
from circleci_relay.model import SECOND, Accepted, Choice, Event, Intake
from circleci_relay.rendering import words
from circleci_relay.routing import Subject
from circleci_relay.series import type_label
from circleci_relay.ulid import Ulids

if TYPE_CHECKING:
    from collections.abc import Mapping

    from multidict import CIMultiDictProxy

    from circleci_relay.clock import Clock
    from circleci_relay.config.model import Config, Source
    from circleci_relay.doorstep import Doorkeeper
    from circleci_relay.metrics import Metrics
    from circleci_relay.routing import Table
    from circleci_relay.store import Store

log = structlog.get_logger()

QUIET = 1.0
"""Seconds between two lines about rejects of one source: a flood of forgeries must not flood."""

LARGE = 65_536
"""Bytes from which a body is verified off the loop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """Where a path leads: a source, and the one secret group its last segment names."""

    source: str
    group: str | None = None


class Ingest:
    """Verifies, reads and stores what arrives, under the configuration in force."""

    def __init__(
        self,
        *,
        store: Store,
        metrics: Metrics,
        clock: Clock,
        doorkeeper: Doorkeeper | None = None,
        hub: Hub | None = None,
    ) -> None:
        self._store = store
        self._metrics = metrics
        self._clock = clock
        self._doorkeeper = doorkeeper
        self._hub = hub or Hub()
        self._ulids = Ulids()
        self._sources: Mapping[str, Source] = {}
        self._paths: dict[str, Door] = {}
        self._prefixes: dict[str, str] = {}
        self._table: Table | None = None
        self._rejects = _Quiet(clock)

    def configure(self, config: Config) -> None:
        """Go on with *config*; requests under way end under what they began with."""
        self._sources = config.sources
        self._table = config.table
        self._paths = {
            source.path: Door(source=name)
            for name, source in config.sources.items()
            if not source.named
        }
        self._prefixes = {
            source.path.rpartition("/")[0]: name
            for name, source in config.sources.items()
            if source.named
        }

    def find(self, path: str) -> Door | None:
        """Return where *path* leads, or None: no such source, or no secret of that name."""
        door = self._paths.get(path)
        if door is not None:
            return door
        prefix, _, segment = path.rpartition("/")
        name = self._prefixes.get(prefix)
        if name is None or not self._sources[name].keyring.has_group(segment):
            return None
        return Door(source=name, group=segment)

    def near(self, path: str) -> Door | None:
        """Return where *path* would lead, were there a secret of the name that it gives."""
        prefix, _, segment = path.rpartition("/")
        name = self._prefixes.get(prefix)
        if name is None or self._doorkeeper is None or not self._doorkeeper.keeps(name):
            return None
        return Door(source=name, group=segment)

    def stray(self, door: Door, headers: CIMultiDictProxy[str], body: bytes) -> None:
        """Remember what came to a door that `near` found."""
        detail = "no secret of this source has the name that the path gives"
        self._remember(door, headers, body, reason="unauthorized", detail=detail, size=len(body))

    def door(self, source: str, group: str | None) -> Door | None:
        """Return the door of *source* by which *group* came; None if there is no such source."""
        found = self._sources.get(source)
        if found is None:
            return None
        return Door(source=source, group=group if found.named else None)

    def count(self, source: str, result: str) -> None:
        """Count what was turned away before it came here."""
        self._metrics.source(source).count(result)

    def too_large(
        self, door: Door, headers: CIMultiDictProxy[str], start: bytes, *, size: int, detail: str
    ) -> None:
        """Count and remember a body of at least *size* bytes, of which *start* was read."""
        self.count(door.source, "too_large")
        self._remember(door, headers, start, reason="too_large", detail=detail, size=size)

    async def receive(
        self, door: Door, headers: CIMultiDictProxy[str], body: bytes, *, deadline: float
    ) -> Accepted:
        """
        Store what came to *door* and return once that is durable.

        Raises `BadSignature`, `Malformed`, or `StoreUnavailable` if it is not known to be
        stored by *deadline* (on the clock's monotonic seconds).
        """
        try:
            intake = await self.check(door, headers, body)
        except (BadSignature, Malformed) as fault:
            reason = "unauthorized" if isinstance(fault, BadSignature) else "malformed"
            self.count(door.source, reason)
            self._reject(door, fault)
            self._remember(door, headers, body, reason=reason, detail=str(fault), size=len(body))
            raise
        return await self.take(intake, deadline=deadline)

    async def check(self, door: Door, headers: CIMultiDictProxy[str], body: bytes) -> Intake:
        """Verify and read it; raises `BadSignature` or `Malformed`, and counts neither."""
        source = self._sources.get(door.source)
        if source is None or self._table is None:
            raise StoreUnavailable("the source is gone")
        if not source.unsigned:
            verify = partial(
                source.keyring.verify, body, headers.get(signature.HEADER), group=door.group
            )
            # A forged megabyte tried against forty secrets takes 24 ms.
            used = verify() if len(body) < LARGE else await asyncio.to_thread(verify)
            self._metrics.secret(door.source, used).set(self._clock.wall())
        return self._read(door.source, headers, body, self._table)

    async def take(self, intake: Intake, *, deadline: float) -> Accepted:
        """Store what was checked; see `receive`."""
        source = intake.event.source
        series = self._metrics.source(source)
        kind = type_label(intake.event.type)
        try:
            accepted = await self._store.accept(intake, deadline=deadline)
        except (StoreError, asyncio.CancelledError):
            # Cancelled: the answer could wait no longer, say for a disk that hangs.
            series.count("unavailable", kind)
            raise
        if accepted.duplicate:
            series.count("conflict" if accepted.conflict else "duplicate", kind)
            log.debug(
                "event_duplicate",
                event_id=accepted.event,
                source=source,
                id=intake.event.id,
                conflict=accepted.conflict,
            )
        else:
            series.count("accepted", kind)
            series.last_event.set(self._clock.wall())
            self._note(intake, accepted)
            if self._hub.heard:
                self._hub.tell(_happening(intake.event, accepted))
        return accepted

    def _read(
        self, source: str, headers: CIMultiDictProxy[str], body: bytes, table: Table
    ) -> Intake:
        parsed = payload.parse(body)
        facts = payload.read_facts(parsed)
        now = self._clock.now()
        subject = Subject(facts=facts, source=source, payload=parsed)
        return Intake(
            event=Event(
                public_id=self._ulids.next(now),
                source=source,
                id=payload.event_id(parsed),
                type=payload.event_type(parsed),
                received_at=now,
                body=body,
                headers=forwarded(headers),
                facts=facts,
            ),
            line=payload.line_of(source, facts),
            good=payload.is_good(facts),
            choose=partial(table.choose, subject),
        )

    def _note(self, intake: Intake, accepted: Accepted) -> None:
        choice = accepted.choice or Choice(routes=(), destinations=())
        for route in choice.routes:
            self._metrics.route(route).inc()
        if not choice.destinations:
            self._metrics.source(intake.event.source).unmatched.inc()
        log.debug(
            "event_accepted",
            event_id=accepted.event,
            source=intake.event.source,
            id=intake.event.id,
            type=intake.event.type,
            change=accepted.change,
            routes=choice.routes,
            destinations=choice.destinations,
            waiting=tuple(choice.quiet),
        )

    def _reject(self, door: Door, fault: BadSignature | Malformed) -> None:
        suppressed = self._rejects.ask(door.source)
        if suppressed is not None:
            log.warning(
                "event_rejected",
                source=door.source,
                secret=door.group,
                reason=str(fault),
                suppressed=suppressed,
            )

    def _remember(
        self,
        door: Door,
        headers: CIMultiDictProxy[str],
        body: bytes,
        *,
        reason: str,
        detail: str,
        size: int,
    ) -> None:
        if self._doorkeeper is not None:
            self._doorkeeper.note(
                Refused(
                    source=door.source,
                    secret=door.group,
                    reason=reason,
                    detail=detail,
                    headers=headers,
                    body=body,
                    size=size,
                )
            )


def _happening(event: Event, accepted: Accepted) -> Happening:
    """Return what is told live of an event that was taken in."""
    facts = event.facts
    return Happening(
        kind="event",
        about={
            "id": accepted.event,
            "circleci_id": event.id,
            "received_at": event.received_at / SECOND,
            "source": event.source,
            "type": event.type,
            "title": words.title(facts),
            "outcome": words.outcome(facts),
            "status": facts.status,
            "project": facts.project,
            "branch": facts.branch,
            "change": accepted.change,
            "routes": list(accepted.choice.routes) if accepted.choice else [],
            "destinations": list(accepted.choice.destinations) if accepted.choice else [],
        },
    )


class _Quiet:
    """Lets one line a second pass for each name, and says how many it kept back."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seen: dict[str, tuple[float, int]] = {}

    def ask(self, name: str) -> int | None:
        now = self._clock.monotonic()
        last, kept = self._seen.get(name, (-QUIET, 0))
        if now - last < QUIET:
            self._seen[name] = (last, kept + 1)
            return None
        self._seen[name] = (now, 0)
        return kept
