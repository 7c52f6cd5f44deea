"""Reading files, remembering which, and telling whether any of them has changed."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

YAML_FILES = "*.yaml"
ALL_FILES = "*"
_MAX_VALUE = 1 << 20


class FileError(ValueError):
    """A file cannot be read; the message says why, in a few words, without the path."""


class Files:
    """What is read here is watched for changes, whether it could be read or not."""

    def __init__(self) -> None:
        self._seen: dict[Path, None] = {}

    @property
    def seen(self) -> tuple[Path, ...]:
        """
        Everything looked at, in order.

        A path that ends in `*` or `*.yaml` stands for the files of that kind in a directory.
        """
        return tuple(self._seen)

    def watch(self, path: Path) -> None:
        """Count *path* among what is read."""
        self._seen.setdefault(path)

    def read(self, path: Path, limit: int = _MAX_VALUE) -> bytes:
        """At most *limit* + 1 bytes of a regular file."""
        self.watch(path)
        try:
            # A pipe or device would block for ever, or never end.
            if not stat.S_ISREG(path.stat().st_mode):
                raise FileError("is no regular file")
            with path.open("rb") as opened:
                return opened.read(limit + 1)
        except OSError as error:
            raise FileError(_why(error)) from None
        except ValueError as error:
            raise error if isinstance(error, FileError) else FileError("is no path") from None

    def read_value(self, path: Path) -> bytes:
        """A secret or other short value: the file less one trailing newline."""
        data = self.read(path)
        if len(data) > _MAX_VALUE:
            raise FileError("is larger than 1MiB")
        return data.removesuffix(b"\n").removesuffix(b"\r")

    def there(self, path: Path) -> bool:
        """Whether anything is at *path*."""
        return path.exists()

    def list_dir(self, directory: Path, pattern: str) -> list[Path]:
        """The files in *directory* that *pattern* stands for, sorted; hidden ones left out."""
        self.watch(directory / pattern)
        try:
            return [Path(entry.path) for entry in _entries(directory, pattern) if entry.is_file()]
        except OSError as error:
            raise FileError(_why(error)) from None


class NoFiles(Files):
    """A machine without any file, for texts that must learn nothing of the one they are on."""

    def watch(self, path: Path) -> None:
        """Leave *path* alone."""

    def read(self, path: Path, limit: int = _MAX_VALUE) -> bytes:  # noqa: ARG002 - as above
        """Find nothing."""
        raise FileError("is not looked at")

    def there(self, path: Path) -> bool:  # noqa: ARG002 - as above
        """Find nothing."""
        return False

    def list_dir(self, directory: Path, pattern: str) -> list[Path]:  # noqa: ARG002 - as above
        """Find nothing."""
        raise FileError("is not looked at")


def _why(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "does not exist"
    if isinstance(error, PermissionError):
        return "may not be read by this user"
    return f"cannot be read ({error.strerror or type(error).__name__})"


def _entries(directory: Path, pattern: str) -> list[os.DirEntry[str]]:
    suffix = pattern.removeprefix("*")
    # Kubernetes keeps a secret's real files below ..data, and swaps that.
    with os.scandir(directory) as found:
        names = [e for e in found if not e.name.startswith(".") and e.name.endswith(suffix)]
    return sorted(names, key=lambda entry: entry.name)


def fingerprint(files: Iterable[Path]) -> str:
    """
    A word that changes when any of *files* (as `Loaded.files` lists them) does.

    Content, replacement, the swap of a symbolic link anywhere on the way, files that come
    and go in watched directories. It only asks for metadata and never raises; take it
    *before* loading, or a change in between goes unseen.
    """
    digest = hashlib.sha256()
    for path in files:
        for one in _expanded(path):
            digest.update(f"{one}\0{_state(one)}\0".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:32]


def _expanded(path: Path) -> list[Path]:
    if not path.name.startswith("*"):
        return [path]
    try:
        return [path, *(Path(entry.path) for entry in _entries(path.parent, path.name))]
    except (OSError, ValueError):
        return [path]


def _state(path: Path) -> str:
    try:
        found = path.stat()
        real = os.path.realpath(path)
    except (OSError, ValueError) as error:
        return type(error).__name__
    marks = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    return f"{real} {marks}"
