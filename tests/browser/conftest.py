"""One Chromium and one relay for each module."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from support import browsing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Browser


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chromium() -> AsyncIterator[Browser]:
    """The system's Chromium; skips where there is none."""
    program = browsing.chromium()
    if program is None:
        pytest.skip("no Chromium here: scripts/chromium installs it, or CHROMIUM names one")
    async with browsing.browser(program) as found:
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[browsing.House]:
    """A relay with a failing pager."""
    async with browsing.house(tmp_path_factory.mktemp("house")) as found:
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def known(house: browsing.House) -> dict[str, str]:
    """Ids of what has happened there."""
    return await browsing.furnish(house)
