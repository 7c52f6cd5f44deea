"""What a process takes up over time, and how steeply that grows."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from pathlib import Path

MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What a process took up at one instant."""

    at: float  #: seconds since the watch began
    memory: float  #: MiB it has in memory
    handles: int  #: files, sockets and pipes it has open
    stored: float  #: MiB of its database, the write-ahead log included


@dataclass
class Usage:
    """A watch over one process: look now and then, ask at the end."""

    pid: int
    database: Path
    samples: list[Sample] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    def look(self) -> Sample:
        """Take a sample and return it."""
        process = psutil.Process(self.pid)
        with process.oneshot():
            sample = Sample(
                at=time.monotonic() - self.began,
                memory=process.memory_info().rss / MIB,
                handles=process.num_fds(),
                stored=on_disk(self.database) / MIB,
            )
        self.samples.append(sample)
        return sample

    def since(self, start: float, end: float = float("inf")) -> list[Sample]:
        """Return the samples between two instants, which must be some."""
        found = [sample for sample in self.samples if start <= sample.at < end]
        assert found, f"no sample between {start:g} s and {end:g} s"
        return found


def on_disk(database: Path) -> int:
    """Return how many bytes a SQLite database takes, its write-ahead log included."""
    total = 0
    for path in (database, database.with_name(f"{database.name}-wal")):
        if path.exists():
            total += path.stat().st_size
    return total


def slope(points: list[tuple[float, float]]) -> float:
    """Return how much the second value grows with one of the first: a least-squares line."""
    middle = sum(x for x, _ in points) / len(points)
    level = sum(y for _, y in points) / len(points)
    spread = sum((x - middle) ** 2 for x, _ in points)
    return sum((x - middle) * (y - level) for x, y in points) / spread if spread else 0.0
