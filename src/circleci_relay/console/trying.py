"""What would be: a proposed configuration against what is stored, verdicts on a payload."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Final, TypeVar

from circleci_relay import config
from circleci_relay.backtest import Explained, Report, Stored, Tally, compare, explain_one
from circleci_relay.circleci import payload
from circleci_relay.config.faults import near
from circleci_relay.console import shapes
from circleci_relay.console.cursors import instant, moment, moment_or_none, place_of, place_text
from circleci_relay.discretion import Discretion
from circleci_relay.errors import Busy, Invalid, Malformed, NotFound
from circleci_relay.matching import Subject
from circleci_relay.model import RELAY
from circleci_relay.rendering.words import title
from circleci_relay.store.encode import facts_of
from circleci_relay.store.log import period

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from circleci_relay.config.model import Config
    from circleci_relay.console import requests
    from circleci_relay.model import Change, Fault
    from circleci_relay.redaction import Redact
    from circleci_relay.store import Store

T = TypeVar("T")

LOOK: Final = 100
"""Events that one look at the store brings, with their bodies."""

LONGEST: Final = 2.0
"""Seconds after which a backtest answers with what it has; whoever asked goes on."""

NOTICE: Final = "the relay tells of itself where notify says; no route is asked"

SEATS: Final = 16
"""Trials under way at once, all but one of them waiting; each may hold 4 MiB."""


class Trying:
    """Answers what would happen; nothing is sent, stored or changed."""

    def __init__(self, store: Store, *, in_force: Callable[[], Config], redact: Redact) -> None:
        self._store = store
        self._in_force = in_force
        self._redact = redact
        self._turn = asyncio.Lock()
        self._seats = SEATS

    async def backtest(self, wanted: requests.BacktestRequest) -> shapes.Backtest:
        """
        Hold a proposed configuration against stored events, the newest first.

        Compares it with the one in force, not with what was sent at the time: what differs
        is what it would change. Raises `ConfigError` where it is faulty.
        """
        with self._seated():
            proposed = await self._proposed(wanted)
            if proposed is None:
                raise Invalid("give a configuration: config, or files", where="body.config")
            return await self._compared(wanted, proposed)

    async def _compared(
        self, wanted: requests.BacktestRequest, proposed: config.Loaded
    ) -> shapes.Backtest:
        now, then = self._in_force().table, proposed.config.table
        total = Report()
        ends = monotonic() + LONGEST
        place = place_of(wanted.before, where="body.before")
        left = wanted.limit
        page: list[period.Stored] = []
        while left > 0:
            page = await self._page(wanted, place, min(LOOK, left))
            if page:
                place = (page[-1].received_at, page[-1].key)
                left -= len(page)
                events = [_stored(each) for each in page]
                total = total.add(await self._aside(partial(compare, now, then, events)))
            if len(page) < LOOK or monotonic() >= ends:
                break
        more = len(page) == LOOK or left <= 0
        return self._told(total, proposed.warnings, place if more else None)

    async def _page(
        self, wanted: requests.BacktestRequest, place: period.Place | None, limit: int
    ) -> list[period.Stored]:
        return await self._store.look(
            lambda connection: period.events_of(
                connection,
                since=instant(wanted.since),
                until=instant(wanted.until),
                before=place,
                limit=limit,
            )
        )

    def _told(
        self, total: Report, warnings: Iterable[Fault], place: period.Place | None
    ) -> shapes.Backtest:
        return shapes.Backtest(
            looked=total.events + total.unreadable,
            added=total.added,
            dropped=total.dropped,
            unmatched_before=total.unmatched_before,
            unmatched_after=total.unmatched_after,
            differences=[
                shapes.Difference(
                    route=route,
                    destination=destination,
                    added=each.added.count,
                    dropped=each.dropped.count,
                    added_examples=self._examples(each.added),
                    dropped_examples=self._examples(each.dropped),
                )
                for (route, destination), each in total.ways.items()
            ],
            warnings=[shapes.ConfigFault.of(warning) for warning in warnings],
            next=place_text(place),
            searched_to=moment_or_none(place[0] if place else None),
        )

    def _examples(self, tally: Tally) -> list[shapes.Example]:
        return [
            shapes.Example(
                event=each.event,
                title=self._redact(each.title),
                received_at=moment(each.received_at),
            )
            for each in tally.examples
        ]

    async def explain(self, wanted: requests.ExplainRequest) -> shapes.Explained:
        """
        Each route's verdict on a payload, or on a stored event, by the routes now or proposed.

        A stored event is taken as it is compared with its line; of a payload that is said by
        `change`.
        """
        if (wanted.event is None) == (wanted.payload is None):
            raise Invalid("give either an event or a payload", where="body")
        with self._seated():
            return await self._explain(wanted)

    async def _explain(self, wanted: requests.ExplainRequest) -> shapes.Explained:
        proposed = await self._proposed(wanted)
        used = self._in_force() if proposed is None else proposed.config
        source, body, change = await self._subject(wanted, used)
        try:
            found = await self._aside(
                partial(explain_one, used.table, body, source=source, change=change)
            )
        except Malformed as fault:
            raise Invalid(str(fault), where="body.payload") from None
        return self._explained(found, used, source, body)

    async def _subject(
        self, wanted: requests.ExplainRequest, used: Config
    ) -> tuple[str, bytes, Change | None]:
        if wanted.payload is not None:
            known = list(used.sources)
            if wanted.source is None and len(known) != 1:
                raise Invalid(
                    f"say by which source it comes: {', '.join(known)}", where="body.source"
                )
            if wanted.source is not None and wanted.source not in used.sources:
                told = f"no source is called {wanted.source}{near(wanted.source, known)}"
                raise Invalid(told, where="body.source")
            return wanted.source or known[0], wanted.payload.encode(), wanted.change
        name = wanted.event or ""
        found = await self._store.look(lambda connection: period.event_of(connection, name))
        if found is None:
            raise NotFound("there is no such event, or no more")
        if found.source == RELAY:
            raise Invalid(NOTICE, where="body.event")
        return found.source, found.body, facts_of(found.facts).change

    def _explained(
        self, found: Explained, used: Config, source: str, body: bytes
    ) -> shapes.Explained:
        subject = Subject(facts=found.facts, source=source, payload=payload.parse(body))
        table = used.table
        discretion = Discretion(
            subject, table.labels.of(found.facts), table.labels, used.secret_values
        )
        facts = {name: value for name, value in asdict(found.facts).items() if value is not None}
        return shapes.Explained(
            title=self._redact(title(found.facts)),
            facts=discretion.facts(facts),
            verdicts=[
                shapes.RouteVerdict(
                    route=each.route,
                    matched=each.matched,
                    reason=self._redact(each.reason),
                    to=list(each.to),
                )
                for each in discretion.verdicts(found.verdicts)
            ],
            destinations=list(found.choice.destinations),
        )

    async def _proposed(self, wanted: requests.ProposedFiles) -> config.Loaded | None:
        if wanted.config is not None and wanted.files is not None:
            raise Invalid("give config or files, not both", where="body.files")
        files: Mapping[str, str] | None = wanted.files
        if wanted.config is not None:
            files = {"relay.yaml": wanted.config}
        return None if files is None else await self._aside(partial(config.propose, files))

    async def _aside(self, work: Callable[[], T]) -> T:
        """
        Have *work* done off the loop, one after the other.

        Each takes a processor for as long as it lasts, and the interpreter with it: two at once
        would leave hooks waiting.
        """
        async with self._turn:
            return await asyncio.to_thread(work)

    @contextmanager
    def _seated(self) -> Iterator[None]:
        if self._seats == 0:
            raise Busy("too many try something out now; please ask again in a moment")
        self._seats -= 1
        try:
            yield
        finally:
            self._seats += 1


def _stored(each: period.Stored) -> Stored:
    return Stored(
        public_id=each.public_id,
        source=each.source,
        received_at=each.received_at,
        facts=facts_of(each.facts),
        body=each.body,
    )
