"""Claims, leases, tokens, settlements: who holds a delivery, and what becomes of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from circleci_relay.model import SECOND, Decision, Reason, Result, State
from support.storing import DELIVERED, LEASE

if TYPE_CHECKING:
    from support.storing import Bench

AGAIN = Decision(state=State.PENDING, delay=60)
REFUSED = Decision(state=State.DEAD, reason=Reason.REFUSED)


async def test_claims_come_longest_due_first_and_no_more_than_asked(bench: Bench) -> None:
    """A backlog is worked off from its old end, in pieces the lane has room for."""
    for n in range(3):
        await bench.accept("chat", body=b"%d" % n)
        bench.clock.advance(1)
    first = await bench.claim("chat", limit=2)
    rest = await bench.claim("chat", limit=2)

    assert [claim.body for claim in (*first, *rest)] == [b"0", b"1", b"2"]
    assert {claim.attempt for claim in first} == {1}
    assert len({claim.token for claim in (*first, *rest)}) == 3
    assert await bench.claim("chat") == []


async def test_a_claim_carries_what_an_attempt_needs(bench: Bench) -> None:
    """The bytes and headers as they came, and the ids."""
    accepted = await bench.accept("chat", "other", body=b"\x00\xff")
    [claim] = await bench.claim("chat")
    assert (claim.body, claim.event) == (b"\x00\xff", accepted.event)
    assert claim.headers == (("content-type", "application/json"),)
    assert claim.webhook_id == f"{accepted.event}-chat"
    assert claim.lease_until == bench.clock.now() + LEASE
    assert claim.received_at == claim.aged_from == bench.clock.now()


async def test_a_replay_may_carry_an_id_of_its_own(bench: Bench) -> None:
    """The delivery's own webhook id, where it has one, goes before the usual."""
    await bench.accept("chat")
    bench.change("UPDATE deliveries SET webhook_id = 'mine'")
    [claim] = await bench.claim("chat")
    assert claim.webhook_id == "mine"


async def test_delivered(bench: Bench) -> None:
    """The end of most: one attempt on record, nothing due any more."""
    await bench.accept("chat")
    [claim] = await bench.claim("chat")
    settlement = await bench.settle(claim, status=204, excerpt=b"fine")

    assert bench.watch.held == [settlement]
    row = bench.row("SELECT * FROM deliveries")
    assert (row["state"], row["due_at"], row["token"]) == ("delivered", None, None)
    assert (row["settled_at"], row["last_status"]) == (bench.clock.now(), 204)
    attempt = bench.row("SELECT * FROM attempts")
    assert (attempt["number"], attempt["result"], attempt["excerpt"]) == (1, "ok", b"fine")
    assert await bench.store.next_due("chat") is None


async def test_tried_again_after_its_delay(bench: Bench) -> None:
    """A retry is not due before its time, and counts up."""
    await bench.accept("chat")
    [claim] = await bench.claim("chat")
    await bench.settle(claim, AGAIN, result=Result.SERVER_ERROR, status=503)

    assert await bench.store.next_due("chat") == bench.clock.now() + 60 * SECOND
    bench.clock.advance(59)
    assert await bench.claim("chat") == []
    bench.clock.advance(1)
    [second] = await bench.claim("chat")
    assert (second.attempt, second.webhook_id) == (2, claim.webhook_id)
    assert second.token != claim.token
    assert bench.watch.losses == {}


async def test_dead_says_why(bench: Bench) -> None:
    """The reason stands with the delivery."""
    await bench.accept("chat")
    [claim] = await bench.claim("chat")
    await bench.settle(claim, REFUSED, result=Result.CLIENT_ERROR, status=410, error="gone")
    row = bench.row("SELECT state, reason, last_result, last_error FROM deliveries")
    assert row == {
        "state": "dead",
        "reason": "refused",
        "last_result": "client_error",
        "last_error": "gone",
    }


