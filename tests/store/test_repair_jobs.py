"""Bulk replays and cancellations: what they select, how they go, how they end."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from circleci_relay.errors import Conflict, NotFound
from circleci_relay.model import SECOND, Quiet, Result
from circleci_relay.store.log import jobs as job_log
from circleci_relay.store.repair import jobs, replay
from circleci_relay.store.repair.preview import Count, Preview
from circleci_relay.store.repair.selection import Selection
from support.repairing import (
    AGAIN,
    WHO,
    dead,
    dead_count,
    delivery,
    do,
    kill,
    nowhere,
    start,
    step,
    to_the_end,
)
from support.storing import SQLITE

if TYPE_CHECKING:
    from collections.abc import Callable

    from circleci_relay.store.log.jobs import Job
    from circleci_relay.store.log.period import Stored
    from support.storing import Bench, Open


@pytest.fixture
async def both(bench: Bench) -> Bench:
    """A store where `chat` and `pager` are configured."""
    await bench.store.reconcile(["chat", "pager"])
    return bench


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps and windows so small that a few rows take several."""
    monkeypatch.setattr("circleci_relay.store.repair.jobs.STEP", 3)
    monkeypatch.setattr("circleci_relay.store.repair.jobs.EVENTS", 2)
    monkeypatch.setattr("circleci_relay.store.repair.selection.WINDOW", 4)
    monkeypatch.setattr("circleci_relay.store.repair.selection.GRAVES", 4)
    monkeypatch.setattr("circleci_relay.store.repair.preview._PAGE", 3)


async def job(bench: Bench, name: str) -> Job:
    """One job as it stands."""
    found = await bench.store.look(lambda connection: job_log.job_of(connection, name))
    assert found is not None
    return found


async def counted(
    bench: Bench,
    select: Selection,
    kind: str = "replay",
    choose: Callable[[Stored], tuple[str, ...]] = nowhere,
    **more: Any,
) -> Count:
    """Count in a dry run, a window at each look."""
    preview = Preview(
        kind=kind,
        request={"select": select.as_json(), **more},
        configured={"chat", "pager"},
        choose=choose,
        now=bench.clock.now(),
    )
    count = Count()
    while not count.done:
        await bench.store.look(lambda connection: preview.go_on(connection, count, lambda: True))
    return count


def made_by(bench: Bench, name: str) -> list[dict[str, Any]]:
    """What a job made."""
    sql = f"SELECT * FROM deliveries WHERE job = '{name}' ORDER BY key"  # noqa: S608
    return bench.rows(sql)


async def test_all_that_is_dead_is_replayed_once(both: Bench) -> None:
    """At each destination; what was counted before is what is made; again, there is nothing."""
    keys = [*await dead(both, 7), *await dead(both, 2, "pager")]
    before = await counted(both, Selection(state="dead"))
    assert (before.count, before.by_destination) == (9, {"chat": 7, "pager": 2})
    assert before.examples == keys[:5]
    name = await start(both.store)
    steps = await to_the_end(both.store)
    assert {to for each in steps for to in each.woken} == {"chat", "pager"}
    made = made_by(both, name)
    assert sorted(row["replay_of"] for row in made) == sorted(keys)
    assert dead_count(both) == 0
    found = await job(both, name)
    assert (found.state, found.made, found.skipped, found.progress) == ("done", 9, 0, 1.0)
    assert found.states == {"pending": 9}
    assert found.finished_at == both.clock.now()
    assert (await counted(both, Selection(state="dead"))).count == 0
    assert await both.store.look(lambda c: job_log.jobs_of(c, state="done", before=None, limit=2))
    await start(both.store, key="another")
    await to_the_end(both.store)
    assert both.row("SELECT count(*) AS n FROM deliveries")["n"] == 18


