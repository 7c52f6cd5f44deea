"""What was turned away at the door: looked at, and checked again with today's secrets."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from multidict import CIMultiDict, CIMultiDictProxy

from circleci_relay.console.cursors import moment, moment_or_none, named_place_of, place_text
from circleci_relay.console.shapes import Rechecked, Reject, Rejects, RejectWhole
from circleci_relay.errors import BadSignature, Invalid, Malformed, NotFound
from circleci_relay.store.log import rejects as log
from circleci_relay.store.repair import audit
from circleci_relay.store.repair.rejects import mark

if TYPE_CHECKING:
    from collections.abc import Sequence

    from circleci_relay.clock import Clock
    from circleci_relay.console.names import Names
    from circleci_relay.console.requests import Recheck, RejectQuery
    from circleci_relay.ingest import Ingest
    from circleci_relay.model import Intake
    from circleci_relay.redaction import Redact
    from circleci_relay.store import Store
    from circleci_relay.store.log.rejects import Kept, Place, Whole
    from circleci_relay.store.unit import Unit

MOST = 200
"""Rejects that one call checks."""

STEP = 20
"""Rejects that are read, checked and marked at once; each may hold a body of 1 MiB."""

PATIENCE = 10.0
"""Seconds within which each must be stored."""

LONG = 5.0
"""Seconds after which a call begins no other step."""

NAMED = 100
"""Events that are named in the answer."""

EXAMPLES = 20
"""Events that the audit log names."""


@dataclass(slots=True)
class _Outcome:
    """What became of those checked so far."""

    checked: int = 0
    events: list[str] = field(default_factory=list)
    still: Counter[str] = field(default_factory=Counter)

    def told(self, following: Place | None) -> Rechecked:
        return Rechecked(
            checked=self.checked,
            taken=len(self.events),
            still=dict(sorted(self.still.items())),
            events=self.events[:NAMED],
            next=place_text(following),
        )


class Doorstep:
    """Shows what was turned away; `recheck` takes in what now holds."""

    def __init__(
        self,
        *,
        store: Store,
        ingest: Ingest,
        clock: Clock,
        redact: Redact,
        names: Names | None = None,
    ) -> None:
        self._store = store
        self._redact = redact  # a secret may be known by now that was not when it came
        self._ingest = ingest
        self._clock = clock
        self._names = names

    async def rejects(self, query: RejectQuery) -> Rejects:
        """List them, those that came last first."""
        if self._names is not None:
            await self._names.check(source=query.source)
        before = named_place_of(query.before)
        found = await self._store.look(
            partial(
                log.page,
                source=query.source,
                reason=query.reason,
                before=before,
                limit=query.limit,
            )
        )
        searched = found.next[0] if found.short and found.next else None
        return Rejects(
            items=[Reject(**self._told(each)) for each in found.items],
            next=place_text(found.next),
            searched_to=moment_or_none(searched),
        )

    async def reject(self, reject: str) -> RejectWhole:
        """Show one, with its headers and what was kept of its body."""
        found = await self._store.look(partial(log.whole, ids=[reject]))
        if not found:
            raise NotFound("there is no such reject, or no more")
        [one] = found
        return RejectWhole(
            **self._told(one.line),
            headers=[(name, self._redact(value)) for name, value in one.headers],
            body=self._redact(one.body.decode("utf-8", "replace")),
        )

    def _told(self, one: Kept) -> dict[str, Any]:
        claims = {name: self._redact(text) for name, text in one.claims.items()}
        return {
            "id": one.id,
            "source": one.source,
            "secret": None if one.secret is None else self._redact(one.secret),
            "received_at": moment(one.received_at),
            "last_at": moment(one.last_at),
            "count": one.count,
            "reason": one.reason,
            "detail": self._redact(one.detail),
            "project": claims.get("project"),
            "webhook": claims.get("webhook"),
            "type": claims.get("type"),
            "circleci_id": claims.get("id"),
            "size": one.size,
            "whole": one.whole,
            "event": one.event,
        }

    async def recheck(self, request: Recheck, who: str) -> Rechecked:
        """
        Check with the secrets in force, and take in what now holds, as if it came now.

        A duplicate of a known event counts as taken. What is taken stays among the rejects,
        with the event's id, and is not checked again unless it is asked for by id.
        """
        if self._names is not None:
            await self._names.check(source=request.source, where="body")
        outcome = _Outcome()
        if request.ids is not None:
            wanted = list(dict.fromkeys(request.ids))
            for start in range(0, len(wanted), STEP):
                await self._step(wanted[start : start + STEP], outcome, who)
            return outcome.told(None)
        try:
            place = named_place_of(request.before)
        except Invalid as fault:
            raise Invalid(str(fault), where="body.before") from None
        began = self._clock.monotonic()
        while True:
            # The oldest first: what changed from one event to the next goes by their order.
            step = partial(log.oldest, source=request.source, after=place, limit=STEP)
            found = await self._store.look(step)
            ids = [each.id for each in found if each.event is None]
            await self._step(ids, outcome, who, source=request.source)
            if len(found) < STEP:
                return outcome.told(None)
            place = found[-1].place
            late = self._clock.monotonic() - began > LONG
            if late or outcome.checked > MOST - STEP:
                return outcome.told(place)

    async def _step(
        self, ids: Sequence[str], outcome: _Outcome, who: str, *, source: str | None = None
    ) -> None:
        if not ids:
            return
        found = (await self._store.look(partial(log.whole, ids=ids)))[::-1]
        checked = await asyncio.gather(*(self._check(each) for each in found))
        outcome.checked += len(checked)
        outcome.still.update(each for each in checked if isinstance(each, str))
        deadline = self._clock.monotonic() + PATIENCE
        holding = [
            (one.line.id, self._ingest.take(intake, deadline=deadline))
            for one, intake in zip(found, checked, strict=True)
            if not isinstance(intake, str)
        ]
        accepted = await asyncio.gather(*(each for _, each in holding))
        taken = {reject: a.event for (reject, _), a in zip(holding, accepted, strict=True)}
        outcome.events += taken.values()
        if taken:
            await self._store.do(partial(_mark, taken=taken, who=who, source=source))

    async def _check(self, one: Whole) -> Intake | str:
        """Return what it would be taken in as, or why it is not."""
        line = one.line
        if not line.whole:
            return "incomplete"
        door = self._ingest.door(line.source, line.secret)
        if door is None:
            return "unauthorized"
        headers = CIMultiDictProxy(CIMultiDict(one.headers))
        try:
            return await self._ingest.check(door, headers, one.body)
        except BadSignature:
            return "unauthorized"
        except Malformed:
            return "malformed"


def _mark(unit: Unit, *, taken: dict[str, str], who: str, source: str | None) -> None:
    mark(unit, taken)
    detail = {"taken": len(taken), "events": sorted(taken.values())[:EXAMPLES]}
    audit.note(unit, who, "recheck", source or "rejects", detail)
