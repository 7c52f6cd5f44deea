"""
Wrong tokens are slowed, right ones never.

The answer to a wrong token waits the longer, the more came from its address of late. Few may
wait at once; whoever comes on top of them is sent away. It keeps guessing slow and its noise
low; what withstands guessing is the length a token has to have.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from contextlib import contextmanager
from ipaddress import IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING

import structlog

from circleci_relay.web.access import Denied

if TYPE_CHECKING:
    from collections.abc import Iterator

    from circleci_relay.clock import Clock

log = structlog.get_logger()

FREE = 3
"""Wrong tokens of an address that cost no time: people mistype."""

FIRST, LONGEST = 0.25, 4.0
"""Seconds: the first delay, and what doubling it ends at."""

FORGET = 600.0
"""Seconds after its last wrong token until an address is as good as new."""

ADDRESSES = 1000
"""How many are remembered; beyond that the one seen longest ago is forgotten."""

WAITING_EACH, WAITING = 4, 32
"""Answers that may wait, for one address and for all."""

QUIET = 1.0
"""Seconds between two lines in the log."""


class Throttle:
    """The wrong tokens one process has seen."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._wrong: OrderedDict[str, tuple[int, float]] = OrderedDict()  # the oldest first
        self._waiting: Counter[str] = Counter()
        self._said = float("-inf")
        self._unsaid = 0

    async def wrong(self, remote: str | None) -> None:
        """
        Return once the answer to a wrong token from *remote* may go out.

        Raises `Denied` where too many wait already.
        """
        place = neighbourhood(remote)
        delay = self._delay(self._count(place))
        self._say(place)
        if not delay:
            return
        if self._waiting[place] >= WAITING_EACH or self._waiting.total() >= WAITING:
            again = {"retry-after": str(round(LONGEST))}
            raise Denied(429, "too many wrong tokens; try again later", headers=again)
        with self._among_the_waiting(place):
            await self._clock.sleep(delay)

    def _count(self, place: str) -> int:
        """Count one more from *place*; return how many there are."""
        now = self._clock.monotonic()
        count, last = self._wrong.pop(place, (0, now))
        count = 1 if now - last >= FORGET else count + 1
        self._wrong[place] = count, now
        if len(self._wrong) > ADDRESSES:
            self._wrong.popitem(last=False)
        return count

    @staticmethod
    def _delay(count: int) -> float:
        # Bounded before it is raised: a float knows no 2 ** 2000.
        return 0.0 if count <= FREE else min(LONGEST, FIRST * 2 ** min(count - FREE - 1, 10))

    @contextmanager
    def _among_the_waiting(self, place: str) -> Iterator[None]:
        self._waiting[place] += 1
        try:
            yield
        finally:
            self._waiting[place] -= 1
            if not self._waiting[place]:
                del self._waiting[place]

    def _say(self, place: str) -> None:
        self._unsaid += 1
        now = self._clock.monotonic()
        if now - self._said < QUIET:
            return
        log.warning("login_failed", address=place, attempts=self._unsaid)
        self._said, self._unsaid = now, 0


def neighbourhood(remote: str | None) -> str:
    """Return what counts as one address: of IPv6, the network that one subscriber has."""
    try:
        address = ip_address((remote or "").partition("%")[0])
    except ValueError:
        return "unknown"
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ip_network((address, 64), strict=False))
    return str(address)
