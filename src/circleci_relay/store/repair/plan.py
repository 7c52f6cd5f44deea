"""Which replays a bulk job makes of what it selects: one judgement for dry run and job."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from circleci_relay.model import Reason, State
from circleci_relay.store.log.period import Stored
from circleci_relay.store.repair.replay import Making, answers, is_pending, newest
from circleci_relay.store.schema import bodies, events

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from circleci_relay.store.repair.selection import Candidate

    Choose = Callable[[Stored], Sequence[str]]
    Siblings = Mapping[int, list[Any]]

Pair = tuple[int, str]
"""An event and a destination: one replay of a job at most."""


@dataclass(slots=True, kw_only=True)
class Plan:
    """What is to be made of some candidates."""

    configured: Collection[str]
    job: str | None = None  #: whose it will be; None for a dry run
    ids: Mapping[int, str] = field(default_factory=dict)  #: public ids of the events
    seen: set[Pair] = field(default_factory=set)
    makings: list[Making] = field(default_factory=list)
    skipped: int = 0

    def repeat(self, candidates: Iterable[Candidate], siblings: Siblings) -> None:
        """Each delivery once more, where it went."""
        for each in candidates:
            rows = siblings.get(each.event, [])
            row = next((row for row in rows if row.key == each.key), None)
            if row is None or row.state == State.PENDING or row.replayed_by is not None:
                self.skipped += 1
            else:
                self._add(rows, each.event, row.destination, row.key, row.webhook_id)

    def renew(
        self,
        found: Iterable[Stored],
        siblings: Siblings,
        *,
        choose: Choose,
        to: Collection[str] | None,
        superseded: bool,
    ) -> None:
        """
        Each event to where the routes send it now, and where it neither is nor goes.

        What was *superseded* there was told by another, or had become needless: it counts as
        delivered unless that is what is asked for.
        """
        for event in found:
            rows = siblings.get(event.key, [])
            for name in choose(event):
                if to is not None and name not in to:
                    continue
                if any(_is_told(row, name, superseded=superseded) for row in rows):
                    self.skipped += 1
                else:
                    self._add(rows, event.key, name, newest(rows, name), None)

    def _add(
        self,
        rows: Sequence[Any],
        event: int,
        destination: str,
        of: int | None,
        webhook_id: str | None,
    ) -> None:
        pair = event, destination
        known = pair in self.seen or any(
            self.job is not None and row.job == self.job and row.destination == destination
            for row in rows
        )
        gone = self.job is not None and event not in self.ids  # aged out
        if known or gone or destination not in self.configured or is_pending(rows, destination):
            self.skipped += 1
            return
        self.seen.add(pair)
        self.makings.append(
            Making(
                event=event,
                public_id=self.ids.get(event, ""),
                destination=destination,
                of=of,
                webhook_id=webhook_id,
                answers=answers(rows, destination),
            )
        )


def stored_events(connection: sa.Connection, keys: Iterable[int]) -> list[Stored]:
    """Events as they can be routed again, in the order of their keys."""
    e = events.c
    query = (
        sa.select(e.key, e.public_id, e.source, e.received_at, e.facts, bodies.c.body)
        .join(bodies, bodies.c.event == e.key)
        .where(e.key.in_(sorted(set(keys))))
        .order_by(e.key)
    )
    return [Stored(**row._mapping) for row in connection.execute(query)]  # noqa: SLF001


def _is_told(row: Any, destination: str, *, superseded: bool) -> bool:
    if row.destination != destination:
        return False
    if row.reason == Reason.SUPERSEDED:
        return not superseded
    return bool(row.state == State.DELIVERED)
