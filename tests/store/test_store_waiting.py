"""Deliveries that wait: held until a line may be good again, told once, told together."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from circleci_relay.model import SECOND, Decision, Quiet, Reason, Result, State
from support.storing import DELIVERED, LEASE, MAIN, Bench, Open

if TYPE_CHECKING:
    from circleci_relay.model import Claim

MINUTE = 60 * SECOND
HOLD = Quiet(hold=10 * MINUTE)
ONCE = Quiet(once="run-1", wait=MINUTE, rank=1)
GROUP = Quiet(group="run-1", wait=30 * SECOND, most=3)


def states(bench: Bench) -> list[tuple[str, str | None]]:
    """State and reason of every delivery, in the order they came."""
    rows = bench.rows("SELECT state, reason FROM deliveries ORDER BY key")
    return [(row["state"], row["reason"]) for row in rows]


PENDING = ("pending", None)
SUPERSEDED = ("cancelled", "superseded")


# Held


async def test_what_is_held_is_told_when_its_time_has_come(bench: Bench) -> None:
    """Not a moment before, and then like anything else."""
    await bench.accept("chat", line=MAIN, good=False, quiet=HOLD)
    bench.clock.advance(600 - 0.001)
    assert await bench.claim("chat") == []
    assert await bench.store.next_due("chat") is not None
    bench.clock.advance(0.001)
    [claim] = await bench.claim("chat")
    assert claim.attempt == 1
    await bench.settle(claim)
    assert states(bench) == [("delivered", None)]


async def test_the_lane_is_woken_for_what_waits(bench: Bench) -> None:
    """It has to learn when that is due, however much room it has."""
    bench.lanes.room["chat"] = 5
    await bench.accept("chat", line=MAIN, good=False, quiet=HOLD)
    assert bench.lanes.expected == {"chat": bench.clock.now() + 10 * MINUTE}
    assert not bench.lanes.woken
    assert bench.lanes.handed == []


async def test_a_line_that_turns_good_meanwhile_makes_it_needless(bench: Bench) -> None:
    """Whatever route the good event takes, or none."""
    await bench.accept("chat", line=MAIN, good=False, quiet=HOLD)
    bench.clock.advance(60)
    await bench.accept(line=MAIN, good=True)
    bench.clock.advance(600)
    assert await bench.claim("chat") == []
    assert states(bench) == [SUPERSEDED]
    assert bench.watch.needless == {"chat": 1}
    assert await bench.store.next_due("chat") is None


async def test_one_that_broke_again_is_another(bench: Bench) -> None:
    """What was good in between makes the first needless, not the second."""
    await bench.accept("chat", line=MAIN, good=False, quiet=HOLD)
    bench.clock.advance(60)
    await bench.accept(line=MAIN, good=True)
    bench.clock.advance(60)
    second = await bench.accept("chat", line=MAIN, good=False, quiet=HOLD)
    bench.clock.advance(600)
    [claim] = await bench.claim("chat")
    assert claim.event == second.event
    assert states(bench) == [SUPERSEDED, PENDING]


async def test_one_that_stays_bad_is_told_and_so_is_the_next(bench: Bench) -> None:
    """Nothing turned good: both are news, unless a route asks for changes alone."""
    await bench.accept("chat", line=MAIN, good=False, quiet=HOLD)
    bench.clock.advance(60)
    await bench.accept("chat", line=MAIN, good=False, quiet=HOLD)
    bench.clock.advance(600)
    assert len(await bench.claim("chat")) == 2


async def test_another_branch_says_nothing(bench: Bench) -> None:
    """Only its own line makes it needless."""
    other = type(MAIN)(source="circleci", project="p", workflow="w", job="", branch="b")
    await bench.accept("chat", line=MAIN, good=False, quiet=HOLD)
    bench.clock.advance(60)
    await bench.accept(line=other, good=True)
    bench.clock.advance(600)
    assert len(await bench.claim("chat")) == 1


async def test_what_broke_untold_is_mended_untold(bench: Bench) -> None:
    """That it is whole again is no news to who never heard that it broke."""
    await bench.accept("chat", line=MAIN, good=False, quiet=HOLD)
    bench.clock.advance(60)
    await bench.accept("chat", "log", line=MAIN, good=True, quiet=HOLD)
    assert states(bench) == [SUPERSEDED, SUPERSEDED, PENDING]
    assert [claim.destination for claim in await bench.claim("log")] == ["log"]
    bench.clock.advance(600)
    assert await bench.claim("chat") == []


async def test_the_same_within_one_transaction(bench: Bench) -> None:
    """Events of one batch see each other."""
    bad = bench.intake("chat", line=MAIN, good=False, quiet=HOLD)
    good = bench.intake("chat", line=MAIN, good=True, quiet=HOLD)
    await asyncio.gather(*(bench.store.accept(each, deadline=1e18) for each in (bad, good)))
    assert states(bench) == [SUPERSEDED, SUPERSEDED]


async def test_what_was_told_broken_is_told_mended(bench: Bench) -> None:
    """At once: a good event has nothing to wait for."""
    await bench.accept("chat", line=MAIN, good=False, quiet=HOLD)
    bench.clock.advance(600)
    [claim] = await bench.claim("chat")
    await bench.settle(claim)
    # Another failure is held when it turns good: that one is needless, the news is not.
    await bench.accept("chat", line=MAIN, good=False, quiet=HOLD)
    bench.clock.advance(60)
    good = await bench.accept("chat", line=MAIN, good=True, quiet=HOLD)
    [mended] = await bench.claim("chat")
    assert mended.event == good.event
    assert states(bench) == [("delivered", None), SUPERSEDED, PENDING]


async def test_a_break_of_which_only_the_last_event_waits_is_mended_untold(bench: Bench) -> None:
    """Told once and held: what took the first one's place was never told either."""
    both = Quiet(hold=10 * MINUTE, once="run-1", wait=MINUTE)
    await bench.accept("chat", line=MAIN, good=False, quiet=both)
    bench.clock.advance(30)
    await bench.accept("chat", line=MAIN, good=False, quiet=both)
    bench.clock.advance(30)
    await bench.accept("chat", line=MAIN, good=True, quiet=HOLD)
    assert states(bench) == [SUPERSEDED] * 3


