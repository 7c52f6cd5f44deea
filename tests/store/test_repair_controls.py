"""Pausing, resuming and retrying destinations, as the store keeps it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from circleci_relay.errors import NotFound
from circleci_relay.model import SECOND, Quiet
from circleci_relay.store.repair import controls
from support.repairing import AGAIN, WHO, do, start
from support.storing import MAIN

if TYPE_CHECKING:
    from support.storing import Bench


async def test_a_pause_is_kept(bench: Bench) -> None:
    """Over reloads, and with who said so and why; a second one changes nothing."""
    await bench.store.reconcile(["chat", "pager"])
    assert (await bench.store.look(controls.read)).paused == set()
    at = bench.clock.now()
    assert await do(bench.store, partial(controls.pause, name="chat", why="fire", who=WHO))
    bench.clock.advance(1)
    assert not await do(bench.store, partial(controls.pause, name="chat", why="x", who="other"))
    await bench.store.reconcile(["chat"])
    assert bench.row("SELECT paused_at, paused_by, paused_why FROM destinations LIMIT 1") == {
        "paused_at": at,
        "paused_by": WHO,
        "paused_why": "fire",
    }
    assert (await bench.store.look(controls.read)).paused == {"chat"}
    assert await do(bench.store, partial(controls.resume, name="chat", who=WHO))
    assert not await do(bench.store, partial(controls.resume, name="chat", who=WHO))
    with pytest.raises(NotFound, match=r"chta is not configured; did you mean chat\?"):
        await do(bench.store, partial(controls.pause, name="chta", why=None, who=WHO))
    rows = bench.rows("SELECT action, target FROM audit ORDER BY at, id")
    assert [(row["action"], row["target"]) for row in rows] == [
        ("pause", "chat"),
        ("resume", "chat"),
    ]


async def test_a_retry_makes_due_what_was_tried(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing under way, nothing elsewhere; what waits for its first attempt only if asked."""
    monkeypatch.setattr("circleci_relay.store.repair.controls.STEP", 2)
    await bench.store.reconcile(["chat", "pager"])
    for _ in range(5):
        await bench.accept("chat", "pager")
    for claim in (await bench.claim("chat"))[:4]:
        await bench.settle(claim, AGAIN)
    for claim in await bench.claim("pager"):
        await bench.settle(claim, AGAIN)
    await bench.accept("chat", quiet=Quiet(hold=600 * SECOND), line=MAIN, good=False)
    for _ in range(2):
        await bench.accept("chat", quiet=Quiet(group="g", wait=600 * SECOND, most=9))
    bench.clock.advance(1)
    await do(bench.store, partial(controls.retry, name="chat", held=False, who=WHO))
    hurry = partial(controls.hurry, name="chat", held=False)
    assert [await bench.store.do(hurry) for _ in range(3)] == [2, 2, 0]
    assert len(await bench.claim("chat")) == 4
    assert await bench.claim("pager") == []
    hurry = partial(controls.hurry, name="chat", held=True)
    assert [await bench.store.do(hurry) for _ in range(2)] == [2, 0]
    held, group = sorted(await bench.claim("chat"), key=lambda claim: len(claim.others))
    assert (held.group, len(group.others)) == (None, 1)
    owed = bench.rows("SELECT created_at FROM deliveries WHERE due_at IS NOT NULL")
    assert max(row["created_at"] for row in owed) <= bench.clock.now(), "not later: from here on"
    found = await bench.store.look(controls.read)
    assert found.retried == {"chat": bench.clock.now()}


async def test_what_a_good_line_made_needless_ends_untold(bench: Bench) -> None:
    """Made due or not."""
    await bench.store.reconcile(["chat"])
    hold = Quiet(hold=600 * SECOND)
    await bench.accept("chat", quiet=hold, line=MAIN, good=False)
    await bench.accept(line=MAIN, good=True)
    hurry = partial(controls.hurry, name="chat", held=True)
    assert await bench.store.do(hurry) == 1
    assert await bench.claim("chat") == []
    assert bench.row("SELECT reason FROM deliveries")["reason"] == "superseded"


async def test_the_next_job_is_told_of(bench: Bench) -> None:
    """In the same look: when it is due."""
    await bench.store.reconcile(["chat"])
    assert (await bench.store.look(controls.read)).next_job is None
    await start(bench.store)
    assert (await bench.store.look(controls.read)).next_job == bench.clock.now()
