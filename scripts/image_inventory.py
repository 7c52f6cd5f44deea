#!/usr/bin/env python3
"""Run inside the image by its own Python: say what it holds, and what it should not."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

UID = 10001
INSTALLERS = ("pip", "ensurepip", "setuptools")
COMMANDS = ("pip", "pip3", "cc", "gcc", "c++", "clang", "ld", "as", "make", "curl", "wget")
CLOSED = ("/", "/opt/circleci-relay", "/etc", "/usr/local", "/tmp", "/var/tmp")  # noqa: S108
TEXTS = ("LICEN", "COPYING", "NOTICE", "AUTHORS")


def tools() -> Iterator[str]:
    """Nothing that installs, compiles or fetches."""
    for name in INSTALLERS:
        for prefix in {sys.prefix, sys.base_prefix}:
            if list(Path(prefix, "lib").glob(f"python3*/**/{name}/__init__.py")):
                yield f"{prefix} holds {name}"
    path = os.environ["PATH"] + ":/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
    yield from (f"{name} is there" for name in COMMANDS if shutil.which(name, path=path))


def mounted() -> set[str]:
    """Where something lies over the image's own files, such as relay.yaml: it is another's."""
    lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    return {line.split()[4] for line in lines}


def rights() -> Iterator[str]:
    """An ordinary user, whom nothing lends the rights of another."""
    apart = mounted()
    if (os.getuid(), os.getgid()) != (UID, UID) or set(os.getgroups()) - {UID}:
        yield f"runs as {os.getuid()}:{os.getgid()} with the groups {os.getgroups()}"
    for top in ("/usr", "/opt", "/etc"):
        for directory, below, names in os.walk(top):
            below[:] = [name for name in below if str(Path(directory, name)) not in apart]
            for name in names:
                path = Path(directory, name)
                one = path.lstat()
                if stat.S_ISLNK(one.st_mode) or str(path) in apart:
                    continue
                if one.st_mode & (stat.S_ISUID | stat.S_ISGID):
                    yield f"{path} is setuid or setgid"
                if one.st_uid or one.st_mode & stat.S_IWOTH:
                    yield f"{path} is not root's alone"


def writable(directory: str) -> bool:
    """Whether a file can be made there."""
    path = Path(directory, "written")
    try:
        path.touch()
        path.unlink()
    except OSError:
        return False
    return True


def main() -> int:
    """0 if nothing is there that should not be."""
    faults = [*tools(), *rights()]
    faults += [f"{each} can be written" for each in CLOSED if writable(each)]
    if not writable("/data"):
        faults.append("/data cannot be written")
    packages = list(Path(sys.prefix).glob("lib/python3*/site-packages/*.dist-info"))
    licensed = {
        one.name.partition("-")[0]
        for one in packages
        if any(each.name.upper().startswith(TEXTS) for each in one.rglob("*"))
    }
    if "circleci_relay" not in licensed:
        faults.append("the project's own licence is not there")
    print(*faults, sep="\n", file=sys.stderr)  # noqa: T201
    print(f"{len(packages)} packages, {len(licensed)} with the text of their licence")  # noqa: T201
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