async def test_what_broke_loudly_is_mended_loudly(bench: Bench) -> None:
    """The break went out by a route without a hold: only what was held is taken back."""
    await bench.accept("chat", line=MAIN, good=False)
    bench.clock.advance(60)
    await bench.accept("chat", line=MAIN, good=False, quiet=HOLD)
    bench.clock.advance(60)
    await bench.accept("chat", line=MAIN, good=True, quiet=HOLD)
    assert states(bench) == [PENDING, SUPERSEDED, PENDING]


async def test_without_a_line_nothing_is_held(bench: Bench) -> None:
    """A tag's build can turn nothing good again that it could be compared with."""
    await bench.accept("chat", good=False, quiet=HOLD)
    assert len(await bench.claim("chat")) == 1


async def test_a_late_failure_of_a_line_that_is_good_by_now(bench: Bench) -> None:
    """It is in the log, and tells nobody."""
    await bench.accept(line=MAIN, good=True, number=8)
    await bench.accept("chat", line=MAIN, good=False, number=7, quiet=HOLD)
    assert states(bench) == [SUPERSEDED]


async def test_one_that_says_nothing_of_the_line_waits_too(bench: Bench) -> None:
    """A cancelled run: needless if the line is good again, told if it is only bad."""
    await bench.accept(line=MAIN, good=True)
    bench.clock.advance(1)
    await bench.accept("chat", line=MAIN, good=None, quiet=HOLD)
    await bench.accept("mail", line=MAIN, good=None, quiet=HOLD)
    bench.clock.advance(1)
    await bench.accept(line=MAIN, good=False)
    bench.clock.advance(600)
    assert len(await bench.claim("mail")) == 1
    await bench.accept(line=MAIN, good=True)
    assert await bench.claim("chat") == []


