"""A wall clock of the program's own that can be stepped while it runs; the machine's is let be."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil

LIBRARY = Path(__file__).parents[2] / ".tools" / "libfaketime.so.1"
"""Where `scripts/faketime` puts it."""

HOUR = 3_600


class WallClock:
    """What `time.time` says in processes started with `env`; monotonic time is left alone."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "wall-clock"
        self.step_to(0)

    @property
    def env(self) -> dict[str, str]:
        """What a process must be started with."""
        return {
            "LD_PRELOAD": str(LIBRARY),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",  # the file is asked each time
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",  # what versions before 0.9.7 call it
            "NO_FAKE_STAT": "1",  # a file's time does not change with the clock
            # Its mending of an old fault of glibc makes threads spin, with one that has none.
            "FAKETIME_FORCE_MONOTONIC_FIX": "0",
        }

    def step_to(self, seconds: int) -> None:
        """Step it: from here on it is so far ahead of the machine's, or behind if negative."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{seconds:+d}\n")
        new.replace(self._file)

    def clear(self) -> None:
        """Remove what a process that was killed has left in shared memory."""
        for pattern in ("faketime_shm_*", "sem.faketime_sem_*"):
            for path in Path("/dev/shm").glob(pattern):  # noqa: S108 - the library's own choice
                pid = path.name.rpartition("_")[2]
                if pid.isdecimal() and not psutil.pid_exists(int(pid)):
                    path.unlink(missing_ok=True)


def why_not(clock: WallClock) -> str | None:
    """Say why no clock can be stepped here, or None."""
    if not LIBRARY.exists():
        return "libfaketime is missing: scripts/faketime fetches it where it can"
    clock.step_to(HOUR)
    ask = "import time; print(round(time.time()))"
    said = subprocess.run(  # noqa: S603 - Python itself
        [sys.executable, "-S", "-c", ask],
        env={**os.environ, **clock.env},
        capture_output=True,
        check=False,
        text=True,
    )
    clock.step_to(0)
    here = subprocess.run(  # noqa: S603 - Python itself
        [sys.executable, "-S", "-c", ask], capture_output=True, check=True, text=True
    )
    if said.returncode or int(said.stdout or 0) - int(here.stdout) < HOUR - 60:
        return f"libfaketime does not work here: {said.stderr.strip()[-200:]}"
    return None
