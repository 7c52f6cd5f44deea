"""What a SQLite file would lie on: a network file system loses what a local disk keeps."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import TYPE_CHECKING

from circleci_relay.errors import StoreRefused

if TYPE_CHECKING:
    from collections.abc import Iterator

MOUNTS = Path("/proc/self/mountinfo")

_REFUSED = frozenset(
    # As the kernel names them, then as programs behind FUSE do.
    """
    afs beegfs cifs coda glusterfs lustre ncpfs nfs nfs4 orangefs pvfs2 smb3 smbfs
    blobfuse blobfuse2 curlftpfs davfs davfs2 gcsfuse geesefs goofys httpfs juicefs mfs
    mount-s3 mountpoint-s3 ossfs rclone s3backer s3fs seaweedfs smbnetfs sshfs weed
    """.split()  # noqa: SIM905 - one a line would hide the rest
)
"""Whose locks, shared memory or fsync do not hold across a network, or are not there at all."""

_DOUBTFUL = frozenset("9p ceph fuse gfs2 ocfs2 prl_fs vboxsf virtiofs vmhgfs".split())  # noqa: SIM905
"""Which may be as good as a local disk, or may not: it depends on the other side."""

_ESCAPE = re.compile(r"\\([0-7]{3})")


class Verdict(Enum):
    """Whether a SQLite store may lie somewhere."""

    FINE = auto()
    DOUBTFUL = auto()
    REFUSED = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """One line of mountinfo: see proc_pid_mountinfo(5)."""

    id: int
    parent: int
    point: str
    type: str
    source: str
    options: str  #: the file system's own

    def holds(self, path: str) -> bool:
        """Whether *path* is its mount point or below."""
        return path == self.point or path.startswith(self.point.rstrip("/") + "/")


def mounts(text: str) -> Iterator[Mount]:
    """Read the text of mountinfo; lines that cannot be understood are passed over."""
    for line in text.split("\n"):
        before, separator, after = line.partition(" - ")
        first, last = before.split(" "), after.split(" ")
        if not separator or len(first) < 6 or len(last) < 2:  # noqa: PLR2004
            continue
        if first[0].isdecimal() and first[1].isdecimal():
            yield Mount(
                id=int(first[0]),
                parent=int(first[1]),
                point=_plain(first[4]),
                type=_plain(last[0]),
                source=_plain(last[1]),
                options=_plain(last[2]) if len(last) > 2 else "",  # noqa: PLR2004
            )


def mount_of(text: str, path: str) -> Mount | None:
    """
    Return the mount on which the absolute *path*, free of links, lies; None if none tells.

    Walks down as the kernel does: from a mount to the first that is mounted on it along
    the path. So what was mounted over something else hides it.
    """
    holding = [mount for mount in mounts(text) if mount.holds(path)]
    known = {mount.id for mount in holding}
    found: Mount | None = None
    passed: set[int] = set()
    while True:
        above = None if found is None else found.id
        nexts = [
            mount
            for mount in holding
            if mount.id not in passed
            and (mount.parent == above if above is not None else mount.parent not in known)
        ]
        if not nexts:
            return found
        shortest = min(len(mount.point) for mount in nexts)
        found = [mount for mount in nexts if len(mount.point) == shortest][-1]
        passed.add(found.id)


def verdict_of(text: str, path: str) -> tuple[Verdict, str]:
    """Judge where *path* lies by the text of mountinfo; the file system's type with it."""
    mount = mount_of(text, path)
    if mount is not None and mount.type == "overlay":
        # It is as good as what it writes to, where that can be seen from here.
        upper = dict(part.partition("=")[::2] for part in mount.options.split(",")).get("upperdir")
        below = mount_of(text, upper) if upper else None
        if below is not None and below.type != "overlay":
            mount = below
    if mount is None:
        return Verdict.FINE, ""
    return _judged(mount), mount.type


def _judged(mount: Mount) -> Verdict:
    kind, _, program = mount.type.partition(".")
    names = {mount.type, program}
    if kind == "fuse":
        # Not every program says its name as a subtype; some do as the source.
        names.add(mount.source.partition(":")[0].lower())
    if names & _REFUSED:
        return Verdict.REFUSED
    if kind in _DOUBTFUL:
        return Verdict.DOUBTFUL
    return Verdict.FINE


def verdict_at(path: Path) -> tuple[Verdict, str]:
    """Judge *path* on this machine. Only Linux tells; elsewhere all is fine."""
    try:
        text = os.fsdecode(MOUNTS.read_bytes())
    except OSError:
        return Verdict.FINE, ""
    return verdict_of(text, os.path.realpath(path))


def check(path: Path) -> list[str]:
    """Refuse a SQLite file on a network file system (`StoreRefused`); return warnings."""
    verdict, kind = verdict_at(path)
    if verdict is Verdict.REFUSED:
        raise StoreRefused(words(path, verdict, kind))
    return [words(path, verdict, kind)] if verdict is Verdict.DOUBTFUL else []


def words(path: Path, verdict: Verdict, kind: str) -> str:
    """Say in one line what is wrong with a place, and what would be right."""
    if verdict is Verdict.REFUSED:
        return (
            f"{path} lies on a network file system ({kind}), where SQLite loses data; put it on"
            " a local disk, or use PostgreSQL: store.url: postgresql://user:password@host/database"
        )
    return (
        f"{path} lies on {kind}, which may not keep what SQLite relies on (locks, shared memory,"
        " fsync); a local disk does, and so does PostgreSQL"
    )


def _plain(field: str) -> str:
    # A name in several bytes is one character or, escaped, several: these never are.
    return _ESCAPE.sub(lambda found: chr(int(found[1], 8)), field)