async def test_a_lapsed_lease_is_fenced(bench: Bench) -> None:
    """A worker that outlived its lease cannot settle what another now holds."""
    await bench.accept("chat")
    [late] = await bench.claim("chat")
    bench.clock.advance(40)
    [held] = await bench.claim("chat")
    assert held.attempt == 2

    fenced = await bench.settle(late, REFUSED, result=Result.CLIENT_ERROR, status=410)
    assert bench.watch.fenced == [fenced]
    assert bench.row("SELECT state FROM deliveries") == {"state": "pending"}
    await bench.settle(held)
    assert bench.row("SELECT state FROM deliveries") == {"state": "delivered"}
    results = bench.rows("SELECT number, result FROM attempts ORDER BY number")
    assert [(row["number"], row["result"]) for row in results] == [(1, "client_error"), (2, "ok")]


async def test_a_lapsed_lease_alone_does_not_fence(bench: Bench) -> None:
    """The token decides, not the deadline: nobody else took it, so it is settled."""
    await bench.accept("chat")
    [late] = await bench.claim("chat")
    bench.clock.advance(400)
    await bench.settle(late)
    assert bench.row("SELECT state FROM deliveries") == {"state": "delivered"}
    assert bench.watch.fenced == []


async def test_a_lost_attempt_is_recorded_and_counted(bench: Bench) -> None:
    """A lease that lapsed is an attempt of which nothing is known, and stands as one."""
    await bench.accept("chat")
    await bench.claim("chat")
    bench.clock.advance(40)
    [second] = await bench.claim("chat")

    assert second.attempt == 2
    assert bench.watch.losses == {"chat": 1}
    assert bench.row("SELECT number, result FROM attempts") == {"number": 1, "result": "lost"}
    assert bench.row("SELECT last_result FROM deliveries") == {"last_result": "lost"}


async def test_fenced_ones_are_told_from_those_they_came_with(bench: Bench) -> None:
    """In one batch, only the one that no longer holds is fenced."""
    for _ in range(3):
        await bench.accept("chat")
    claims = await bench.claim("chat")
    bench.change("UPDATE deliveries SET token = token + 1 WHERE key = 2")
    assert claims[1].delivery == 2
    for claim in claims:
        bench.store.settle(bench.settlement(claim))
    await bench.store.flush()

    assert [each.claim for each in bench.watch.fenced] == [claims[1]]
    assert [each.claim for each in bench.watch.held] == [claims[0], claims[2]]
    assert len(bench.rows("SELECT * FROM attempts")) == 3
    counted = bench.row("SELECT count FROM minutes WHERE kind = 'deliveries'")
    assert counted == {"count": 2}


async def test_cancelled_under_way_stays_cancelled(bench: Bench) -> None:
    """The attempt happened and is recorded; the delivery stays as it was put."""
    await bench.accept("chat")
    [claim] = await bench.claim("chat")
    bench.change("UPDATE deliveries SET state = 'cancelled', due_at = NULL")
    await bench.settle(claim)
    assert bench.row("SELECT state FROM deliveries") == {"state": "cancelled"}
    assert bench.row("SELECT result FROM attempts") == {"result": "ok"}
    assert len(bench.watch.fenced) == 1


async def test_settled_twice_is_settled_once(bench: Bench) -> None:
    """A batch run again, its fate unknown, finds nothing left to do."""
    await bench.accept("chat")
    [claim] = await bench.claim("chat")
    await bench.settle(claim)
    before = bench.rows("SELECT * FROM deliveries"), bench.rows("SELECT * FROM attempts")
    await bench.settle(claim)
    assert (bench.rows("SELECT * FROM deliveries"), bench.rows("SELECT * FROM attempts")) == before


async def test_released_unattempted(bench: Bench) -> None:
    """What was never tried goes back at once, and does not count; the token must hold."""
    await bench.accept("chat")
    [claim] = await bench.claim("chat")
    bench.store.release([claim])
    [again] = await bench.claim("chat")
    assert again.attempt == 1
    assert bench.watch.losses == {}

    bench.store.release([claim])  # no longer its own
    await bench.store.flush()
    assert await bench.claim("chat") == []


async def test_whoever_left_before_the_answer_leaves_nothing_leased(bench: Bench) -> None:
    """A claim whose caller was cancelled in the middle of the commit goes back."""
    await bench.accept("chat")
    asking = asyncio.create_task(bench.claim("chat"))
    writer = bench.store._writer
    while not (asking.done() or writer._claims):  # noqa: ASYNC110 - no event tells of this
        await asyncio.sleep(0)
    while writer._claims:  # noqa: ASYNC110
        await asyncio.sleep(0)
    asking.cancel()
    await asyncio.wait({asking})
    await bench.store.flush()
    await bench.store.flush()
    [claim] = await bench.claim("chat")
    assert claim.attempt == 1


