"""What came in and what became of it: the log of events, deliveries, dead letters and deeds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from circleci_relay.circleci.payload import loosely
from circleci_relay.console.bodies import bounded
from circleci_relay.console.cursors import (
    instant,
    key_of,
    moment,
    moment_or_none,
    named_place_of,
    place_of,
    place_text,
)
from circleci_relay.console.shapes import (
    Audit,
    Dead,
    DeadGroup,
    Deliveries,
    DeliveryWhole,
    Duplicates,
    Entry,
    Events,
    EventWhole,
    LineStanding,
    RouteVerdict,
)
from circleci_relay.console.showing import REASONS, RESULTS, Showing, titled
from circleci_relay.errors import NotFound
from circleci_relay.past_verdicts import Arrived, verdicts_then
from circleci_relay.store.encode import facts_of, parse
from circleci_relay.store.log.audit import entries_of
from circleci_relay.store.log.dead import dead_groups
from circleci_relay.store.log.deliveries import (
    DeliveriesSought,
    list_deliveries,
    whole_delivery,
)
from circleci_relay.store.log.events import body_of, list_events, whole_event
from circleci_relay.store.log.jobs import job_of
from circleci_relay.store.log.sought import Sought
from circleci_relay.store.log.windows import Pace

if TYPE_CHECKING:
    from circleci_relay.clock import Clock
    from circleci_relay.console.names import Names
    from circleci_relay.console.requests import DeadQuery, DeliveryQuery, EventQuery, ListQuery
    from circleci_relay.delivery.lane import LaneState
    from circleci_relay.store import Store
    from circleci_relay.store.log.events import OneEvent, WholeEvent

_EXACT: Final = (
    "type",
    "status",
    "workflow",
    "job",
    "branch",
    "tag",
    "provider",
    "trigger",
    "author",
    "change",
    "pipeline_number",
)
_LARGEST_KEY: Final = 2**63 - 1

NO_DIGEST: Final = "which configuration was in force then is not known"
NO_CONFIG: Final = "the configuration of that time is kept no more"


@dataclass(frozen=True, slots=True, kw_only=True)
class Looking:
    """
    Answers what can be read off the store.

    An event that ages out while it is looked at is not there, or lacks what went first.

    *configured* names the destinations in force and says of each whether relay.yaml pauses it;
    *redact* takes known secrets out of a text; *monotonic* tells how long a look takes; *lanes*
    how destinations stand in this process; *names* which names there are: none is held against
    it where it is not given.
    """

    store: Store
    clock: Clock
    configured: Callable[[], Mapping[str, bool]]
    redact: Callable[[str], str]
    monotonic: Callable[[], float] = time.monotonic
    lanes: Callable[[], Mapping[str, LaneState]] = dict
    names: Names | None = None
    showing: Showing = field(init=False)
    _turn: asyncio.Lock = field(init=False, default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        showing = Showing(redact=self.redact, configured=self.configured, lanes=self.lanes)
        object.__setattr__(self, "showing", showing)

    # Events

    async def events(self, query: EventQuery) -> Events:
        """List events, newest first."""
        await self._check(destination=query.destination, source=query.source)
        sought, before = sought_of(query), place_of(query.before)
        page = await self.store.look(
            lambda connection: list_events(
                connection, sought, before=before, limit=query.limit, pace=self._pace()
            )
        )
        return Events(
            items=[
                self.showing.brief(event, page.deliveries.get(event.key, ()))
                for event in page.events
            ],
            next=place_text(page.next),
            searched_to=moment(page.next[0]) if page.cut and page.next else None,
        )

    async def event(self, name: str) -> EventWhole:
        """Tell everything of one event, by the relay's id or CircleCI's."""
        found = await self.store.look(lambda connection: whole_event(connection, name))
        if found is None:
            raise _no_event()
        # A large body takes a tenth of a second to read and to judge, and the interpreter with
        # it: several at once would leave hooks waiting.
        async with self._turn:
            return await asyncio.to_thread(self._whole, found)

    async def event_body(self, name: str) -> tuple[str, bytes]:
        """Return the relay's id of an event, and the very bytes that CircleCI sent."""
        found = await self.store.look(lambda connection: body_of(connection, name))
        if found is None:
            raise _no_event()
        return found

    def _whole(self, found: WholeEvent) -> EventWhole:
        event, now = found.event, self.clock.now()
        verdicts, note = self._verdicts(found)
        text = self.showing.text
        log = [
            self.showing.whole(
                row, event, found.attempts.get(row.key, ()), now=now, paused=found.paused
            )
            for row in found.deliveries
        ]
        return EventWhole(
            **self.showing.brief_parts(event, found.deliveries),
            headers=[(text(name), text(value)) for name, value in found.headers],
            body=found.body.decode(errors="replace"),
            payload=bounded(loosely(found.body)),
            size=len(found.body),
            repeats=Duplicates(
                count=event.duplicates,
                conflicts=event.conflicts,
                first_at=moment_or_none(event.first_duplicate_at),
                last_at=moment_or_none(event.last_duplicate_at),
            ),
            line=_standing(event),
            verdicts=verdicts,
            verdicts_note=note,
            config_digest=event.config_digest,
            log=log,
        )

    def _verdicts(self, found: WholeEvent) -> tuple[list[RouteVerdict], str | None]:
        event = found.event
        if not isinstance(found.config, Mapping):
            return [], NO_DIGEST if event.config_digest is None else NO_CONFIG
        arrived = Arrived(
            source=event.source,
            facts=facts_of(event.facts),
            body=found.body,
            routes=event.routes,
        )
        text = self.showing.text
        told = [
            RouteVerdict(
                route=each.route,
                matched=each.matched,
                reason=text(each.reason),
                to=list(each.to),
            )
            for each in verdicts_then(found.config, arrived)
        ]
        return told, None

    # Deliveries

    async def deliveries(self, query: DeliveryQuery) -> Deliveries:
        """List deliveries, newest first."""
        await self._check(destination=query.destination)
        if query.job is not None:
            await self._check_job(query.job)
        sought, before = _deliveries_sought(query), key_of(query.before)
        page = await self.store.look(
            lambda connection: list_deliveries(
                connection, sought, before=before, limit=query.limit, pace=self._pace()
            )
        )
        now = self.clock.now()
        return Deliveries(
            items=[
                self.showing.line(row, page.events[row.event], now=now, paused=page.paused)
                for row in page.deliveries
            ],
            next=None if page.next is None else str(page.next),
            searched_to=moment_or_none(page.searched_to),
        )

    async def delivery(self, name: str) -> DeliveryWhole:
        """Tell everything of one delivery."""
        key = int(name) if name.isascii() and name.isdecimal() and len(name) < 20 else -1  # noqa: PLR2004
        found = None
        if 0 <= key <= _LARGEST_KEY:
            found = await self.store.look(lambda connection: whole_delivery(connection, key))
        if found is None:
            raise NotFound("there is no such delivery, or no more")
        return self.showing.whole(
            found.delivery,
            found.event,
            found.attempts,
            now=self.clock.now(),
            paused=found.paused,
        )

    async def dead(self, query: DeadQuery) -> Dead:
        """Group what is dead and was not replayed by what it died of."""
        await self._check(destination=query.destination)
        found = await self.store.look(
            lambda connection: dead_groups(
                connection,
                destination=query.destination,
                since=instant(query.since),
                until=instant(query.until),
            )
        )
        return Dead(
            groups=[
                DeadGroup(
                    destination=each.destination,
                    reason=REASONS.get(each.reason or ""),
                    result=RESULTS.get(each.last_result or ""),
                    status=each.last_status,
                    error=None if each.last_error is None else self.showing.text(each.last_error),
                    count=each.count,
                    oldest=moment(each.oldest),
                    newest=moment(each.newest),
                )
                for each in found.groups
            ],
            total=found.total,
            partial=found.partial,
        )

    # Deeds

    async def audit(self, query: ListQuery) -> Audit:
        """List who did what, newest first."""
        before = named_place_of(query.before)
        found = await self.store.look(
            lambda connection: entries_of(connection, before=before, limit=query.limit + 1)
        )
        page = found[: query.limit]
        text = self.showing.text
        return Audit(
            items=[
                Entry(
                    id=each.id,
                    at=moment(each.at),
                    who=text(each.who),
                    action=each.action,
                    target=text(each.target),
                    detail=self.showing.tree(each.detail),
                )
                for each in page
            ],
            next=place_text((page[-1].at, page[-1].id)) if len(found) > len(page) else None,
        )

    def _pace(self) -> Pace:
        return Pace(monotonic=self.monotonic)

    async def _check(self, *, destination: str | None = None, source: str | None = None) -> None:
        """Raise `Invalid` for names that nobody knows: an empty list would read as all's well."""
        if self.names is not None:
            await self.names.check(destination=destination, source=source)

    async def _check_job(self, name: str) -> None:
        if await self.store.look(lambda connection: job_of(connection, name)) is None:
            raise NotFound("there is no such job, or no more")


