"""What an operator is told: once when it begins, once when it is over, whatever happens."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from circleci_relay.clock import ManualClock
from circleci_relay.config import Notify
from circleci_relay.console.alerting import Alerting
from circleci_relay.console.judging import STORE, Seen, judge
from circleci_relay.errors import StoreUnavailable
from circleci_relay.model import SECOND, Backlog
from circleci_relay.store.log.alerts import alerts_of
from circleci_relay.store.log.standings import Tries
from circleci_relay.store.repair import alerts as steps
from support.desk import Desk, loaded, read
from support.storing import opened, until_back

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from circleci_relay.config import Config
    from support.away import Trouble
    from support.storing import Bench, Open

MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
NOW = 1_772_442_900 * SECOND
BEGAN = "failing chat began"
ENDED = "failing chat ended"


@pytest.fixture
async def desk(bench: Bench, tmp_path: Path) -> Desk:
    """Tells the pager of what fails for five minutes."""
    return Desk(bench, await loaded(tmp_path, notify={"failing_for": "5m"}))


@pytest.fixture
async def small(sqlite_url: str, tmp_path: Path) -> AsyncIterator[Desk]:
    """The same, where the kind of store makes no difference."""
    async with opened(sqlite_url) as bench:
        yield Desk(bench, await loaded(tmp_path, notify={"failing_for": "5m"}))


async def test_a_destination_that_fails_is_told_of_once(desk: Desk) -> None:
    """Not before its time; not again while it goes on; once more when something gets through."""
    bench = desk.bench
    await desk.attempt("chat", ok=True)
    bench.clock.advance(60)
    await desk.attempt("chat")
    await desk.fail_for("chat", 5)
    assert desk.told() == []
    await desk.fail_for("chat", 1)
    await desk.fail_for("chat", 1)
    assert desk.told() == [BEGAN]

    event = bench.row(
        "SELECT * FROM events e JOIN bodies b ON b.event = e.key WHERE type = 'relay-alert'"
    )
    told = json.loads(bytes(event["body"]))
    [alert] = await bench.store.look(alerts_of)
    assert event["id"] == told["id"] == f"alert-failing-chat-{alert.since}-started"
    assert told["type"] == "relay-alert"
    assert told["happened_at"] == "2026-03-02T09:22:00Z"
    assert told["alert"] == {
        "rule": "failing",
        "subject": "chat",
        "state": "started",
        "since": "2026-03-02T09:16:00Z",
        "text": "Every attempt at chat has failed since about 2026-03-02 09:16 UTC",
        "link": None,
    }
    assert json.loads(event["history"])["good"] is False
    owed = "SELECT destination FROM deliveries WHERE event = {key}"
    assert bench.rows(owed.format(**event)) == [{"destination": "pager"}]

    await desk.attempt("chat", ok=True)
    await desk.look()
    await desk.look()
    assert desk.told() == [BEGAN, ENDED]
    history = bench.row("SELECT history FROM events WHERE id LIKE '%-ended'")["history"]
    assert json.loads(history)["good"] is True


async def test_what_fails_again_is_told_again(small: Desk) -> None:
    """Each time begins anew: a success, then as long as before."""
    for count in (1, 2):
        await small.fail_for("chat", 8)
        await small.attempt("chat", ok=True)
        await small.look()
        small.bench.clock.advance(60)
        assert small.told() == [BEGAN, ENDED] * count


async def test_nothing_left_to_try_ends_it_too(small: Desk) -> None:
    """Once what failed was given up, and nothing failed since for as long again."""
    await small.fail_for("chat", 8)
    small.bench.clock.advance(240)
    await small.look()
    assert small.told() == [BEGAN]
    small.bench.clock.advance(120)
    await small.look()
    assert small.told() == [BEGAN, ENDED]
    facts = small.bench.row("SELECT facts FROM events WHERE id LIKE '%-ended'")["facts"]
    assert json.loads(facts)["subject"] == "Nothing is left to try at chat"


async def test_what_an_operator_paused_is_not_told(small: Desk) -> None:
    """Neither that it fails, nor that it does not any more: nothing is attempted."""
    await small.bench.store.reconcile(["chat"])
    await small.fail_for("chat", 4)
    pause = "UPDATE destinations SET paused_at = {} WHERE name = 'chat'"
    small.bench.change(pause.format(small.bench.clock.now()))
    await small.fail_for("chat", 3)
    assert small.told() == []
    small.bench.change(pause.format("NULL"))
    await small.look()
    assert small.told() == [BEGAN]
    small.bench.change(pause.format(small.bench.clock.now()))
    small.bench.clock.advance(3600)
    await small.look()
    assert small.told() == [BEGAN]


async def test_dead_letters_until_none_is_left(desk: Desk) -> None:
    """More of them are no news; replayed ones do not count."""
    keys = [await desk.die("chat"), await desk.die("chat")]
    await desk.look()
    keys.append(await desk.die("chat"))
    await desk.look()
    assert desk.told() == ["dead_letters chat began"]
    for key in keys:
        await desk.look()
        desk.bench.change(f"UPDATE deliveries SET replayed_by = 1 WHERE key = {key}")  # noqa: S608
    assert len(desk.told()) == 1
    await desk.look()
    assert desk.told() == ["dead_letters chat began", "dead_letters chat ended"]


async def test_who_fails_is_not_told_so(small: Desk, tmp_path: Path) -> None:
    """The others are; without any it is still on record, and ends like any other."""
    desk, bench = small, small.bench
    desk.take_up(await loaded(tmp_path, to=["chat", "pager"], notify={"failing_for": "5m"}))
    await desk.fail_for("chat", 8)
    owed = (
        "SELECT destination FROM deliveries d JOIN events e ON e.key = d.event"
        " WHERE e.type = 'relay-alert'"
    )
    assert bench.rows(owed) == [{"destination": "pager"}]

    desk.take_up(await loaded(tmp_path, to="chat", notify={"failing_for": "5m"}))
    await desk.attempt("chat", ok=True)
    await desk.look()
    assert desk.told() == [BEGAN, ENDED]
    assert len(bench.rows(owed)) == 1


async def test_what_is_configured_no_more_ends_without_a_word(small: Desk, tmp_path: Path) -> None:
    """A destination that is gone, and `notify` itself; back again, it is told anew, later."""
    desk = small
    await desk.fail_for("chat", 8)
    full = desk.loaded
    for other in (
        await loaded(tmp_path, destinations={"pager": {"url": "https://p.example.com"}}, routes={}),
        await loaded(tmp_path, to=None),
    ):
        desk.take_up(other)
        await desk.look()
        [alert] = await desk.bench.store.look(alerts_of)
        assert alert.ended_at is not None
        desk.take_up(full)
        await desk.look()
        # Two replicas that disagree for a while must not take turns.
        assert desk.told() == [BEGAN]
    await desk.fail_for("chat", 11)
    assert desk.told() == [BEGAN, BEGAN]


async def test_a_process_that_died_on_the_way_is_made_up_for(
    open_bench: Open, tmp_path: Path
) -> None:
    """Before the event was stored, and between that and the row that says so: told once."""
    settings = await loaded(tmp_path)
    async with open_bench() as bench:
        await Desk(bench, settings).die("chat")
        begin = partial(
            steps.begin,
            rule="dead_letters",
            subject="chat",
            detail={"text": "1 delivery is dead at chat"},
            seen_at=bench.clock.now(),
        )
        assert await bench.store.do(begin)
        assert not await bench.store.do(begin)
    for _ in range(2):
        async with open_bench() as bench:
            desk = Desk(bench, settings)
            await desk.look()
            await desk.look()
            assert desk.told() == ["dead_letters chat began"]
            [alert] = await bench.store.look(alerts_of)
            assert alert.told
            bench.change("UPDATE alerts SET told = false")
    assert bench.row("SELECT duplicates FROM events WHERE type = 'relay-alert'") == {
        "duplicates": 1
    }


class Attentive(Alerting):
    """Says when the store took nothing."""

    def __init__(self, **works: Any) -> None:
        super().__init__(**works)
        self.postponed = asyncio.Event()

    async def evaluate(self) -> None:
        """Do as ever."""
        try:
            await super().evaluate()
        except StoreUnavailable:
            self.postponed.set()
            raise


async def test_what_cannot_be_told_now_is_told_later(
    bench: Bench, trouble: Trouble, tmp_path: Path
) -> None:
    """While nothing can be written the watch goes on; once it can, it tells."""
    desk = Desk(bench, await loaded(tmp_path))
    await desk.die("chat")
    await desk.upkeep.count()
    await trouble.begin(bench)
    with pytest.raises(StoreUnavailable):
        await desk.alerting.evaluate()
    attentive = Attentive(store=bench.store, clock=bench.clock, upkeep=desk.upkeep)
    attentive.configure(desk.loaded.config)
    watching = asyncio.ensure_future(attentive.watch())
    async with asyncio.timeout(10):
        await attentive.postponed.wait()
        await asyncio.sleep(0)
        assert not watching.done()
        watching.cancel()
        await trouble.end(bench)
        await until_back(bench)
    await desk.look()
    assert desk.told() == ["dead_letters chat began"]


async def test_two_replicas_tell_once(postgresql_url: str, tmp_path: Path) -> None:
    """However closely both look, and whichever is first to see it begin or end."""
    clock, settings = ManualClock(), await loaded(tmp_path)
    async with AsyncExitStack() as stack:
        benches = [
            await stack.enter_async_context(opened(postgresql_url, clock=clock)) for _ in range(2)
        ]
        desks = [Desk(bench, settings) for bench in benches]
        key = await desks[0].die("chat")
        for _ in range(5):
            await asyncio.gather(*(desk.look() for desk in desks))
        assert desks[0].told() == ["dead_letters chat began"]
        stale = await benches[1].store.look(alerts_of)
        clock.advance(5)
        benches[0].change(f"UPDATE deliveries SET replayed_by = 1 WHERE key = {key}")  # noqa: S608
        for _ in range(5):
            await asyncio.gather(*(desk.look() for desk in desks))
        assert desks[0].told() == ["dead_letters chat began", "dead_letters chat ended"]
        # One that looked before it ended, and slept since.
        step = partial(
            steps.begin, rule="dead_letters", subject="chat", detail={}, seen_at=stale[0].since
        )
        assert await benches[1].store.do(step) is None


async def test_a_source_that_is_busy_at_this_hour_and_silent(small: Desk) -> None:
    """It takes days that tell; the next event ends it."""
    desk, bench = small, small.bench

    async def come(count: int) -> None:
        await bench.store.do(lambda unit: unit.tally("events", "circleci", "accepted", count=count))

    for _ in range(4):
        await come(20)
        bench.clock.advance(2700)
        await come(20)
        await desk.look()
        bench.clock.advance(24 * 3600 - 2700)
    assert desk.told() == []
    bench.clock.advance(3600 + 180)
    await desk.look()
    assert desk.told() == ["silent circleci began"]
    facts = bench.row("SELECT facts FROM events WHERE type = 'relay-alert'")["facts"]
    assert json.loads(facts)["subject"].endswith("UTC, where about 40 events are usual")
    await come(1)
    await desk.look()
    await desk.look()
    assert desk.told() == ["silent circleci began", "silent circleci ended"]


# What is judged, by values alone


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """Of the destinations chat and pager."""
    return read(tmp_path_factory.mktemp("config")).config


def judged(config: Config, seen: Seen, **notify: Any) -> list[str]:
    """What is wrong by the rules of *notify*."""
    found = judge(config, Notify(to=("pager",), **notify), seen)
    return [f"{each.rule} {each.subject}" for each in found]


@pytest.mark.parametrize(
    ("usual", "expected"),
    [
        ([20, 20, 20], True),
        ([20, 20], False),
        ([20, 20, None, None, None, None, None], False),
        ([4, 4, 4, 4], False),
        ([20, 0, 0, 20, 0, 0, 20], False),
        ([20, 20, 20, 20, 20, 0, 0], False),
        ([0, 0, 20, 20, 20, 20, 20], True),
    ],
)
def test_what_is_usual(usual: list[float | None], *, expected: bool, config: Config) -> None:
    """Three known days, events on most, five on the average, and on the same day of the week."""
    seen = Seen(at=NOW, backlogs={}, size=0, filled=None, usual={"circleci": usual})
    assert judged(config, seen) == (["silent circleci"] if expected else [])


@pytest.mark.parametrize(
    ("filled", "size", "under_way", "expected"),
    [
        (0.899, 0, False, False),
        (0.901, 0, False, True),
        (0.86, 0, True, True),
        (0.84, 0, True, False),
        (None, 99 << 20, False, False),
        (None, 101 << 20, False, True),
        (None, 96 << 20, True, True),
        (None, 94 << 20, True, False),
    ],
)
def test_a_store_near_full(
    filled: float | None, size: int, *, under_way: bool, expected: bool, config: Config
) -> None:
    """By what it may fill and by its size; once told, it takes some room to end it."""
    seen = Seen(
        at=NOW,
        backlogs={},
        size=size,
        filled=filled,
        under_way={("store_full", STORE)} if under_way else (),
    )
    found = judged(config, seen, store_size="100MiB", silent_for=None)
    assert found == (["store_full store"] if expected else [])


@pytest.mark.parametrize(
    ("failed", "oldest", "expected"),
    [
        ([], None, False),
        ([4], None, False),  # too short ago
        ([20, 18, 16], None, False),  # over, and nothing waits
        ([20, 18, 16], 30, True),  # over, and what failed waits
        ([20, 18, 16], 1, False),  # what waits came after
        ([20, 10, 3], 30, True),
        ([60, 3], 30, False),  # two matters
        ([20, 1], None, True),  # each was given up, and all were
    ],
)
def test_what_counts_as_failing(
    failed: list[int], oldest: int | None, *, expected: bool, config: Config
) -> None:
    """Minutes ago of failures, none having succeeded, and since when the oldest waits."""
    backlog = Backlog(pending=1, oldest=oldest and NOW - oldest * MINUTE, dead=0)
    seen = Seen(
        at=NOW,
        backlogs={} if oldest is None else {"chat": backlog},
        size=0,
        filled=None,
        tries={"chat": Tries(failed=[NOW - each * MINUTE for each in failed])},
    )
    found = judged(config, seen, failing_for="5m", silent_for=None)
    assert found == (["failing chat"] if expected else [])