async def test_expedite_makes_due_what_waits(bench: Bench) -> None:
    """When a breaker closes: those due next first, no more than asked, none under way."""
    for _ in range(3):
        await bench.accept("chat")
    for claim in await bench.claim("chat", limit=2):
        await bench.settle(claim, AGAIN)
    [under_way] = await bench.claim("chat")
    assert await bench.store.expedite("chat", limit=1) == 1
    assert await bench.store.expedite("chat", limit=10) == 1
    assert await bench.store.expedite("chat", limit=10) == 0
    assert under_way.delivery not in {claim.delivery for claim in await bench.claim("chat")}


async def test_clamp_brings_back_what_lies_too_far_ahead(bench: Bench) -> None:
    """A clock that was wrong for an hour must not hold deliveries for a year."""
    await bench.store.reconcile(["chat"])
    await bench.accept("chat")
    [claim] = await bench.claim("chat")
    await bench.settle(claim, Decision(state=State.PENDING, delay=10_000_000))
    assert await bench.store.clamp(ahead=900 * SECOND, limit=10) == 1
    assert await bench.store.next_due("chat") == bench.clock.now() + 900 * SECOND
    assert await bench.store.clamp(ahead=900 * SECOND, limit=10) == 0


async def test_destinations_are_apart(bench: Bench) -> None:
    """One's backlog is not in another's claim."""
    await bench.accept("chat", "other")
    [claim] = await bench.claim("other")
    assert claim.destination == "other"
    await bench.settle(claim, REFUSED)
    assert await bench.store.next_due("chat") == bench.clock.now()


async def test_an_outcome_that_cannot_be_stored_is_stored_bare(bench: Bench) -> None:
    """A fault in what a receiver said must not lose that the attempt was made."""
    await bench.accept("chat")
    await bench.accept("chat")
    first, second = await bench.claim("chat")
    bench.store.settle(bench.settlement(first, error="\ud83d"))
    bench.store.settle(bench.settlement(second))
    await bench.store.flush()
    assert {row["state"] for row in bench.rows("SELECT state FROM deliveries")} == {"delivered"}
    assert bench.rows("SELECT error FROM attempts") == [{"error": None}, {"error": None}]
    assert bench.watch.drops == []
    assert {each.outcome.error for each in bench.watch.held} == {"\ud83d", None}


async def test_one_that_cannot_be_stored_at_all_is_dropped_aloud(bench: Bench) -> None:
    """The rest of its batch is not held up, and its lease will lapse."""
    await bench.accept("chat")
    await bench.accept("chat")
    first, second = await bench.claim("chat")
    bad = bench.settlement(first, duration=2**70)
    bench.store.settle(bad)
    bench.store.settle(bench.settlement(second, DELIVERED))
    await bench.store.flush()
    assert bench.watch.drops == [bad]
    assert [each.claim for each in bench.watch.held] == [second]


async def test_the_backlog_is_counted(bench: Bench) -> None:
    """What waits, since when, and what is dead, by destination."""
    began = bench.clock.now()
    await bench.accept("chat", "other")
    bench.clock.advance(5)
    await bench.accept("chat")
    [claim] = await bench.claim("other")
    await bench.settle(claim, REFUSED)

    counted = await bench.store.backlog()
    assert (counted["chat"].pending, counted["chat"].oldest, counted["chat"].dead) == (2, began, 0)
    assert (counted["other"].pending, counted["other"].oldest, counted["other"].dead) == (
        0,
        None,
        1,
    )
    assert await bench.store.size() > 0


async def test_the_longest_lease_ever_given_is_on_record(bench: Bench) -> None:
    """Two in one transaction, the longer first: start-up must know how far leases may lie ahead."""
    await asyncio.gather(
        bench.store.claim("slow", limit=1, lease=120 * SECOND),
        bench.store.claim("quick", limit=1, lease=40 * SECOND),
    )
    longest = bench.row("SELECT value FROM meta WHERE name = 'max_lease'")["value"]
    assert int(longest) == 120 * SECOND
