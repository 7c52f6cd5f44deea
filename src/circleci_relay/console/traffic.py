"""What went along the arrows from sources over routes to destinations, counted once in a while."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from circleci_relay.console.shapes import RouteCount
from circleci_relay.model import SECOND
from circleci_relay.store.log.ways import route_targets, ways

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from circleci_relay.clock import Clock
    from circleci_relay.model import Micros
    from circleci_relay.store import Store
    from circleci_relay.store.log.ways import Way

T = TypeVar("T")

MOST: Final = 20_000
"""Events at most that the counts are made of."""

_AT_ONCE: Final = 5_000
_FRESH: Final = 30.0  #: seconds for which a count is good enough
_DAY: Final = 86_400 * SECOND


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What went along the arrows."""

    counts: Sequence[RouteCount]
    counted_from: Micros


class Kept(Generic[T]):
    """Something that takes a while to count, counted again only once it is old."""

    def __init__(self, clock: Clock, count: Callable[[], Awaitable[T]]) -> None:
        self._clock = clock
        self._count = count
        self._lock = asyncio.Lock()
        self._found: tuple[float, T] | None = None

    async def value(self) -> T:
        """It, as it was some seconds ago at most."""
        async with self._lock:
            now = self._clock.monotonic()
            if self._found is None or now - self._found[0] >= _FRESH:
                self._found = now, await self._count()
            return self._found[1]


async def traffic(store: Store, now: Micros) -> Traffic:
    """What went along since a day ago; a part at a time, so that nobody waits long behind it."""
    found: list[Way] = []
    place: tuple[Micros, int] | None = None
    while sum(way.count for way in found) < MOST:
        step = partial(ways, since=now - _DAY, before=place, limit=_AT_ONCE)
        part = await store.look(step)
        found += part.counts
        place = part.until
        if place is None:
            break
    digests = sorted({way.digest for way in found if way.digest is not None})
    targets = await store.look(partial(route_targets, digests=digests))
    since = now - _DAY if place is None else place[0]
    return Traffic(counts=_along(found, targets), counted_from=since)


def _along(
    found: Sequence[Way], targets: Mapping[str, Mapping[str, Sequence[str]]]
) -> list[RouteCount]:
    """
    What went along each arrow, by the configuration that was in force when it came.

    A destination that several routes name has one delivery: the first of them made it.
    """
    into: Counter[tuple[str, str]] = Counter()
    out: Counter[tuple[str, str]] = Counter()
    for way in found:
        led = targets.get(way.digest or "", {})
        reached: set[str] = set()
        for route in way.routes:
            into[way.source, route] += way.count
            for destination in led.get(route, ()):
                if destination not in reached:
                    reached.add(destination)
                    out[route, destination] += way.count
    return [
        *(
            RouteCount(source=source, route=route, destination=None, count=count)
            for (source, route), count in sorted(into.items())
        ),
        *(
            RouteCount(source=None, route=route, destination=destination, count=count)
            for (route, destination), count in sorted(out.items())
        ),
    ]
