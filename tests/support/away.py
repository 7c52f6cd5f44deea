"""Ways to make a store that is open take no writes for a while, one for each kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import pytest

from circleci_relay.errors import StoreUnavailable

if TYPE_CHECKING:
    from support.postgres import Postgres
    from support.storing import Bench


class Trouble(Protocol):
    """What keeps a store from writing."""

    async def begin(self, bench: Bench) -> None:
        """Let nothing be written from here on, and have the store find out."""

    async def end(self, bench: Bench) -> None:
        """Let everything be written again, without telling the store."""


class FullFile:
    """A file that may not grow: as if a disk filled up, and had room again."""

    async def begin(self, bench: Bench) -> None:
        """Fill the pages that are there already, so that even a small write needs a new one."""
        await bench.store._in_thread(_limit, bench, 1)
        with pytest.raises(StoreUnavailable):
            await fill(bench)

    async def end(self, bench: Bench) -> None:
        """Make room."""
        if not bench.store._closed:
            await bench.store._in_thread(_limit, bench, 1_000_000)


async def fill(bench: Bench) -> None:
    """Accept until that is no longer possible."""
    while True:
        await bench.accept("chat", body=b"x" * 3000)


def _limit(bench: Bench, pages: int) -> None:
    driver = bench.store._link.connection.connection.driver_connection
    assert driver is not None
    driver.execute(f"PRAGMA max_page_count={pages}").fetchall()


class ReadOnly:
    """A server whose sessions may only read, as after a switch to a standby."""

    def __init__(self, server: Postgres) -> None:
        self._server = server

    async def begin(self, bench: Bench) -> None:
        """Tell the server, which tells its sessions."""
        self._server.read_only(on=True)
        with pytest.raises(StoreUnavailable):
            await bench.accept("chat")

    async def end(self, bench: Bench) -> None:  # noqa: ARG002 - the server tells it
        """Take it back."""
        self._server.read_only(on=False)
