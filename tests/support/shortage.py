"""Taking the disk away from a running program, and giving it back."""

from __future__ import annotations

import os
import resource
import subprocess
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.program import Program

DISK = 48 * 1024 * 1024
"""Bytes of the disk that fills up."""


class Shortage(Protocol):
    """A way to make writing impossible for a while."""

    folder: Path  #: where the store must lie

    def begin(self, program: Program) -> None:
        """Let no write of *program* succeed from here on."""

    def end(self, program: Program) -> None:
        """Let all succeed again."""


class FullDisk:
    """A small disk of its own, and a file that takes all the room there is on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def begin(self, _: Program) -> None:
        """Fill the disk; what the program adds meanwhile only fills it sooner."""
        with self._ballast.open("ab", buffering=0) as file, suppress(OSError):
            while file.write(bytes(65_536)) == 65_536:
                pass
        with self._ballast.open("ab", buffering=0) as file, suppress(OSError):
            while file.write(bytes(4_096)):
                pass

    def end(self, _: Program) -> None:
        """Make room."""
        self._ballast.unlink()


class NoWrites:
    """The program may make no file longer: each write fails as on a disk that is broken."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def begin(self, program: Program) -> None:
        """Lower the limit; Python ignores the signal that comes with going beyond it."""
        self._limit(program, 0)

    def end(self, program: Program) -> None:
        """Raise it again."""
        self._limit(program, resource.RLIM_INFINITY)

    def _limit(self, program: Program, most: int) -> None:
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        soft = hard if most == resource.RLIM_INFINITY else most
        resource.prlimit(program.process.pid, resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def small_disk(folder: Path, *, size: int = DISK) -> Iterator[str | None]:
    """Mount a disk in memory at *folder*; yields why that cannot be done, or None."""
    if os.geteuid() != 0:
        yield "mounting a small disk needs root"
        return
    command = [
        "mount",
        "-t",
        "tmpfs",
        "-o",
        f"size={size},mode=0700",
        "circleci-relay",
        str(folder),
    ]
    try:
        made = subprocess.run(command, capture_output=True, check=False, text=True)  # noqa: S603
    except FileNotFoundError:
        yield "there is no mount command"
        return
    if made.returncode:
        yield f"no small disk can be mounted here: {made.stderr.strip()}"
        return
    try:
        yield None
    finally:
        # Lazily: a test that failed may have left the program on it.
        subprocess.run(["umount", "-l", folder], check=True)  # noqa: S603, S607
