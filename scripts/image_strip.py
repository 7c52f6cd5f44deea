#!/usr/bin/env python3
"""Take out of the base image what only installs software, and compile this Python's own library."""

from __future__ import annotations

import compileall
import importlib.util
import os
import py_compile
import re
import shutil
import stat
import sysconfig
from pathlib import Path

# What puts software in, or could.
INSTALLERS = ("pip", "ensurepip", "setuptools", "wheel", "pkg_resources", "_distutils_hack")
COMMANDS = re.compile(r"(pip|wheel|easy_install)[\d.]*(-[\d.]+)?")
# Of the library, what no server imports: it would be as large again as what is imported.
UNCOMPILED = re.compile(r"/(test|tests|idlelib|tkinter|turtledemo|lib2to3|pydoc_data)/")


def installers() -> None:
    """No package of an installer, no wheel of one, no command."""
    homes = {Path(sysconfig.get_path(name)) for name in ("purelib", "stdlib")}
    for name in INSTALLERS:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin is not None:
            homes.add(Path(spec.origin).parents[1])
            shutil.rmtree(Path(spec.origin).parent)
    for home in homes:
        for name in INSTALLERS:
            for metadata in (*home.glob(f"{name}-*.dist-info"), *home.glob(f"{name}-*.egg-info")):
                shutil.rmtree(metadata)
        (home / "distutils-precedence.pth").unlink(missing_ok=True)
    shutil.rmtree("/usr/share/python-wheels", ignore_errors=True)
    for directory in ("/usr/local/bin", "/usr/bin"):
        for command in Path(directory).iterdir():
            if COMMANDS.fullmatch(command.name):
                command.unlink()


def borrowed_rights() -> None:
    """No file that runs with the rights of another than who starts it."""
    for directory, _, names in os.walk("/usr"):
        for name in names:
            path = Path(directory) / name
            mode = path.lstat().st_mode
            if stat.S_ISREG(mode) and mode & (stat.S_ISUID | stat.S_ISGID):
                path.chmod(stat.S_IMODE(mode) & ~(stat.S_ISUID | stat.S_ISGID))


def library() -> None:
    """Bytecode beside this Python's modules: who runs the image may not write it."""
    compileall.compile_dir(
        sysconfig.get_path("stdlib"),
        quiet=1,
        rx=UNCOMPILED,
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )


if __name__ == "__main__":
    installers()
    borrowed_rights()
    library()
