"""How hard the fault tests try: a short form with all tests, a long one by `make faults`."""

from __future__ import annotations

import os

FULL = os.environ.get("RELAY_FAULTS") == "full"
"""Whether this is `make faults`."""

SEED = int(os.environ.get("RELAY_SEED", "20260302"))
"""What every random choice is drawn from; another one is another run."""


def scaled(short: int, full: int) -> int:
    """Return how many times to do something: *short* within `make test`, *full* otherwise."""
    return full if FULL else short
