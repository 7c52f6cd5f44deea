"""What every test may ask for."""

from __future__ import annotations

import gc
import inspect
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import psutil
import pytest
from blockbuster import BlockBuster, blockbuster_ctx

from circleci_relay.clock import ManualClock
from support.faults import FULL, scaled
from support.postgres import Postgres, missing

if TYPE_CHECKING:
    from collections.abc import Iterator

# Compiled once for all workers and runs: else each compiles all tests, and what it starts.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# What modules and tests are made of stays: see `pytest_collection_finish`.
gc.disable()

# A format that no schema here asks for, which takes jsonschema a second to learn.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]

# Where a test does not say otherwise; a busy machine is no fault of what is tested. The short form
# draws the same each time: what fails there is the change's doing. The long form looks for more.
hypothesis.settings.register_profile(
    "suite", deadline=None, max_examples=scaled(50, 100), derandomize=not FULL
)
hypothesis.settings.load_profile("suite")

PLACE = "RELAY_TEST_DIR"
"""Names the folder that tests write below; without it that is one in memory, if there is room."""

MEMORY = Path("/dev/shm")  # noqa: S108 - Linux's own, and nothing is looked for in it
ROOM = 2 << 30
"""Bytes; a run takes about half of that."""

OURS = "relay-tests-"


def in_memory() -> Path | None:
    """Make a folder in memory, where fsync costs nothing; None if that is not to be or cannot."""
    if PLACE in os.environ or FULL or not os.access(MEMORY, os.W_OK):
        return None
    there = os.statvfs(MEMORY)
    if there.f_bavail * there.f_frsize < ROOM or there.f_flag & os.ST_NOEXEC:
        return None
    for left in MEMORY.glob(f"{OURS}*"):  # by a run that was killed
        if (pid := left.name.removeprefix(OURS)).isdecimal() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(left, ignore_errors=True)
    folder = MEMORY / f"{OURS}{os.getpid()}"
    folder.mkdir(mode=0o711)  # PostgreSQL, which is not run as root, has to pass through
    return folder


def pytest_configure(config: pytest.Config) -> None:
    """Let all that is written, also by what is started, be written in one place."""
    if hasattr(config, "workerinput"):
        return  # it has been told where
    place = os.environ.get(PLACE) or in_memory()
    if place is None:
        return
    os.environ["TMPDIR"] = str(place)
    tempfile.tempdir = None
    if isinstance(place, Path):
        config.add_cleanup(lambda: shutil.rmtree(place, ignore_errors=True))


LONG_FIRST = ("faults", "browser", "acceptance", "queues", "cli", "web", "store")
"""The folders whose modules take long: what is left for the end is to be short."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order modules so that no worker is left alone with a long one."""
    places = {name: place for place, name in enumerate(LONG_FIRST)}
    items.sort(key=lambda item: places.get(item.path.parent.name, len(places)))


def pytest_collection_finish() -> None:
    """Collect the garbage of tests alone, and less often: it took a tenth of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    gc.enable()


@pytest.fixture
def clock() -> ManualClock:
    """A clock that moves when told."""
    return ManualClock()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL of this process's own, started for whoever asks first."""
    if lacking := missing():
        pytest.skip(lacking)
    with Postgres() as server:
        yield server


@pytest.fixture(autouse=True)
def _no_blocking(request: pytest.FixtureRequest) -> Iterator[BlockBuster | None]:
    """Fail a test in which the relay blocks the event loop, if it has one."""
    if not _has_a_loop(request):
        yield None
        return
    with blockbuster_ctx("circleci_relay") as blockbuster:
        for name, function in blockbuster.functions.items():
            if name.startswith("sqlite3."):
                # By design, and said there: rows are written on the loop, commits are not.
                function.can_block_in("circleci_relay/store/runner.py", {"begin"})
        yield blockbuster


def _has_a_loop(request: pytest.FixtureRequest) -> bool:
    function = request.function
    inner = getattr(getattr(function, "hypothesis", None), "inner_test", function)
    return inspect.iscoroutinefunction(inspect.unwrap(inner))
