"""Each page: whole, accessible, in both colour schemes and at phone width."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from playwright.async_api import expect

from support.browsing import House, Sight, sign_in

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Browser

pytestmark = pytest.mark.asyncio(loop_scope="module")

PAGES = {
    "overview": "/",
    "events": "/events",
    "events-faulty": "/events?since=yesterday",
    "event": "/events/{bad}",
    "event-hostile": "/events/{hostile}",
    "deliveries": "/deliveries?destination=pager&state=dead",
    "delivery": "/deliveries/{dead}",
    "destination": "/destinations/pager",
    "routes": "/routes",
    "rejects": "/rejects",
    "reject": "/rejects/{reject}",
    "live": "/live",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sight(chromium: Browser, house: House) -> AsyncIterator[Sight]:
    """A browser's page of an operator."""
    context = await chromium.new_context()
    found = Sight(await sign_in(context, house))
    found.watch(house.url("/"))
    yield found
    await context.close()


@pytest.mark.parametrize("name", PAGES)
async def test_page(house: House, known: dict[str, str], sight: Sight, name: str) -> None:
    """It is there, axe-core finds nothing serious, and nothing sticks out of a phone."""
    response = await sight.page.goto(house.url(PAGES[name].format(**known)))
    assert response is not None
    assert response.status == (422 if name.endswith("-faulty") else 200)
    assert await sight.page.locator("h1").count() == 1
    # Of the same elements as the other event's.
    dark = list(PAGES).index(name) % 2 == 0
    await sight.inspect(name, axe=name != "event-hostile", dark=dark)


async def test_pages_of_a_bulk_replay(house: House, known: dict[str, str], sight: Sight) -> None:
    """Dead letters, the dry run, the job under way, the jobs, and the audit log after it."""
    page = sight.page
    await page.goto(house.url("/dead"))
    await sight.inspect("dead")
    await page.check("[data-select-all] input")
    await page.click("text=Count them")
    await sight.inspect("preview")
    await page.fill("input[name=rate]", "0.1")
    await page.click("form.repair button")
    await expect(page.locator(".progress")).to_contain_text("1 of 2 replayed")  # by itself
    await sight.inspect("job")
    await page.click("text=All jobs")
    await sight.inspect("jobs")
    await page.goto(house.url("/audit"))
    await sight.inspect("audit")


async def test_pages_for_nobody_and_of_nothing(
    chromium: Browser, house: House, sight: Sight
) -> None:
    """The login, and what is said of a page that is not there."""
    response = await sight.page.goto(house.url("/events/no-such-event"))
    assert response is not None
    assert response.status == 404
    await expect(sight.page.locator("h1")).to_have_text("Not found")

    context = await chromium.new_context()
    stranger = Sight(await context.new_page())
    stranger.watch(house.url("/"))
    await stranger.page.goto(house.url("/login"))
    await stranger.inspect("login")
    await context.close()