async def test_a_breaker_that_closes_hurries_nothing_that_is_held(bench: Bench) -> None:
    """Only what failed waits for the destination."""
    await bench.accept("chat", line=MAIN, good=False, quiet=HOLD)
    assert await bench.store.expedite("chat", limit=10) == 0
    assert await bench.claim("chat") == []


async def test_what_was_attempted_is_not_taken_back(bench: Bench) -> None:
    """It may have arrived; what is told later makes up for it."""
    await bench.accept("chat", line=MAIN, good=False, quiet=HOLD)
    bench.clock.advance(600)
    [claim] = await bench.claim("chat")
    await bench.settle(claim, Decision(state=State.PENDING, delay=5), result=Result.TIMEOUT)
    await bench.accept(line=MAIN, good=True)
    bench.clock.advance(5)
    assert [each.attempt for each in await bench.claim("chat")] == [2]


# Once


async def test_of_several_the_last_is_told(bench: Bench) -> None:
    """After a time without another; the earlier ones are in the log."""
    for _ in range(4):
        last = await bench.accept("chat", quiet=ONCE)
        bench.clock.advance(40)
    assert await bench.claim("chat") == []
    bench.clock.advance(20)
    [claim] = await bench.claim("chat")
    assert claim.event == last.event
    assert states(bench) == [SUPERSEDED, SUPERSEDED, SUPERSEDED, PENDING]
    assert bench.watch.needless == {"chat": 3}


async def test_once_within_one_transaction(bench: Bench) -> None:
    """Events of one batch see each other."""
    intakes = [bench.intake("chat", quiet=ONCE) for _ in range(5)]
    await asyncio.gather(*(bench.store.accept(each, deadline=1e18) for each in intakes))
    bench.clock.advance(60)
    [claim] = await bench.claim("chat")
    assert claim.event == intakes[-1].event.public_id


async def test_a_job_does_not_take_its_workflows_place(bench: Bench) -> None:
    """They need not come in order."""
    whole = await bench.accept("chat", quiet=ONCE)
    await bench.accept("chat", quiet=Quiet(once="run-1", wait=MINUTE))
    bench.clock.advance(60)
    assert [claim.event for claim in await bench.claim("chat")] == [whole.event]


async def test_other_runs_and_other_destinations_are_told_themselves(bench: Bench) -> None:
    """What is once is one thing at one destination."""
    await bench.accept("chat", "mail", quiet=ONCE)
    await bench.accept("chat", quiet=Quiet(once="run-2", wait=MINUTE))
    bench.clock.advance(60)
    assert len(await bench.claim("chat")) == 2
    assert len(await bench.claim("mail")) == 1


async def test_one_that_comes_after_it_was_told_is_told_as_well(bench: Bench) -> None:
    """Rather twice than a wrong end."""
    await bench.accept("chat", quiet=ONCE)
    bench.clock.advance(60)
    [first] = await bench.claim("chat")
    late = await bench.accept("chat", quiet=ONCE)
    await bench.settle(first)
    bench.clock.advance(60)
    [second] = await bench.claim("chat")
    assert second.event == late.event
    await bench.settle(second)
    assert states(bench) == [("delivered", None)] * 2


async def test_held_and_once(bench: Bench) -> None:
    """The longer wait counts, from the last one on."""
    both = Quiet(hold=10 * MINUTE, once="run-1", wait=MINUTE)
    await bench.accept("chat", line=MAIN, good=False, quiet=both)
    bench.clock.advance(300)
    last = await bench.accept("chat", line=MAIN, good=False, quiet=both)
    bench.clock.advance(599)
    assert await bench.claim("chat") == []
    bench.clock.advance(1)
    assert [claim.event for claim in await bench.claim("chat")] == [last.event]


