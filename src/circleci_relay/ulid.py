"""The relay's own event ids: ULIDs, sortable by time and unique wherever they were made."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from circleci_relay.model import Micros

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_RANDOM_BITS = 80
_TENS = [high + low for high in _ALPHABET for low in _ALPHABET]


class Ulids:
    """
    Makes ULIDs that only ever grow within a process.

    Source: the ULID specification, sections "Canonical String Representation" and
    "Monotonicity". The random part is drawn once a millisecond and counted up within it.
    """

    def __init__(self) -> None:
        self._last = -1

    def next(self, now: Micros) -> str:
        """Return the next one, of 26 characters; *now* is the time it carries."""
        fresh = (now // 1000) << _RANDOM_BITS
        if fresh > self._last:
            self._last = fresh | secrets.randbits(_RANDOM_BITS)
        else:
            self._last += 1
        value = self._last
        return "".join([_TENS[(value >> shift) & 1023] for shift in range(120, -1, -10)])
