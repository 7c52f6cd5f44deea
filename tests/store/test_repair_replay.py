"""Replaying one delivery, one event; cancelling one; under the rules that keep it once."""

from __future__ import annotations

import json
import re
from functools import partial
from typing import TYPE_CHECKING

import pytest

from circleci_relay.errors import Conflict, NotFound
from circleci_relay.model import SECOND, Quiet
from circleci_relay.store.repair import cancel, replay
from support.repairing import AGAIN, WHO, dead, dead_count, delivery, do, kill
from support.storing import DELIVERED, HOUR

if TYPE_CHECKING:
    from circleci_relay.store.repair.cancel import Cancelled
    from circleci_relay.store.repair.replay import Replayed
    from support.storing import Bench


async def again(bench: Bench, key: int, *, new_id: bool = False, again: bool = False) -> Replayed:
    """Replay one delivery."""
    return await do(
        bench.store,
        partial(replay.replay_delivery, key=key, new_id=new_id, again=again, who=WHO),
    )


async def anew(bench: Bench, event: int, *to: str, again: bool = False) -> Replayed:
    """Replay one event."""
    return await do(
        bench.store,
        partial(replay.replay_event, key=event, to=to or None, new_id=False, again=again, who=WHO),
    )


async def end(bench: Bench, key: int) -> Cancelled:
    """Cancel one delivery."""
    return await do(bench.store, partial(cancel.cancel_delivery, key=key, who=WHO))


@pytest.fixture
async def chat(bench: Bench) -> Bench:
    """A store where `chat` and `pager` are configured."""
    await bench.store.reconcile(["chat", "pager"])
    return bench


async def test_a_dead_delivery_is_sent_again(chat: Bench) -> None:
    """As a new one, due at once, under the same webhook-id; the old one is dead no more."""
    [key] = await dead(chat, 1)
    made = await again(chat, key)
    assert dead_count(chat) == 0
    assert (await chat.store.backlog())["chat"].dead == 0
    [claim] = await chat.claim("chat")
    assert (claim.delivery, claim.attempt) == (made.keys[0], 1)
    assert claim.webhook_id == f"{claim.event}-chat"
    assert made.destinations == {"chat"}
    row = delivery(chat, claim.delivery)
    assert (row["replay_of"], row["leader"], row["line"], row["job"]) == (key, None, None, None)
    assert delivery(chat, key)["replayed_by"] == claim.delivery
    await kill(chat, [claim])
    assert dead_count(chat) == 1  # the replay itself


async def test_a_new_webhook_id_is_kept_by_its_replays(chat: Bench) -> None:
    """Asked for, it is one nobody has seen; the replay of that delivery has the same one."""
    [key] = await dead(chat, 1)
    await again(chat, key, new_id=True)
    [claim] = await chat.claim("chat")
    assert re.fullmatch(rf"{claim.event}-chat-[0-9A-Z]{{26}}", claim.webhook_id)
    await chat.settle(claim, DELIVERED)
    await again(chat, claim.delivery)
    [once_more] = await chat.claim("chat")
    assert once_more.webhook_id == claim.webhook_id


async def test_what_is_on_its_way_is_not_sent_twice(chat: Bench) -> None:
    """Unless that is what is asked for; then the newest stands for the dead one."""
    [key] = await dead(chat, 1)
    first = await again(chat, key)
    with pytest.raises(Conflict, match="already waiting to be delivered to chat"):
        await again(chat, key)
    with pytest.raises(Conflict, match="retry"):
        await anew(chat, 1)
    second = await again(chat, key, again=True)
    assert delivery(chat, key)["replayed_by"] == second.keys[0]
    await end(chat, second.keys[0])
    assert delivery(chat, key)["replayed_by"] == first.keys[0]
    await end(chat, first.keys[0])
    assert delivery(chat, key)["replayed_by"] is None
    assert dead_count(chat) == 1


async def test_an_event_goes_where_it_went_or_where_it_is_told(chat: Bench) -> None:
    """To all its destinations, or to ones no route chose for it."""
    await chat.accept("chat")
    await chat.settle((await chat.claim("chat"))[0])
    event = chat.row("SELECT key FROM events")["key"]
    assert (await anew(chat, event)).destinations == {"chat"}
    assert (await anew(chat, event, "pager")).destinations == {"pager"}
    [claim] = await chat.claim("pager")
    row = delivery(chat, claim.delivery)
    assert (row["replay_of"], row["webhook_id"]) == (None, None)
    await chat.accept()
    other = chat.row("SELECT max(key) AS key FROM events")["key"]
    with pytest.raises(Conflict, match="name some"):
        await anew(chat, other)


async def test_unknown_destinations_are_told_of(chat: Bench) -> None:
    """With what may have been meant; also one that was taken out of the file since."""
    [key] = await dead(chat, 1)
    event = chat.row("SELECT key FROM events")["key"]
    with pytest.raises(Conflict, match=r"pagr is not configured; did you mean pager\?"):
        await anew(chat, event, "pagr")
    await chat.store.reconcile(["pager"])
    with pytest.raises(Conflict, match=r"chat is not configured: put it into relay\.yaml"):
        await again(chat, key)
    assert chat.row("SELECT count(*) AS n FROM deliveries")["n"] == 1


async def test_what_has_aged_out_cannot_be_replayed(chat: Bench) -> None:
    """Nor cancelled; and what is replayed in time stays until it was delivered."""
    keys = await dead(chat, 2)
    events = sorted(row["key"] for row in chat.rows("SELECT key FROM events"))
    chat.clock.advance(2 * HOUR / SECOND)
    await again(chat, keys[1])
    await chat.store.age_out(keep=HOUR, cursor=None, limit=10)
    assert [row["key"] for row in chat.rows("SELECT key FROM events")] == [events[1]]
    for gone in (again(chat, keys[0]), end(chat, keys[0]), again(chat, 12345)):
        with pytest.raises(NotFound):
            await gone
    with pytest.raises(NotFound):
        await anew(chat, events[0], "chat")
    [claim] = await chat.claim("chat")
    await chat.settle(claim)