def sought_of(query: EventQuery) -> Sought:
    """Return what *query* asks for as the store takes it."""
    exactly: dict[str, str | int] = {
        name: value for name in _EXACT if (value := getattr(query, name)) is not None
    }
    return Sought(
        id=query.id,
        source=query.source,
        exactly=exactly,
        project=query.project,
        organization=query.organization,
        revision=query.revision,
        text=query.text,
        title=_title,
        since=instant(query.since),
        until=instant(query.until),
        outcome=query.outcome,
        destination=query.destination,
    )


def _title(stored: str) -> str:
    return titled(stored)[0]


def _deliveries_sought(query: DeliveryQuery) -> DeliveriesSought:
    return DeliveriesSought(
        destination=query.destination,
        state=query.state,
        reason=query.reason,
        result=query.result,
        status=query.status,
        error=query.error,
        replayed=query.replayed,
        job=query.job,
        since=instant(query.since),
        until=instant(query.until),
    )


def _standing(event: OneEvent) -> LineStanding | None:
    if event.history is None:
        return None
    known: dict[str, Any] = parse(event.history)
    return LineStanding(
        good=known.get("good"),
        since=moment_or_none(known.get("since")),
        streak=known.get("streak"),
        before_good=known.get("before_good"),
        before_since=moment_or_none(known.get("before_since")),
        before_streak=known.get("before_streak"),
    )


def _no_event() -> NotFound:
    return NotFound("there is no such event, or no more")
