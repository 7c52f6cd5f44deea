"""What every test may ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from blockbuster import BlockBuster, blockbuster_ctx

from circleci_relay.clock import ManualClock
from support.postgres import Postgres, missing

if TYPE_CHECKING:
    from collections.abc import Iterator


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
def _no_blocking() -> Iterator[BlockBuster]:
    """Fail a test in which the relay blocks the event loop."""
    with blockbuster_ctx("circleci_relay") as blockbuster:
        for name, function in blockbuster.functions.items():
            if name.startswith("sqlite3."):
                # By design, and said there: rows are written on the loop, commits are not.
                function.can_block_in("circleci_relay/store/runner.py", {"begin"})
        yield blockbuster