# Together


async def gathered(bench: Bench, count: int, quiet: Quiet = GROUP) -> list[str]:
    """Accept so many of one group; their public ids."""
    return [(await bench.accept("chat", quiet=quiet)).event for _ in range(count)]


async def test_several_events_are_one_claim(bench: Bench) -> None:
    """The first leads; a time after it they are told, in the order they came."""
    events = await gathered(bench, 2)
    bench.clock.advance(30 - 0.001)
    assert await bench.claim("chat") == []
    bench.clock.advance(0.001)
    [claim] = await bench.claim("chat")
    assert [told.event for told in claim.told] == events
    assert json.loads(claim.others[0].facts)["type"] == "workflow-completed"
    await bench.settle(claim)
    assert states(bench) == [("delivered", None)] * 2
    counted = bench.row("SELECT sum(count) AS n FROM minutes WHERE kind = 'deliveries'")
    assert counted["n"] == 2


async def test_a_full_group_waits_no_longer(bench: Bench) -> None:
    """And the next event begins another."""
    events = await gathered(bench, 4)
    [claim] = await bench.claim("chat")
    assert [told.event for told in claim.told] == events[:3]
    bench.clock.advance(30)
    [claim] = await bench.claim("chat")
    assert [told.event for told in claim.told] == events[3:]


async def test_a_group_of_one_transaction(bench: Bench) -> None:
    """Full and begun anew within it."""
    intakes = [bench.intake("chat", quiet=GROUP) for _ in range(7)]
    await asyncio.gather(*(bench.store.accept(each, deadline=1e18) for each in intakes))
    full = await bench.claim("chat")
    assert [len(claim.told) for claim in full] == [3, 3]
    bench.clock.advance(30)
    assert [len(claim.told) for claim in await bench.claim("chat")] == [1]


async def test_a_failed_attempt_tells_the_same_again(bench: Bench) -> None:
    """What comes after the first attempt is a group of its own."""
    events = await gathered(bench, 2)
    bench.clock.advance(30)
    [claim] = await bench.claim("chat")
    await bench.settle(claim, Decision(state=State.PENDING, delay=5), result=Result.TIMEOUT)
    await gathered(bench, 1)
    bench.clock.advance(5)
    [again] = await bench.claim("chat")
    assert (again.attempt, [told.event for told in again.told]) == (2, events)
    await bench.settle(again, Decision(state=State.DEAD, reason=Reason.REFUSED), status=400)
    rows = bench.rows("SELECT state, reason, last_status FROM deliveries ORDER BY key")
    assert [row["last_status"] for row in rows] == [400, 400, None]
    assert states(bench) == [("dead", "refused")] * 2 + [PENDING]


async def test_a_leader_that_lapsed_is_claimed_with_its_others(bench: Bench) -> None:
    """A crash loses none of them; who slept settles none of them."""
    events = await gathered(bench, 3)
    [late] = await bench.claim("chat")
    bench.clock.advance(LEASE / SECOND)
    [held] = await bench.claim("chat")
    assert [told.event for told in held.told] == events
    await bench.settle(late)
    assert states(bench) == [PENDING] * 3
    await bench.settle(held)
    assert states(bench) == [("delivered", None)] * 3


async def test_one_that_was_given_back_may_still_grow(bench: Bench) -> None:
    """Nobody has begun to tell it."""
    await gathered(bench, 1)
    bench.clock.advance(30)
    bench.store.release(await bench.claim("chat"))
    await gathered(bench, 1)
    [claim] = await bench.claim("chat")
    assert len(claim.told) == 2


