"""Each action: without JavaScript, by keyboard alone, live, and refused to whoever may not."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from playwright.async_api import expect

from support.browsing import OPERATOR, VIEWER, House, Sight, failed, sign_in
from support.receiver import answer

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

pytestmark = pytest.mark.asyncio(loop_scope="module")

YAML = """\
sources: {{circleci: {{path: /webhooks/circleci, secrets: [x-secret-of-mine]}}}}
destinations: {{warehouse: {{url: "https://warehouse.example.com"}}}}
routes: {{everything: {{to: {to}}}}}
"""


async def test_everything_works_without_javascript(
    chromium: Browser, house: House, known: dict[str, str]
) -> None:
    """Sign in, look, pause, resume, retry, replay one and many, recheck, try, sign out."""
    context = await chromium.new_context(java_script_enabled=False)
    page = await sign_in(context, house)
    await expect(page.locator("h1")).to_have_text("Overview")
    await _filter(page, house)
    await _one_event(page, house, known)
    await _destination(page, house)
    await _rejects(page, house, known)
    await _routes(page, house, known)
    await _many(page, house)
    await page.goto(house.url(f"/deliveries/{known['dead']}"))
    await page.check("input[name=new_id]")
    await page.click("form.repair button")
    await expect(page.get_by_role("status").first).to_have_text("1 replay made; due at once.")
    await expect(page.locator("main")).to_contain_text("replay of")
    await page.goto(house.url("/audit"))
    for action in ("pause", "resume", "replay"):
        await expect(page.locator("tbody")).to_contain_text(action)
    await page.click("text=Sign out")
    await expect(page.locator("h1")).to_have_text("Sign in")
    await page.goto(house.url("/dead"))
    assert page.url == house.url("/login?next=/dead")
    await page.fill("#token", "nobody's token")
    await page.click("main button")
    await expect(page.get_by_role("alert")).to_contain_text("nobody's here")
    await context.close()


async def _filter(page: Page, house: House) -> None:
    await page.goto(house.url("/events"))
    await page.select_option("#f-outcome", "dead")
    await page.click("form.filter button")
    await expect(page.locator("tbody tr")).to_have_count(2)
    await page.fill("#f-text", "nothing is called so")
    await page.click("form.filter button")
    assert page.url.endswith("/events?text=nothing+is+called+so&outcome=dead")
    await expect(page.locator("main")).to_contain_text("No event is like that")


async def _one_event(page: Page, house: House, known: dict[str, str]) -> None:
    await page.goto(house.url(f"/events/{known['good']}"))
    await expect(page.locator(".timeline")).to_contain_text("came again")
    await page.check("input[value=chosen]")
    await page.select_option("select[name=destinations]", "chat")
    await page.click("form.repair button")
    await expect(page.get_by_role("status").first).to_have_text("1 replay made; due at once.")
    await page.check("input[value=chosen]")
    await page.select_option("select[name=destinations]", "chat")
    await page.click("form.repair button")
    await expect(page.get_by_role("alert")).to_be_visible()  # one waits there already
    await page.click("text=Cancel >> nth=0")
    await expect(page.get_by_role("status").first).to_have_text("1 delivery cancelled.")
    await page.goto(house.url(f"/deliveries/{known['dead']}"))
    await expect(page.locator("main")).to_contain_text("Given up")


async def _destination(page: Page, house: House) -> None:
    await page.goto(house.url("/destinations/pager"))
    await page.fill("input[name=why]", "<b>maintenance</b>")
    await page.check("form[action$=pause] input[name=sure]")
    await page.click("form[action$=pause] button")
    await expect(page.locator(".big")).to_contain_text("paused")
    await expect(page.locator("main")).to_contain_text("<b>maintenance</b>")
    await page.click("form[action$=resume] button")
    await expect(page.get_by_role("status").first).to_contain_text("Resumed")
    await page.check("form[action$=retry] input[name=sure]")
    await page.click("form[action$=retry] button")
    await expect(page.get_by_role("status").first).to_contain_text("tried now")
    await page.goto(house.url("/destinations/chat"))
    await expect(page.locator("form[action$=resume] button")).to_be_disabled()


async def _rejects(page: Page, house: House, known: dict[str, str]) -> None:
    await page.goto(house.url(f"/rejects/{known['reject']}"))
    await expect(page.locator("main")).to_contain_text("Untrusted")
    await page.click("form.repair button")
    await expect(page.get_by_role("status").first).to_contain_text("turned away as before")
    await page.click("text=All rejects")
    await page.click("text=Check all of circleci again")
    await expect(page.get_by_role("status").first).to_contain_text("turned away as before")


async def _routes(page: Page, house: House, known: dict[str, str]) -> None:
    await page.goto(house.url("/routes"))
    await expect(page.locator("svg.picture")).to_be_visible()
    await page.fill("#t-event", known["bad"])
    await page.click("form[action*=explain] button")
    await expect(page.locator("section.panel")).to_contain_text("would go to")
    await page.fill("#t-config", YAML.format(to="warehuose"))
    await page.click("form[action*=backtest] button.primary")
    await expect(page.locator("section.panel")).to_contain_text(re.compile(r":3:\d+"))
    await page.fill("#t-config", YAML.format(to="warehouse"))
    await page.click("form[action*=backtest] button.primary")
    await expect(page.locator("section.panel")).to_contain_text("Nothing was sent")


async def _many(page: Page, house: House) -> None:
    await _count_dead(page, house)
    await page.fill("input[name=rate]", "0.1")
    await page.click("button:has-text('Replay 2')")
    await page.click("text=Cancel the job")
    await expect(page.get_by_role("status").first).to_contain_text("The job is cancelled")
    await expect(page.locator(".big")).to_contain_text("cancelled")
    await house.until("/dead", lambda found: found["total"] == 2)

    house.pager.answers[:] = [answer(200)]
    before = len(house.pager.requests)
    await _count_dead(page, house)
    assert len(house.pager.requests) == before
    await page.click("button:has-text('Replay 2')")
    await _job_ends(page, house, {"delivered": 2})
    await page.goto(house.url("/dead"))
    await expect(page.locator("main")).to_contain_text("Nothing is dead")

    await page.goto(house.url("/deliveries?destination=warehouse&state=delivered"))
    await page.check("input[name=routes]")
    await page.click("text=Replay them")
    await expect(page.locator("main")).to_contain_text("through the routes as they are now")

    await page.goto(house.url("/deliveries?destination=chat&state=pending"))
    await page.click("text=Cancel what is pending")
    await page.click("button:has-text('Cancel 2 deliveries')")
    await _job_ends(page, house, None)


async def _count_dead(page: Page, house: House) -> None:
    await page.goto(house.url("/dead"))
    await page.click("text=Count them")
    await expect(page.get_by_role("status").first).to_contain_text("Nothing was ticked")
    for box in await page.locator("input[name=selection]").all():
        await box.check()
    await page.click("text=Count them")
    await expect(page.locator("main")).to_contain_text("2 deliveries would be replayed")


async def _job_ends(page: Page, house: House, states: dict[str, int] | None) -> None:
    """Follow the job until it is done, and what it made has ended as *states* says."""
    await expect(page.locator("h1")).to_contain_text("job")
    name = page.url.rpartition("/")[2].partition("?")[0]
    done = await house.until(f"/jobs/{name}", lambda found: found["state"] == "done")
    if states is not None:
        done = await house.until(f"/jobs/{name}", lambda found: found["states"] == states)
    assert done["made"] == 2
    await page.reload()
    await expect(page.locator(".big")).to_contain_text("done")
    assert await page.locator("meta[http-equiv=refresh]").count() == 0


async def test_by_keyboard_alone(chromium: Browser, house: House, known: dict[str, str]) -> None:
    """From the token to a replay under way, without a mouse, and what is focused can be seen."""
    context = await chromium.new_context(timezone_id="America/New_York")
    page = await context.new_page()
    await page.goto(house.url(f"/events/{known['bad']}"))
    await expect(page.locator("#token")).to_be_focused()
    await page.keyboard.type(OPERATOR)
    await page.keyboard.press("Enter")
    await page.wait_for_selector("text=Send it again")
    await expect(page.locator("time.full").first).to_contain_text(re.compile(r"UTC · .+ here"))
    await page.keyboard.press("Tab")
    focused = page.locator(":focus")
    await expect(focused).to_have_text("Skip to the content")
    await expect(focused).to_be_in_viewport()
    await page.keyboard.press("Enter")
    await _tab_to(page, "input[name=where]:focus")
    await page.keyboard.press("ArrowRight")  # to the one chosen
    await _tab_to(page, "select[name=destinations]:focus")
    await page.keyboard.type("warehouse")
    await _tab_to(page, "form.repair button:focus")
    assert await page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    await page.keyboard.press("Enter")
    await expect(page.locator("[data-notice]")).to_have_text("1 replay made; due at once.")
    assert "done=" not in page.url
    await context.close()


async def _tab_to(page: Page, selector: str) -> None:
    for _ in range(60):
        await page.keyboard.press("Tab")
        if await page.locator(selector).count():
            return
    pytest.fail(f"the keyboard does not reach {selector}")


async def test_what_happens_shows_by_itself(
    chromium: Browser, house: House, known: dict[str, str]
) -> None:
    """The list, the stream and a job follow what happens; the list can be told not to."""
    context = await chromium.new_context()
    sight = Sight(await sign_in(context, house))
    sight.watch(house.url("/"))
    events, stream = sight.page, await context.new_page()
    await events.goto(house.url("/events"))
    await stream.goto(house.url("/live?kind=event"))
    for page in (events, stream):
        await expect(page.locator("[data-live-said]")).to_have_text("Connected")
    hostile = "<img src=x onerror=alert(1)>"
    event = await house.send(20, **failed(branch=hostile))
    await expect(events.locator("tbody tr").first).to_contain_text(hostile)
    await expect(stream.locator("[data-stream] li").first).to_contain_text(hostile)
    link = stream.locator("[data-stream] a").first
    assert await link.get_attribute("href") == f"/events/{event}"
    await events.click("[data-live-switch]")
    await expect(events.locator("[data-live-switch]")).to_have_text("Live updates: off")
    assert sight.wrong == []
    await context.close()


async def test_a_viewer_may_look_and_count(
    chromium: Browser, house: House, known: dict[str, str]
) -> None:
    """There are no other buttons, the reason is said, and a form made by hand is refused."""
    context = await chromium.new_context()
    page = await sign_in(context, house, VIEWER)
    await page.goto(house.url(f"/events/{known['bad']}"))
    await expect(page.locator("main")).to_contain_text("takes the role operator; yours is viewer")
    assert await page.locator("main form").count() == 0
    csrf = await page.locator("input[name=csrf]").first.get_attribute("value")
    made = await context.request.post(
        house.url(f"/events/{known['bad']}/replay"), form={"csrf": csrf or "", "where": "all"}
    )
    assert made.status == 403
    await page.goto(house.url("/deliveries?destination=warehouse&state=delivered&error="))
    assert page.url == house.url("/deliveries?destination=warehouse&state=delivered")
    await page.click("text=Count what could be replayed")
    await expect(page.locator("main")).to_contain_text("Starting it takes the role operator")
    assert await page.locator("main form").count() == 0
    await context.close()


@pytest.mark.parametrize(
    "path",
    [
        "/events/{good}/replay",
        "/deliveries/{dead}/replay",
        "/deliveries/{dead}/cancel",
        "/destinations/pager/pause",
        "/destinations/pager/resume",
        "/destinations/pager/retry",
        "/bulk",
        "/bulk/start",
        "/jobs/any/cancel",
        "/rejects/recheck",
        "/routes/explain",
        "/routes/backtest",
        "/logout",
    ],
)
async def test_a_form_without_its_token_is_refused(
    house: House, known: dict[str, str], path: str
) -> None:
    """A session alone changes nothing: the form has to come from our own page."""
    signed = await house.session.post(
        house.url("/login"), data={"token": OPERATOR}, allow_redirects=False
    )
    assert signed.status == 303
    answered = await house.session.post(
        house.url(path.format(**known)), data={"kind": "replay", "sure": "true"}
    )
    assert answered.status == 403
    assert "load the page again" in await answered.text()
