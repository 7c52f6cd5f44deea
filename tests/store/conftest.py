"""Where the store of a test lies, and an open one."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import pytest

from support.storing import Bench, Open, opened

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture(params=["sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where the database is: one more parameter when there is one more kind."""
    assert request.param == "sqlite"
    return f"sqlite:///{tmp_path / 'relay.db'}"


@pytest.fixture
def open_bench(url: str) -> Open:
    """Opens a store at the same place, again and again if wanted."""
    return functools.partial(opened, url)


@pytest.fixture
async def bench(open_bench: Open) -> AsyncIterator[Bench]:
    """An open store."""
    async with open_bench() as it:
        yield it