SELECTED = [
    (Selection(destination="pager"), {"pager"}),
    (Selection(error="http 50"), {"chat", "pager"}),
    (Selection(error="100%"), set()),
    (Selection(status=502), {"pager"}),
    (Selection(result="timeout"), set()),
    (Selection(reason="max_attempts"), {"chat", "pager"}),
    (Selection(reason="superseded"), set()),
    (Selection(source="circleci", type="workflow-completed"), {"chat", "pager"}),
    (Selection(source="other"), set()),
    (Selection(branch="main"), {"chat", "pager"}),
    (Selection(branch="other"), set()),
    (Selection(project="acme"), set()),
    (Selection(state="delivered"), {"done"}),
    (Selection(state="delivered", destination="pager"), set()),
    (Selection(state="pending"), {"waits"}),
    (Selection(since=0, until=1), set()),
    (Selection(since=1), {"chat", "pager"}),
]


async def test_what_is_selected(both: Bench) -> None:
    """By what is known of a delivery and its event; dead ones unless said otherwise."""
    keys = {"chat": (await dead(both, 1))[0]}
    await both.accept("pager", "chat")
    await kill(both, await both.claim("pager"), status=502)
    keys["pager"] = both.row("SELECT key FROM deliveries WHERE last_status = 502")["key"]
    [done] = await both.claim("chat")
    await both.settle(done)
    keys["done"] = done.delivery
    await both.accept("chat")
    keys["waits"] = both.row("SELECT key FROM deliveries WHERE state = 'pending'")["key"]
    for select, wanted in SELECTED:
        count = await counted(both, select, "cancel")  # counts all that is selected
        assert set(count.examples) == {keys[name] for name in wanted}, select
    named = Selection(deliveries=tuple(sorted(keys.values())))
    assert set((await counted(both, named, "cancel")).examples) == set(keys.values())
    assert set((await counted(both, named)).examples) == {*keys.values()} - {keys["waits"]}
    assert Selection().empty


async def test_what_came_later_is_none_of_it(both: Bench) -> None:
    """Whatever dies or is made once the job is there, its own replays among it."""
    await dead(both, 4)
    await both.accept("chat")
    name = await start(both.store)
    await step(both.store)
    both.clock.advance(1)
    await kill(both, await both.claim("chat"))
    await dead(both, 2)
    await to_the_end(both.store)
    assert len(made_by(both, name)) == 4
    assert dead_count(both) == 6


async def test_delivered_ones_are_replayed_where_that_is_asked_for(both: Bench) -> None:
    """Each event once at each destination, though a replay of it is selected as well."""
    for _ in range(3):
        await both.accept("chat")
    for claim in await both.claim("chat"):
        await both.settle(claim)
        await do(both.store, partial(_again, claim.delivery))
    for claim in await both.claim("chat"):
        await both.settle(claim)
    name = await start(both.store, Selection(state="delivered"))
    done = []
    while (each := await step(both.store)) is not None:
        done.append(each)
        for claim in await both.claim("chat"):
            await both.settle(claim)
    assert len(done) > 1
    found = await job(both, name)
    assert (found.made, found.skipped) == (3, 3)
    assert found.states == {"delivered": 3}


def _again(key: int, unit: Any) -> replay.Replayed:
    return replay.replay_delivery(unit, key, new_id=False, again=True, who=WHO)


async def test_what_cannot_be_replayed_is_skipped(both: Bench) -> None:
    """A destination that is gone, and what is pending; the rest goes on."""
    [gone] = await dead(both, 1, "pager")
    first, second = await dead(both, 2)
    await do(both.store, partial(_again, first))
    await both.store.reconcile(["chat"])
    named = Selection(deliveries=(gone, first, second))
    name = await start(both.store, named)
    await to_the_end(both.store)
    found = await job(both, name)
    assert (found.made, found.skipped) == (1, 2)
    assert made_by(both, name)[0]["replay_of"] == second


async def test_one_replay_answers_for_all_that_died_there(both: Bench) -> None:
    """Of one event at one destination."""
    [key] = await dead(both, 1)
    await do(both.store, partial(_again, key))
    await do(both.store, partial(_again, key))
    await kill(both, await both.claim("chat"))
    assert dead_count(both) == 2
    name = await start(both.store)
    await to_the_end(both.store)
    assert len(made_by(both, name)) == 1
    assert dead_count(both) == 0


