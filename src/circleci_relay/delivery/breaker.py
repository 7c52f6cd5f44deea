"""A destination's circuit breaker: open, it costs no attempts; half-open, one probe."""

from __future__ import annotations

from circleci_relay.model import Result

FAILURES = frozenset(
    {Result.TIMEOUT, Result.CONNECTION, Result.TLS, Result.PROTOCOL, Result.SERVER_ERROR}
)
"""What counts: the destination is away. A 4xx is an answer, and so is a 429."""


class Breaker:
    """
    Counts consecutive failures; sans I/O, times are monotonic seconds.

    Closed, it lets everything pass. After *failures* in a row it opens for *pause*
    seconds, then lets one probe pass (half-open): that one's result closes it or opens it anew.
    """

    def __init__(self, failures: int, pause: float) -> None:
        self._limit = failures
        self._pause = pause
        self._failures = 0
        self._until: float | None = None

    @property
    def open(self) -> bool:
        """Whether it is open or half-open."""
        return self._until is not None

    def wait(self, now: float) -> float:
        """Seconds until a probe may go; 0 when closed or when it may go now."""
        return max(0.0, self._until - now) if self._until is not None else 0.0

    def record(self, result: Result, now: float) -> bool:
        """Take in how an attempt ended; return whether that opened or closed the breaker."""
        was_open = self.open
        if result in {Result.INTERNAL, Result.TEMPLATE}:
            return False  # our own fault says nothing of the destination
        if result in FAILURES:
            self._failures += 1
            if was_open:
                # Attempts begun before it opened end afterwards; only a probe's failure,
                # which comes after the pause, opens it anew.
                if self.wait(now) == 0:
                    self._until = now + self._pause
            elif self._failures >= self._limit:
                self._until = now + self._pause
        else:
            self._failures = 0
            self._until = None
        return was_open != self.open
