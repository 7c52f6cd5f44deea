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
_FRAME = 24  #: bytes before each page of a write-ahead log
_LOCKED = 1 << 30  #: where SQLite's own locks lie in the file


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
    # page count at 28. Pages that are missing may stand in the log, which a crash leaves.
    size = int.from_bytes(head[16:18], "big")
    size = 65536 if size == 1 else size
    logged, pages = _logged(place.wal)
    have = place.path.stat().st_size // max(size, 1)
    missing = range(have + 1, (pages or int.from_bytes(head[28:32], "big")) + 1)
    unused = _LOCKED // max(size, 1) + 1  # the page SQLite never writes
    if len(head) < len(_MAGIC) or any(each not in logged and each != unused for each in missing):
        raise StoreRefused(f"{place.path} is cut short; restore it from a backup")


def _logged(wal: Path) -> tuple[set[int], int]:
    """Return the pages that stand in a write-ahead log, and how many the database then has."""
    # "The Write-Ahead Log", section 4.1: a header of 32 bytes, then frames of 24 and a page.
    found: set[int] = set()
    waiting: set[int] = set()
    pages = 0
    if not wal.exists():
        return found, pages
    with wal.open("rb") as file:
        head = file.read(32)
        size, salt = int.from_bytes(head[8:12], "big"), head[16:24]
        while len(frame := file.read(_FRAME)) == _FRAME and frame[8:16] == salt:
            waiting.add(int.from_bytes(frame[:4], "big"))
            if committed := int.from_bytes(frame[4:8], "big"):
                found |= waiting
                waiting.clear()
                pages = committed
            file.seek(size, os.SEEK_CUR)
    return found, pages


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