async def test_a_rate_is_kept(both: Bench) -> None:
    """So many a second, however fast steps could follow each other."""
    await dead(both, 5)
    name = await start(both.store, rate=8.0)
    for wanted in (2, 4, 5):
        assert await step(both.store) is not None
        assert len(made_by(both, name)) == wanted
        assert await step(both.store) is None
        both.clock.advance(0.124)
        assert await step(both.store) is None
        both.clock.advance(0.126)
    slow = await start(both.store, Selection(state="delivered"), rate=0.5)
    await to_the_end(both.store)
    assert (await job(both, slow)).state == "done"


async def test_what_comes_new_waits_behind_few(
    both: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So many at once, and no more until lanes have begun with them; unless they never do."""
    monkeypatch.setattr(jobs, "STEP", 10)
    monkeypatch.setattr(jobs, "ROOM", 20)
    count = 35
    await dead(both, count)
    name = await start(both.store)
    await to_the_end(both.store)
    first = len(made_by(both, name))
    assert jobs.ROOM <= first < jobs.ROOM + jobs.STEP
    for claim in await both.claim("chat", limit=10):
        await both.settle(claim)
    both.clock.advance(1)
    await to_the_end(both.store)
    assert first < len(made_by(both, name)) < count
    both.clock.advance(jobs.STUCK / SECOND)
    await to_the_end(both.store)
    assert len(made_by(both, name)) == count


async def test_running_it_twice_is_caught(both: Bench) -> None:
    """The same key is the same job; another request under it, or the same at once, is refused."""
    await dead(both, 4)
    name = await start(both.store, key="the-first")
    assert await start(both.store, key="the-first") == name
    with pytest.raises(Conflict, match=f"used for another request: job {name}"):
        await start(both.store, Selection(state="dead", destination="chat"), key="the-first")
    with pytest.raises(Conflict, match=f"under way as job {name}"):
        await start(both.store, key="another")
    await to_the_end(both.store)
    assert await start(both.store, key="the-first") == name
    assert await to_the_end(both.store) == []
    assert both.rows("SELECT action, target, who FROM audit") == [
        {"action": "replay", "target": f"job {name}", "who": WHO}
    ]


async def test_a_job_can_be_cancelled(both: Bench) -> None:
    """What nobody attempted yet is taken back, and counts as dead again; the rest goes on."""
    await dead(both, 9)
    name = await start(both.store)
    await step(both.store)
    await step(both.store)
    [begun] = await both.claim("chat", limit=1)
    [failed] = await both.claim("chat", limit=1)
    await both.settle(failed, AGAIN, result=Result.TIMEOUT)
    await do(both.store, partial(jobs.cancel_job, job=name, who="other"))
    assert (await job(both, name)).state == "cancelled"
    steps = await to_the_end(both.store)
    assert sum(sum(each.cancelled.values()) for each in steps) == 4
    found = await job(both, name)
    assert (found.state, found.ended_by, found.made) == ("cancelled", "other", 6)
    assert found.states == {"pending": 2, "cancelled": 4}
    assert found.finished_at is None  # one is in hand, and may come back
    both.store.release([begun])
    both.clock.advance(1)
    [last] = await to_the_end(both.store)
    assert (last.finished, last.cancelled) == (True, {"chat": 1})
    assert (await job(both, name)).states == {"pending": 1, "cancelled": 5}
    assert dead_count(both) == 8
    with pytest.raises(Conflict, match="is cancelled already"):
        await do(both.store, partial(jobs.cancel_job, job=name, who=WHO))
    with pytest.raises(NotFound):
        await do(both.store, partial(jobs.cancel_job, job="other", who=WHO))
    assert await step(both.store) is None


async def test_cancelling_many(both: Bench) -> None:
    """All that is pending and selected, whatever it waits for; and nothing that came later."""
    for _ in range(3):
        await both.accept("chat", "pager")
    await both.accept("chat", quiet=Quiet(once="run", wait=60 * SECOND))
    [begun] = await both.claim("chat", limit=1)
    select = Selection(state="pending", destination="chat")
    assert (await counted(both, select, "cancel")).by_destination == {"chat": 4}
    name = await start(both.store, select, kind="cancel")
    both.clock.advance(1)
    await both.accept("chat")
    steps = await to_the_end(both.store)
    assert sum(each.cancelled["chat"] for each in steps if each.cancelled) == 4
    found = await job(both, name)
    assert (found.state, found.made) == ("done", 4)
    backlog = await both.store.backlog()
    assert (backlog["chat"].pending, backlog["pager"].pending) == (1, 3)
    await both.settle(begun)
    assert delivery(both, begun.delivery)["state"] == "cancelled"


async def test_through_the_routes_as_they_are_now(both: Bench) -> None:
    """Where an event neither was delivered nor is pending; what is dead there is answered for."""
    for _ in range(3):
        await both.accept("chat")
    claims = await both.claim("chat")
    await both.settle(claims[0])
    await kill(both, claims[1:2])

    def choose(event: Stored) -> tuple[str, ...]:
        assert event.body == b"{}"
        return ("chat", "pager", "gone")

    select = Selection(since=1)
    count = await counted(both, select, routes="now", choose=choose)
    assert count.by_destination == {"chat": 1, "pager": 3}
    name = await start(both.store, select, routes="now")
    await to_the_end(both.store, choose)
    made = made_by(both, name)
    assert sorted(row["destination"] for row in made) == ["chat", "pager", "pager", "pager"]
    assert dead_count(both) == 0
    found = await job(both, name)
    assert (found.made, found.skipped, found.looked) == (4, 5, 3)
    only = await start(both.store, Selection(state="delivered"), routes="now", to=["chat"])
    await to_the_end(both.store, choose)
    assert (await job(both, only)).made == 0


async def test_what_was_needless_stays_so(both: Bench) -> None:
    """Superseded counts as told, through the routes as they are now too, unless asked for."""
    for _ in range(2):
        await both.accept("chat", quiet=Quiet(once="run", wait=60 * SECOND))

    def choose(_: Stored) -> tuple[str, ...]:
        return ("chat",)

    assert (await counted(both, Selection(since=1), routes="now", choose=choose)).count == 0
    select = Selection(reason="superseded")
    assert (await counted(both, select, routes="now", choose=choose)).count == 1
    assert (await counted(both, select)).count == 1


async def test_a_fault_ends_the_job_and_nothing_else(both: Bench) -> None:
    """What shares the transaction with it is stored all the same."""
    await both.accept("chat")

    def choose(_: Stored) -> tuple[str, ...]:
        raise ZeroDivisionError

    name = await start(both.store, Selection(since=1), routes="now")
    stepped, accepted = await asyncio.gather(step(both.store, choose), both.accept("chat"))
    assert stepped is not None
    assert isinstance(stepped.fault, ZeroDivisionError)
    found = await job(both, name)
    assert found.state == "failed"
    assert found.error == "a fault in the relay, which its log tells of: ZeroDivisionError"
    assert both.rows(f"SELECT 1 FROM events WHERE public_id = '{accepted.event}'")  # noqa: S608
    assert await step(both.store, choose) is None
    await both.accept("chat")


async def test_what_the_database_refuses_ends_the_job_alone(both: Bench) -> None:
    """Such as a row that somebody wrote by hand; SQLite takes anything."""
    name = await start(both.store)
    both.change("""UPDATE jobs SET request = '{"select": {"status": "x"}}'""")
    stepped, accepted = await asyncio.gather(step(both.store), both.accept("chat"))
    assert stepped is not None
    state = "done" if both.url.startswith(SQLITE) else "failed"
    assert (await job(both, name)).state == state
    assert both.row("SELECT public_id FROM events")["public_id"] == accepted.event


async def test_jobs_survive_a_crash(open_bench: Open) -> None:
    """In the middle of it: the next process goes on where the last commit was."""
    async with open_bench() as bench:
        await bench.store.reconcile(["chat"])
        await dead(bench, 7)
        name = await start(bench.store)
        await step(bench.store)
    async with open_bench() as bench:
        await bench.store.reconcile(["chat"])
        await to_the_end(bench.store)
        assert len(made_by(bench, name)) == 7
        assert dead_count(bench) == 0
