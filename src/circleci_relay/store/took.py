"""How long attempts take, counted by buckets: what quantiles are read off."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from circleci_relay.model import Micros

_RATIO: Final = 1.5

LIMITS: Final[tuple[Micros, ...]] = tuple(round(1000 * _RATIO**number) for number in range(32))
"""The longest duration of each bucket, from a millisecond to some five minutes."""

NAMES: Final = tuple(f"{number:03d}" for number in range(len(LIMITS) + 1))
"""The buckets' names; the last one takes whatever is longer."""

_NUMBERS: Final = {name: number for number, name in enumerate(NAMES)}


def bucket(duration: Micros) -> str:
    """The name of the bucket that *duration* falls into."""
    return NAMES[bisect_left(LIMITS, duration)]


def quantile(counts: Mapping[str, int], share: float) -> float | None:
    """
    The seconds that *share* of all attempts took at most, as far as buckets tell; None of none.

    A bucket is taken as filled evenly on the scale it is made on, so that the answer is off by
    about a fifth, whatever the duration.
    """
    total = sum(counts.values())
    if total <= 0:
        return None
    rank, below = share * total, 0
    for number, count in sorted((_NUMBERS.get(name, 0), count) for name, count in counts.items()):
        if count > 0 and below + count >= rank:
            inside = (rank - below) / count
            upper = LIMITS[min(number, len(LIMITS) - 1)]
            return float(upper * _RATIO ** (inside - 1) / 1_000_000)
        below += count
    return None
