"""The benchmark's looks at the log: what it makes of a past, and that each look works."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from bench.databases import Sqlite
from bench.log import FAILING, WHOLE, lived, looks

from support.storing import SQLITE

if TYPE_CHECKING:
    from support.storing import Open


@pytest.fixture
def url(sqlite_url: str) -> str:
    """Of this kind alone: the other differs in nothing that matters here."""
    return sqlite_url


async def test_each_look_finds_what_was_made_for_it(open_bench: Open, url: str) -> None:
    """A past with an incident in its middle, and what is rare at its beginning."""
    async with open_bench() as bench:
        for _ in range(9):
            await bench.accept(FAILING, "d1")
            bench.clock.advance(1)
    database = Sqlite(Path(url.removeprefix(SQLITE)))
    database.script(lived(database))
    found = await looks(database, rounds=1)
    assert found["events: all"].found == 9
    assert found["events: dead"].found == 1
    assert found["deliveries: dead, not replayed"].found == 1
    assert found["dead letters, grouped"].found == 1
    assert found[WHOLE[0]].found == 5
    assert all(look.ended for look in found.values())
