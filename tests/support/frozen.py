"""Stopping a process where it is, for sure."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

PATIENCE = 5.0
"""Seconds; it takes microseconds, unless there are many threads and no processor to be had."""


def until_stopped(pid: int) -> None:
    """Return once each thread of *pid*, which was sent SIGSTOP, has seen it."""
    ends = time.monotonic() + PATIENCE
    while any(state not in "Tt" for state in _states(pid)) and time.monotonic() < ends:
        pass


def _states(pid: int) -> list[str]:
    """What each thread does, in Linux's letters; nothing elsewhere."""
    found = []
    for file in Path(f"/proc/{pid}/task").glob("*/stat"):
        with suppress(OSError):
            found.append(file.read_text().rpartition(")")[2].split()[0])
    return found
