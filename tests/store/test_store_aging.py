"""Letting go of the old, and the clocks of destinations that are not configured."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import sqlalchemy as sa

from circleci_relay.model import SECOND, Decision, State
from circleci_relay.store.schema import attempts, bodies, deliveries, events
from support.storing import HOUR, MAIN

if TYPE_CHECKING:
    from support.storing import Bench

KEEP = 10 * HOUR


async def _walk(bench: Bench, limit: int = 100) -> tuple[dict[str, int], int]:
    expired: dict[str, int] = {}
    pruned = 0
    cursor = None
    while True:
        step = await bench.store.age_out(keep=KEEP, cursor=cursor, limit=limit)
        for name, count in step.expired.items():
            expired[name] = expired.get(name, 0) + count
        pruned += step.pruned
        cursor = step.cursor
        if cursor is None:
            return expired, pruned


async def test_settled_events_go_after_keep_with_all_that_is_theirs(bench: Bench) -> None:
    """Counted from the last settlement, not from the arrival."""
    await bench.store.reconcile(["chat"])
    await bench.accept("chat")
    await bench.accept()
    bench.clock.advance(8 * 3600)
    [claim] = await bench.claim("chat")
    await bench.settle(claim)
    bench.clock.advance(3 * 3600)

    assert await _walk(bench) == ({}, 1)  # the unmatched one
    bench.clock.advance(8 * 3600)
    assert await _walk(bench) == ({}, 1)
    for table in (events, bodies, deliveries, attempts):
        assert bench.rows(str(sa.select(table))) == []


async def test_what_is_pending_at_keep_expires(bench: Bench) -> None:
    """Dead, with its reason, counted; the event stays for another while, to be looked at."""
    await bench.store.reconcile(["chat"])
    await bench.accept("chat", "chat2")
    await bench.store.reconcile(["chat", "chat2"])
    bench.clock.advance(9 * 3600)
    await bench.accept("chat")
    bench.clock.advance(2 * 3600)
    assert await _walk(bench) == ({"chat": 1, "chat2": 1}, 0)
    found = bench.rows("SELECT destination, state, reason FROM deliveries ORDER BY key")
    assert [(row["destination"], row["state"], row["reason"]) for row in found] == [
        ("chat", "dead", "expired"),
        ("chat2", "dead", "expired"),
        ("chat", "pending", None),
    ]
    assert bench.row("SELECT sum(count) AS n FROM minutes WHERE result = 'dead'") == {"n": 2}


async def test_one_under_way_does_not_expire(bench: Bench) -> None:
    """It may be arriving this very moment."""
    await bench.store.reconcile(["chat"])
    await bench.accept("chat")
    bench.clock.advance(11 * 3600)
    [claim] = await bench.claim("chat")
    assert await _walk(bench) == ({}, 0)
    await bench.settle(claim, Decision(state=State.PENDING, delay=60))
    assert await _walk(bench) == ({"chat": 1}, 0)


async def test_a_walk_goes_in_steps_and_ends(bench: Bench) -> None:
    """Each step looks at so many events; what stays is stepped over, not met again."""
    await bench.store.reconcile(["gone"])
    for n in range(7):
        await bench.accept(*(["gone"] if n % 2 else []))
    await bench.store.reconcile([])
    bench.clock.advance(20 * 3600)
    assert await _walk(bench, limit=2) == ({}, 4)
    assert await _walk(bench, limit=2) == ({}, 0)


async def test_a_removed_destination_does_not_age(bench: Bench) -> None:
    """Its clock stands still while it is not in the file, and goes on when it is back."""
    standing = await bench.store.reconcile(["chat", "other"])
    assert standing == {"chat": 0, "other": 0}
    await bench.accept("chat")
    bench.clock.advance(3600)
    assert await bench.store.reconcile(["other"]) == {"other": 0}
    bench.clock.advance(50 * 3600)
    assert await bench.store.reconcile(["other"]) == {"other": 0}
    assert await _walk(bench) == ({}, 0)

    standing = await bench.store.reconcile(["chat", "other"])
    assert standing == {"chat": 50 * HOUR, "other": 0}
    assert await _walk(bench) == ({}, 0)
    [claim] = await bench.claim("chat")
    assert bench.clock.now() - standing["chat"] - claim.aged_from == HOUR

    await bench.accept("chat")
    [young] = await bench.claim("chat")
    assert bench.clock.now() - standing["chat"] - young.aged_from == 0
    bench.store.release([claim, young])
    bench.clock.advance(9.5 * 3600)
    assert await _walk(bench) == ({"chat": 1}, 0)


async def test_old_charts_and_configurations_go(bench: Bench) -> None:
    """A configuration goes once its successor is older than any event; never the last."""
    await bench.store.record_config("first", {})
    await bench.accept()
    bench.clock.advance(3600)
    await bench.store.record_config("second", {})
    bench.clock.advance(20 * 3600)
    await bench.store.record_config("third", {})
    assert await _walk(bench) == ({}, 1)
    left = bench.rows("SELECT digest FROM configs ORDER BY digest")
    assert [row["digest"] for row in left] == ["second", "third"]
    assert bench.rows("SELECT * FROM minutes") == []


async def test_the_longest_lease_bounds_what_start_up_looks_at(bench: Bench) -> None:
    """It is on record before any lease that long is given."""
    await bench.accept("chat")
    await bench.claim("chat")
    assert bench.row("SELECT value FROM meta WHERE name = 'max_lease'") == {
        "value": str(40 * SECOND)
    }


async def test_an_attempt_of_what_expired_leaves_its_trace(bench: Bench) -> None:
    """One under way when its worker died counts as lost, though nobody claims it again."""
    await bench.store.reconcile(["chat"])
    await bench.accept("chat")
    await bench.claim("chat")
    bench.clock.advance(11 * 3600)
    assert await _walk(bench) == ({"chat": 1}, 0)
    assert [row["result"] for row in bench.rows("SELECT result FROM attempts")] == ["lost"]
    assert bench.watch.losses == {"chat": 1}


async def test_who_slept_through_it_all_leaves_nothing_behind(bench: Bench) -> None:
    """The end of an attempt whose delivery is gone is counted as fenced, and not kept."""
    await bench.store.reconcile(["chat"])
    await bench.accept("chat")
    [claim] = await bench.claim("chat")
    for _ in range(2):
        bench.clock.advance(11 * 3600)
        await _walk(bench)
    late = await bench.settle(claim)
    assert bench.watch.fenced == [late]
    for table in (events, deliveries, attempts):
        assert bench.rows(str(sa.select(table))) == []


async def test_a_branch_nothing_was_built_on_for_long_is_forgotten(bench: Bench) -> None:
    """Step by step, and not before its last outcome is 90 days old, whatever `keep` is."""
    branches = [replace(MAIN, branch=f"feature-{n}") for n in range(5)]
    for line in branches:
        await bench.accept(line=line, good=True)
    bench.clock.advance(60 * 24 * 3600)
    await bench.accept(line=MAIN, good=True)
    for _ in range(4):
        await _walk(bench, limit=2)
    assert bench.row("SELECT count(*) AS n FROM lines")["n"] == 6
    bench.clock.advance(31 * 24 * 3600)
    for _ in range(5):
        await _walk(bench, limit=2)
    assert [row["branch"] for row in bench.rows("SELECT branch FROM lines")] == ["main"]
    assert (await bench.accept(line=MAIN, good=False)).change == "broken"
