"""How fast a destination takes deliveries: what bounds how many its lane may hold."""

from __future__ import annotations

SOON = 5.0
"""Seconds within which what is in hand should begin."""


class Pace:
    """What attempts have been like: their mean duration and size, the latest weighing most."""

    def __init__(self) -> None:
        self.seconds = SOON  # until it is known, as many wait as are under way
        self.size = 2048.0

    def note(self, seconds: float, size: int) -> None:
        """Take in one attempt."""
        self.seconds += (max(seconds, 0.001) - self.seconds) / 8
        self.size += (max(size, 512) - self.size) / 8
