"""Taking in: from a request's bytes to a stored event."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import structlog

from circleci_relay.circleci import payload, signature
from circleci_relay.errors import BadSignature, Malformed, StoreError, StoreUnavailable
from circleci_relay.model import Accepted, Choice, Event, Intake
from circleci_relay.routing import Subject
from circleci_relay.series import type_label
from circleci_relay.ulid import Ulids

if TYPE_CHECKING:
    from collections.abc import Mapping

    from multidict import CIMultiDictProxy

    from circleci_relay.clock import Clock
    from circleci_relay.config.model import Config, Source
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

    def __init__(self, *, store: Store, metrics: Metrics, clock: Clock) -> None:
        self._store = store
        self._metrics = metrics
        self._clock = clock
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

    def count(self, source: str, result: str) -> None:
        """Count what was turned away before it came here."""
        self._metrics.source(source).count(result)

    async def receive(
        self, door: Door, headers: CIMultiDictProxy[str], body: bytes, *, deadline: float
    ) -> Accepted:
        """
        Store what came to *door* and return once that is durable.

        Raises `BadSignature`, `Malformed`, or `StoreUnavailable` if it is not known to be
        stored by *deadline* (on the clock's monotonic seconds).
        """
        series = self._metrics.source(door.source)
        source = self._sources.get(door.source)
        if source is None or self._table is None:
            raise StoreUnavailable("the source is gone")
        try:
            verify = partial(
                source.keyring.verify, body, headers.get(signature.HEADER), group=door.group
            )
            if not source.unsigned:
                # A forged megabyte tried against forty secrets takes 24 ms.
                used = verify() if len(body) < LARGE else await asyncio.to_thread(verify)
                self._metrics.secret(door.source, used).set(self._clock.wall())
            intake = self._read(door.source, headers, body, self._table)
        except BadSignature as fault:
            series.count("unauthorized")
            self._reject(door, fault)
            raise
        except Malformed as fault:
            series.count("malformed")
            self._reject(door, fault)
            raise
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
                source=door.source,
                id=intake.event.id,
                conflict=accepted.conflict,
            )
        else:
            series.count("accepted", kind)
            series.last_event.set(self._clock.wall())
            self._note(intake, accepted)
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


def forwarded(headers: CIMultiDictProxy[str]) -> tuple[tuple[str, str], ...]:
    """Return CircleCI's own headers as they are sent on: printable, each once, in lower case."""
    kept: dict[str, str] = {}
    for name, value in headers.items():
        lower = name.lower()
        ours = lower in {"content-type", "user-agent"} or lower.startswith("circleci-")
        if ours and value.isascii() and value.isprintable():
            kept.setdefault(lower, value)
    return tuple(kept.items())