async def test_what_is_pending_can_be_cancelled(chat: Bench) -> None:
    """It is not told, does not count as dead, and the chart has it once."""
    await chat.accept("chat")
    key = chat.row("SELECT key FROM deliveries")["key"]
    assert (await end(chat, key)).counts == {"chat": 1}
    row = delivery(chat, key)
    assert (row["state"], row["reason"], row["due_at"]) == ("cancelled", "cancelled", None)
    assert await chat.claim("chat") == []
    with pytest.raises(Conflict, match="it is cancelled already"):
        await end(chat, key)
    await chat.store.flush()
    where = "kind = 'deliveries' AND result = 'cancelled'"
    assert chat.row(f"SELECT count FROM minutes WHERE {where}")["count"] == 1  # noqa: S608
    made = await again(chat, key)  # somebody was too quick
    assert [claim.delivery for claim in await chat.claim("chat")] == list(made.keys)


@pytest.mark.parametrize("decision", [DELIVERED, AGAIN], ids=["delivered", "again"])
async def test_an_attempt_under_way_is_recorded_and_changes_nothing(
    chat: Bench, decision: object
) -> None:
    """What was cancelled meanwhile stays so, however the attempt ends."""
    await chat.accept("chat")
    [claim] = await chat.claim("chat")
    await end(chat, claim.delivery)
    settlement = await chat.settle(claim, decision)  # type: ignore[arg-type]
    assert chat.watch.fenced == [settlement]
    assert chat.row("SELECT state, attempts, token FROM deliveries") == {
        "state": "cancelled",
        "attempts": 1,
        "token": None,
    }
    assert chat.row("SELECT number, result FROM attempts") == {"number": 1, "result": "ok"}
    await chat.accept("chat")
    [other] = await chat.claim("chat")
    await end(chat, other.delivery)
    chat.store.release([other])
    await chat.store.flush()
    assert delivery(chat, other.delivery)["state"] == "cancelled"


async def test_one_of_a_group_can_be_cancelled(chat: Bench) -> None:
    """A follower is told of no more; without their leader the others are still told together."""
    quiet = Quiet(group="g", wait=60 * SECOND, most=10)
    for _ in range(4):
        await chat.accept("chat", quiet=quiet)
    leader, second, third, fourth = (
        row["key"] for row in chat.rows("SELECT key FROM deliveries ORDER BY key")
    )
    await end(chat, third)
    assert (await end(chat, leader)).freed == {"chat"}
    assert delivery(chat, second)["due_at"] is not None
    await chat.accept("chat", quiet=quiet)  # begins anew: its leader is another
    assert await chat.claim("chat") == []
    chat.clock.advance(61)
    claims = {claim.delivery: claim for claim in await chat.claim("chat")}
    [other] = claims[second].others
    last = delivery(chat, fourth)["event"]
    assert chat.row(f"SELECT key FROM events WHERE public_id = '{other.event}'")["key"] == last  # noqa: S608
    assert len(claims) == 2
    await chat.settle(claims[second])
    states = {row["key"]: row["state"] for row in chat.rows("SELECT key, state FROM deliveries")}
    assert [states[key] for key in (leader, second, third, fourth)] == [
        "cancelled",
        "delivered",
        "cancelled",
        "delivered",
    ]


async def test_a_leader_cancelled_under_way_leaves_the_others_due(chat: Bench) -> None:
    """Nobody knows what became of that attempt; they are told."""
    quiet = Quiet(group="g", wait=0, most=10)
    for _ in range(3):
        await chat.accept("chat", quiet=quiet)
    [claim] = await chat.claim("chat")
    assert len(claim.others) == 2
    await end(chat, claim.delivery)
    [heir] = await chat.claim("chat")
    assert len(heir.others) == 1
    await chat.settle(claim)
    await chat.settle(heir)
    found = chat.rows("SELECT state FROM deliveries ORDER BY key")
    assert [row["state"] for row in found] == ["cancelled", "delivered", "delivered"]


async def test_a_member_of_a_group_is_replayed_alone(chat: Bench) -> None:
    """Whatever it was told together with."""
    quiet = Quiet(group="g", wait=0, most=10)
    for _ in range(2):
        await chat.accept("chat", quiet=quiet)
    [claim] = await chat.claim("chat")
    await kill(chat, [claim])
    assert dead_count(chat) == 2
    follower = chat.row("SELECT key FROM deliveries WHERE leader <> key")["key"]
    await again(chat, follower)
    assert dead_count(chat) == 1
    [alone] = await chat.claim("chat")
    assert (alone.group, alone.others) == (None, ())


async def test_it_is_on_record_who_did_it(chat: Bench) -> None:
    """In the same transaction; what was refused leaves no line."""
    [key] = await dead(chat, 1)
    made = await again(chat, key)
    with pytest.raises(Conflict):
        await again(chat, key)
    await end(chat, made.keys[0])
    rows = chat.rows("SELECT who, action, target, detail FROM audit ORDER BY id")
    assert [(row["who"], row["action"], row["target"]) for row in rows] == [
        (WHO, "replay", f"delivery {key}"),
        (WHO, "cancel", f"delivery {made.keys[0]}"),
    ]
    assert json.loads(rows[0]["detail"]) == {
        "destination": "chat",
        "made": [str(made.keys[0])],
    }
