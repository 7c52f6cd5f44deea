"""
Walking through a long table, newest first, a window at a time, for as long as one look may take.

Whatever is sought, however rare, a look ends after its time with what it has found and the
place it came to: the next goes on there.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

Row = TypeVar("Row")
Row_co = TypeVar("Row_co", covariant=True)
Place = TypeVar("Place")

BUDGET = 0.05
"""Seconds one look takes about: others wait for the same connection."""

_FIRST = 256  #: rows of the first window
_SMALLEST, _LARGEST = 64, 32_768
_SHARE = 0.2  #: of the budget, that one window should take
_GROWTH = 4.0
_CHUNK = 256
_BATCH = 64  #: rows of known places that are read at once


@dataclass(slots=True)
class Pace:
    """How long a look may take, by a clock that only counts up; and so how large a window is."""

    budget: float = BUDGET
    monotonic: Callable[[], float] = time.monotonic
    window: int = _FIRST  #: rows that are looked at next
    chunk: int = _CHUNK  #: rows that one statement returns
    _ends: float = field(init=False)

    def __post_init__(self) -> None:
        self._ends = self.monotonic() + self.budget

    @property
    def over(self) -> bool:
        """Whether the time is up."""
        return self.left <= 0

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return self._ends - self.monotonic()

    def learn(self, took: float) -> None:
        """Choose the next window by what the last one *took*, in seconds."""
        aim = min(self.budget * _SHARE, self.left)
        factor = _GROWTH if took <= 0 else min(max(aim / took, 1 / _GROWTH), _GROWTH)
        self.window = int(min(max(self.window * factor, _SMALLEST), _LARGEST))


class Table(Protocol[Row_co, Place]):
    """What is walked through: an order of rows, and those of them that are sought."""

    def far(self, before: Place | None, size: int) -> Place | None:
        """Return the place of the last of *size* rows past *before*; None if there are fewer."""

    def rows(self, before: Place | None, far: Place | None, limit: int) -> Sequence[Row_co]:
        """Return the first *limit* rows past *before* up to and with *far* that may be sought."""


class Known(Generic[Row, Place]):
    """A table of which all places are known, being few; *fetch* reads those rows that may do."""

    def __init__(
        self, places: Iterable[Place], fetch: Callable[[Sequence[Place]], Sequence[Row]]
    ) -> None:
        self._places: list[Any] = sorted(places)
        self._fetch = fetch

    def far(self, before: Place | None, size: int) -> Place | None:
        """See `Table`."""
        end = self._end(before)
        return self._places[end - size] if end >= size else None

    def rows(self, before: Place | None, far: Place | None, limit: int) -> Sequence[Row]:
        """See `Table`."""
        first = 0 if far is None else bisect_left(self._places, far)
        end = self._end(before)
        found: list[Row] = []
        while end > first and len(found) < limit:
            start = max(first, end - _BATCH)
            found += self._fetch(self._places[start:end])
            end = start
        return found[:limit]

    def _end(self, before: Place | None) -> int:
        return len(self._places) if before is None else bisect_left(self._places, before)


@dataclass(frozen=True, slots=True, kw_only=True)
class Walked(Generic[Row, Place]):
    """What one look found, and where the next goes on."""

    rows: list[Row]
    next: Place | None  #: None: there is no more
    cut: bool = False  #: the time was up: *next* is how far was looked


@dataclass(slots=True)
class _Walk(Generic[Row, Place]):
    table: Table[Row, Place]
    place: Callable[[Row], Place]
    keep: Callable[[Row], bool]
    limit: int
    chunk: int
    found: list[Row] = field(default_factory=list)

    @property
    def full(self) -> bool:
        return len(self.found) > self.limit

    def through(self, before: Place | None, far: Place | None) -> Place | None:
        """Go through the window up to *far*; how far it came, None for the table's end."""
        while True:
            rows = self.table.rows(before, far, self.chunk)
            self.found += [row for row in rows if self.keep(row)]
            if len(rows) < self.chunk:
                return far
            before = self.place(rows[-1])
            if self.full or before == far:
                return before


def walk(
    table: Table[Row, Place],
    *,
    place: Callable[[Row], Place],
    keep: Callable[[Row], bool],
    before: Place | None,
    limit: int,
    pace: Pace,
) -> Walked[Row, Place]:
    """
    Return up to *limit* rows past *before* that *keep* takes.

    At least one window is looked at, so that whoever follows `next` gets on.
    """
    one = _Walk(table, place, keep, limit, pace.chunk)
    at = before
    while True:
        began = pace.monotonic()
        far = table.far(at, pace.window)
        at = one.through(at, far)
        if one.full:
            del one.found[limit:]
            return Walked(rows=one.found, next=place(one.found[-1]))
        if at is None:
            return Walked(rows=one.found, next=None)
        if pace.over:
            return Walked(rows=one.found, next=at, cut=True)
        pace.learn(pace.monotonic() - began)