async def test_a_leader_that_expires_leaves_none_behind(bench: Bench) -> None:
    """The others are due on their own."""
    await bench.store.reconcile(["chat"])
    await gathered(bench, 2)
    keep = 3600 * SECOND
    bench.change("UPDATE deliveries SET aged_from = 0 WHERE leader = key")
    bench.change("UPDATE events SET received_at = 0")
    bench.clock.advance(1)
    aged = await bench.store.age_out(keep=keep, cursor=None, limit=10)
    assert aged.expired == {"chat": 1}
    assert await bench.store.unlead() == 1
    [claim] = await bench.claim("chat")
    assert claim.told[0].event == claim.event
    assert claim.group is None


async def test_groups_are_claimed_no_more_than_memory_bears(bench: Bench) -> None:
    """What is too heavy for one claim stays due, and is claimed by the next."""
    for number in range(3):
        for body in (b"{}", b"x" * (3 << 20), b"y" * (3 << 20)):
            quiet = Quiet(group=f"run-{number}", wait=30 * SECOND, most=9)
            await bench.accept("chat", quiet=quiet, body=body)
    bench.clock.advance(30)
    [first] = await bench.claim("chat")
    assert len(first.told) == 3
    assert await bench.store.next_due("chat") == bench.clock.now()
    assert [len(claim.told) for claim in await bench.claim("chat")] == [3]
    assert [len(claim.told) for claim in await bench.claim("chat")] == [3]


async def test_nothing_is_unled_that_has_its_leader(bench: Bench) -> None:
    """Upkeep looks at all of them every minute."""
    await gathered(bench, 2)
    assert await bench.store.unlead() == 0


async def test_what_is_gathered_is_forgotten(bench: Bench) -> None:
    """A day later: the table holds what is waited for, not what was."""
    await gathered(bench, 1)
    await bench.store.age_out(keep=SECOND, cursor=None, limit=10)
    assert bench.row("SELECT count(*) AS n FROM gatherings") == {"n": 1}
    bench.clock.advance(86_401)
    await bench.store.age_out(keep=10**15, cursor=None, limit=10)
    assert bench.row("SELECT count(*) AS n FROM gatherings") == {"n": 0}


# History


async def history(bench: Bench, **given: Any) -> dict[str, Any]:
    """What a claim knows of its line."""
    await bench.accept("chat", line=MAIN, **given)
    [claim] = await bench.claim("chat")
    await bench.settle(claim, DELIVERED)
    found: dict[str, Any] = json.loads(claim.history or "null")
    return found


async def test_a_claim_knows_its_lines_history(bench: Bench) -> None:
    """Since when, for how many in a row, and what was before."""
    start = bench.clock.now()
    first = await history(bench, good=True)
    assert first == {"line": first["line"], "good": True, "since": start, "streak": 1}
    bench.clock.advance(60)
    assert (await history(bench, good=True))["streak"] == 2
    broken = await history(bench, good=False)
    assert broken == {
        "line": first["line"],
        "good": False,
        "since": start + MINUTE,
        "streak": 1,
        "before_good": True,
        "before_since": start,
        "before_streak": 2,
    }
    assert (await history(bench, good=None))["streak"] == 1


async def test_a_handed_claim_knows_as_much(bench: Bench) -> None:
    """As one that is claimed."""
    bench.lanes.room["chat"] = 1
    await bench.accept("chat", line=MAIN, good=False)
    [handed] = bench.lanes.handed
    bench.clock.advance(LEASE / SECOND)
    [claimed] = await bench.claim("chat")
    for name in ("facts", "history", "source", "body", "headers", "received_at", "webhook_id"):
        assert getattr(handed, name) == getattr(claimed, name)


def _who(claims: list[Claim]) -> list[str]:
    return [claim.event for claim in claims]


@pytest.mark.parametrize("quiet", [HOLD, ONCE, GROUP])
async def test_a_restart_forgets_nothing(open_bench: Open, quiet: Quiet) -> None:
    """What waits is in the database alone."""
    async with open_bench() as bench:
        first = await bench.accept("chat", line=MAIN, good=False, quiet=quiet)
    async with open_bench() as bench:
        bench.clock.advance(600)
        assert _who(await bench.claim("chat")) == [first.event]
