"""Which events are sought: conditions that SQL can tell, and what has to be read to be told."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from circleci_relay.matching import project_names
from circleci_relay.model import Facts, State
from circleci_relay.store.encode import parse
from circleci_relay.store.log.texts import folded, holds, like, patterns
from circleci_relay.store.schema import DEAD, PENDING, deliveries, events

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from circleci_relay.model import Micros

e = events.c
d = deliveries.c

IS_DEAD = sa.and_(d.state == State.DEAD, d.replayed_by.is_(None))
"""Of an event's delivery: dead, and nobody has replayed it. (The state is not written out: by
its index one would look through all that are.)"""

UNMATCHED = sa.text("events.deliveries = 0")
REPEATED = sa.text("events.duplicates > 0")
"""As the partial indexes have it: a planner takes one only where it sees the value."""

_PIECE = re.compile(r"[A-Za-z0-9]+")

OWN_WORDS = (
    "workflow job event alert completed arrived began ended as succeeded failed had an error was is"
    " canceled not authorized run running on hold at test ping from circleci"
)
"""What a title says in words of its own: no part of them need stand in the facts."""

_NAMED = ("project", "project_name", "project_id", "organization")


@dataclass(frozen=True, kw_only=True)
class Sought:
    """
    Events with all of this; what is None or empty is not asked for.

    *exactly* holds facts by their names; *outcome* is one of unmatched, duplicate, conflict,
    dead, delivered, pending. With a *destination*, the last three are meant of what goes there.
    """

    id: str | None = None
    source: str | None = None
    exactly: Mapping[str, str | int] = field(default_factory=dict)
    project: str | None = None
    organization: str | None = None
    revision: str | None = None  #: or its beginning
    text: str | None = None  #: each of its words stands in the facts, the title or an id
    title: Callable[[str], str] | None = None  #: makes one line of facts as they are stored
    since: Micros | None = None
    until: Micros | None = None
    outcome: str | None = None
    destination: str | None = None

    def base(self) -> list[sa.ColumnElement[bool] | sa.TextClause]:
        """Return what an index tells without a look at the rows."""
        found: list[sa.ColumnElement[bool] | sa.TextClause] = []
        if self.outcome == "unmatched":
            found.append(UNMATCHED)
        elif self.outcome in {"duplicate", "conflict"}:
            found.append(REPEATED)
        if self.since is not None:
            found.append(e.received_at >= self.since)
        if self.until is not None:
            found.append(e.received_at < self.until)
        return found

    @property
    def kind(self) -> list[sa.ColumnElement[bool]] | None:
        """Return deliveries by an index of their own, where only events with one are sought."""
        at = [] if self.destination is None else [d.destination == self.destination]
        if self.outcome == "dead":
            return [d.state == DEAD, d.replayed_by.is_(None), *at]
        return [d.state == PENDING, *at] if self.outcome == "pending" else None

    def conditions(self, dialect: str) -> list[sa.ColumnElement[bool]]:
        """Return what the rows are asked for; it lets all through that `wanted` does."""
        found = [like(dialect, e.facts, each) for each in self._patterns()]
        if self.text is not None:
            found += [_somewhere(dialect, each) for each in _pieces(self.text)]
        if self.source is not None:
            found.append(e.source.concat("") == self.source)  # its index has another order
        if self.outcome == "conflict":
            found.append(e.conflicts > 0)
        return found + self._of_deliveries()

    def _patterns(self) -> list[frozenset[str]]:
        found = []
        for name, value in self.exactly.items():
            if isinstance(value, int):
                found.append(patterns(str(value), before=f'"{name}":'))
            else:
                found.append(patterns(value, before=f'"{name}":"', after='"'))
        if self.project is not None:
            # However it is called, its last part ends one of the facts.
            found.append(patterns(self.project.rpartition("/")[2], after='"'))
        if self.organization is not None:
            found.append(patterns(self.organization, before=':"', after='"'))
        if self.revision is not None:
            found.append(patterns(self.revision, before='"revision":"'))
        return found

    def _of_deliveries(self) -> list[sa.ColumnElement[bool]]:
        if self.outcome == "dead":
            return [self._some(IS_DEAD)]
        if self.outcome == "pending":
            return [self._some(d.state == State.PENDING)]
        if self.outcome == "delivered":
            open_ = sa.or_(d.state == State.PENDING, IS_DEAD)
            return [self._some(d.state == State.DELIVERED), ~self._some(open_)]
        return [] if self.destination is None else [self._some(sa.true())]

    def _some(self, condition: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
        query: sa.Select[Any] = sa.select(sa.literal_column("1")).where(d.event == e.key, condition)
        if self.destination is not None:
            query = query.where(d.destination == self.destination)
        # The offset keeps PostgreSQL from reading all deliveries there are, once, instead.
        return query.correlate(events).offset(sa.literal_column("0")).exists()

    def wanted(self, stored: str, *ids: str) -> bool:
        """Whether the facts, as they are stored, and the event's *ids* are those sought."""
        return not self._reads or self._told(stored, ids)

    @cached_property
    def _reads(self) -> bool:
        names = (self.project, self.organization, self.revision, self.text)
        return bool(self.exactly) or any(each is not None for each in names)

    @cached_property
    def _words(self) -> list[str]:
        return [] if self.text is None else [folded(each) for each in _words(self.text)]

    def _told(self, stored: str, ids: Collection[str]) -> bool:
        facts = parse(stored)
        if any(facts.get(name) != value for name, value in self.exactly.items()):
            return False
        if self.project is not None and self.project not in project_names(_named(facts)):
            return False
        if self.organization is not None and self.organization not in (
            facts.get("organization"),
            facts.get("organization_id"),
        ):
            return False
        if self.revision is not None and not str(facts.get("revision") or "").startswith(
            self.revision
        ):
            return False
        return self._holds_words(stored, facts, ids)

    def _holds_words(self, stored: str, facts: dict[str, Any], ids: Collection[str]) -> bool:
        if not self._words:
            return True
        number = facts.get("pipeline_number")
        texts = [*facts.values(), *ids, *(() if number is None else (f"#{number}",))]
        missing = [word for word in self._words if not holds(word, texts)]
        if not missing or self.title is None:
            return not missing
        # A title leaves out what cannot be seen: what is not in the facts then is not found.
        title = (self.title(stored),)
        parts = [folded(piece) for word in missing for piece in _pieces(word)]
        return all(holds(word, title) for word in missing) and all(
            holds(part, texts) for part in parts
        )


def _words(text: str) -> list[str]:
    return text.split() or [text]


def _pieces(text: str) -> list[str]:
    """
    Return parts of the words of *text* that stand in the facts or an id wherever it is found.

    A title joins facts by what is neither letter nor digit, and has words of its own.
    """
    found = [piece for word in _words(text) for piece in _PIECE.findall(word)]
    return [piece for piece in found if piece.lower() not in OWN_WORDS]


def _somewhere(dialect: str, piece: str) -> sa.ColumnElement[bool]:
    wanted = patterns(piece)
    return sa.or_(
        *(like(dialect, column, wanted, any_case=True) for column in (e.facts, e.public_id, e.id))
    )


def _named(facts: dict[str, Any]) -> Facts:
    return Facts(type="", **{name: facts.get(name) for name in _NAMED})
