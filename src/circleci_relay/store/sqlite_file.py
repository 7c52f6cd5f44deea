"""The file a SQLite store lies in: whether it can be used, and by whom."""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from circleci_relay.errors import StoreRefused

if TYPE_CHECKING:
    from pathlib import Path

_MAGIC = b"SQLite format 3\0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a SQLite store lies."""

    path: Path
    max_page_count: int | None = None  #: the file grows no further, as if the disk were full

    @property
    def wal(self) -> Path:
        """The write-ahead log beside it."""
        return self.path.with_name(f"{self.path.name}-wal")

    @property
    def lock(self) -> Path:
        """The file that is locked by the one process that may use it."""
        return self.path.with_name(f"{self.path.name}.lock")


def prepare(place: Place) -> None:
    """Create the file if need be, readable by its owner only; refuse one that cannot be used."""
    path = place.path
    if not path.parent.is_dir():
        raise StoreRefused(f"{path}: the directory {path.parent} does not exist")
    if path.is_dir():
        raise StoreRefused(f"{path} is a directory; name a file")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise StoreRefused(f"{path}: the directory {path.parent} is not writable")
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise StoreRefused(f"{path} cannot be written: {error.strerror}") from error
    with path.open("rb") as file:
        head = file.read(100)
    if not head:
        return
    if not head.startswith(_MAGIC):
        raise StoreRefused(f"{path} is not a SQLite database; move it away or name another file")
    _refuse_truncated(place, head)


def _refuse_truncated(place: Place, head: bytes) -> None:
    """A copy cut short reads well until its missing pages are asked for."""
    # https://sqlite.org/fileformat2.html, "The Database Header": the page size at 16, the
    # page count at 28. While a WAL is there the file may rightly be shorter.
    size = int.from_bytes(head[16:18], "big")
    pages = int.from_bytes(head[28:32], "big")
    wal = place.wal.stat().st_size if place.wal.exists() else 0
    have = place.path.stat().st_size
    if len(head) < len(_MAGIC) or (not wal and have < pages * (65536 if size == 1 else size)):
        raise StoreRefused(f"{place.path} is cut short; restore it from a backup")


class FileLock:
    """The advisory lock that keeps a second process off the database."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None

    def acquire(self) -> bool:
        """Take the lock if it is free; it goes with the process, however that ends."""
        fd = self._fd
        if fd is None:
            try:
                fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except OSError as error:
                raise StoreRefused(f"{self._path}: {error.strerror}") from error
        self._fd = fd
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def release(self) -> None:
        """Let the next process in. The file stays: removing it would let two in."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
