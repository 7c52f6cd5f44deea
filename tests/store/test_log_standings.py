"""Reading off counts how things stand."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from circleci_relay.model import SECOND
from circleci_relay.store.log import charts, standings
from circleci_relay.store.log.ways import route_targets, ways
from support.storing import SQLITE

if TYPE_CHECKING:
    from collections.abc import Callable

    from circleci_relay.model import Micros
    from circleci_relay.store.log.ways import Way
    from circleci_relay.store.unit import Unit
    from support.storing import Bench, Open

T = TypeVar("T")

MINUTE = 60 * SECOND
HOUR = 60 * MINUTE


async def count(bench: Bench, *what: tuple[str, str, str, int]) -> None:
    """Count kinds, names and results at this instant."""

    def tally(unit: Unit) -> None:
        for kind, name, result, number in what:
            unit.tally(kind, name, result, count=number)

    await bench.store.do(tally)
    await bench.store.flush()


async def ask(bench: Bench, read: Callable[..., T], *given: Any, **named: Any) -> T:
    """What *read* says at this instant."""
    now = bench.clock.now()
    return await bench.store.look(lambda connection: read(connection, *given, now=now, **named))


async def test_a_chart_has_a_step_for_each_time_and_zeros_for_gaps(bench: Bench) -> None:
    """All names together, by result; the last step is the one under way."""
    await count(bench, ("events", "one", "accepted", 9))
    bench.clock.advance(30 * 60)
    await count(bench, ("events", "one", "accepted", 3), ("events", "two", "accepted", 4))
    bench.clock.advance(31 * 60)
    await count(bench, ("events", "one", "duplicate", 1), ("deliveries", "chat", "dead", 2))
    bench.clock.advance(59)

    kinds = ("events", "deliveries")
    hour = await ask(bench, charts.chart, charts.HOUR, kinds=kinds)
    assert hour["events"].begins == (bench.clock.now() // MINUTE - 59) * MINUTE
    assert hour["events"].step == MINUTE
    assert {name: sum(series) for name, series in hour["events"].series.items()} == {
        "accepted": 7,
        "duplicate": 1,
    }
    assert [hour["events"].series["accepted"].index(7), len(hour["events"].series["accepted"])] == [
        28,
        60,
    ]
    assert hour["events"].series["duplicate"][59] == 1
    assert hour["deliveries"].series == {"dead": [0] * 59 + [2]}

    for scale, steps in ((charts.DAY, 96), (charts.WEEK, 168)):
        wide = (await ask(bench, charts.chart, scale, kinds=kinds))["events"]
        assert wide.begins % wide.step == 0
        assert wide.begins + wide.step * steps > bench.clock.now() >= wide.begins
        assert sum(wide.series["accepted"]) == 16
        assert len(wide.series["accepted"]) == steps
    assert max(wide.series["accepted"]) >= 9


async def test_how_a_destination_does(bench: Bench) -> None:
    """Over the hour and the day, in numbers and five minutes a step."""
    old = [("attempts", "chat", "timeout", 2), ("deliveries", "chat", "dead", 1)]
    await count(bench, *old, ("took", "chat", "020", 2))
    bench.clock.advance(2 * 3600)
    await count(
        bench,
        ("attempts", "chat", "ok", 6),
        ("deliveries", "chat", "delivered", 6),
        ("took", "chat", "012", 6),
    )
    bench.clock.advance(10 * 60)
    await count(bench, ("attempts", "chat", "server_error", 2), ("attempts", "mail", "lost", 1))

    found = await ask(bench, standings.doings)
    chat = found["chat"]
    assert (chat.hour.attempts, chat.hour.delivered, chat.hour.dead) == (8, 6, 0)
    assert (chat.day.attempts, chat.day.delivered, chat.day.dead) == (10, 6, 1)
    assert chat.hour.success_rate == pytest.approx(6 / 8)
    assert chat.day.success_rate == pytest.approx(6 / 10)
    assert chat.hour.p95 == pytest.approx(0.13, rel=0.2)
    assert chat.day.p95 == pytest.approx(3.0, rel=0.3)
    assert list(chat.spark) == [0] * 9 + [6, 0, 0]
    assert list(chat.spark_failed) == [0] * 11 + [2]
    assert chat.failing
    assert found["mail"].hour.success_rate == 0
    assert found["mail"].hour.p50 is None


async def test_since_when_nothing_succeeds(bench: Bench) -> None:
    """The failures since the last success; a minute with both is one of success."""
    now = bench.clock.now() // MINUTE * MINUTE
    await count(bench, ("attempts", "chat", "timeout", 1))
    bench.clock.advance(60)
    await count(bench, ("attempts", "chat", "ok", 1), ("attempts", "chat", "timeout", 1))
    for _ in range(2):
        bench.clock.advance(120)
        await count(bench, ("attempts", "chat", "tls", 1), ("attempts", "mail", "ok", 1))

    def minutes(*numbers: int) -> list[Micros]:
        return [now + number * MINUTE for number in numbers]

    for back, ok in ((HOUR, now + MINUTE), (3 * MINUTE, None)):
        found = await ask(bench, standings.tries, back=back)
        assert (found["chat"].ok, found["chat"].failed) == (ok, minutes(3, 5))
        assert found["mail"].failed == []
    quarters = (await ask(bench, standings.tries, back=72 * HOUR))["chat"]
    assert quarters.step == 15 * MINUTE
    assert quarters.ok == now // (15 * MINUTE) * 15 * MINUTE


async def test_what_usually_comes_at_this_hour(bench: Bench) -> None:
    """The same time on the days before, as far as counts go back; rejects are no events."""
    for number in (10, 0, 30):
        await count(
            bench,
            ("events", "circleci", "accepted", number),
            ("events", "circleci", "rejected", 99),
        )
        bench.clock.advance(24 * 3600)
    usual = partial(standings.usual, source="circleci", days=7)
    assert bench.clock.now() % (15 * MINUTE) == 0
    bench.clock.advance(3600 - 450)
    found = await ask(bench, usual, span=3150 * SECOND)
    assert found == [30, 0, 10, None, None, None, None]
    # From the middle of that quarter of an hour on: half of it counts.
    found = await ask(bench, usual, span=2700 * SECOND)
    assert found[:3] == [15, 0, 5]
    arrivals = await ask(bench, standings.arrivals, back=30 * HOUR)
    assert arrivals == {"circleci": bench.clock.now() - 24 * HOUR - HOUR + 450 * SECOND}


async def test_what_came_and_went_nowhere(bench: Bench) -> None:
    """Counted over whole quarters, and the newest that is not the relay's own."""
    for to in ((), ("chat",), ()):
        await bench.accept(*to)
    at = bench.clock.now()
    bench.clock.advance(1200)
    await bench.accept()
    bench.change("UPDATE events SET source = 'relay' WHERE key = 3")
    await bench.store.flush()
    assert await ask(bench, standings.came, back=HOUR) == standings.Came(events=4, unmatched=3)
    look = bench.store.look
    last = await look(standings.last_event)
    assert last == at + 1200 * SECOND
    bench.change(f"UPDATE events SET source = 'relay' WHERE received_at > {at}")  # noqa: S608
    assert await look(standings.last_event) == at


async def test_which_way_events_went(bench: Bench) -> None:
    """A part at a time, none twice and none left out, and where routes led then."""
    await bench.store.record_config("first", {"routes": {"all": {"to": ["chat", "mail"]}}})
    for number in range(7):
        await bench.accept(*(["chat"] if number % 2 else []))
        if number % 3 == 0:
            bench.clock.advance(1)
    found: list[Way] = []
    before = None
    while True:
        part = await bench.store.look(partial(ways, since=0, before=before, limit=2))
        assert sum(way.count for way in part.counts) <= 2
        found += part.counts
        if (before := part.until) is None:
            break
    assert {way.digest for way in found} == {"first"}
    assert sum(way.count for way in found if way.routes == ("all",)) == 3
    assert sum(way.count for way in found if way.routes == ()) == 4
    assert await bench.store.look(partial(route_targets, digests=["first", "gone"])) == {
        "first": {"all": ("chat", "mail")}
    }
    assert await bench.store.look(partial(route_targets, digests=[])) == {}


async def test_how_full_it_is(open_bench: Open, url: str) -> None:
    """Of a file, the most of what it may grow to and what its disk holds; else nobody knows."""
    options = "?max_page_count=1000" if url.startswith(SQLITE) else ""
    async with open_bench(options) as bench:
        if not options:
            assert await bench.store.look(standings.filled) is None
            return
        before = await bench.store.look(standings.filled)
        bench.change("CREATE TABLE filler AS SELECT zeroblob(3800000) AS x")
        filled = await bench.store.look(standings.filled)
        assert before is not None
        assert filled is not None
        assert 0 < before < 1
        assert filled > 0.93
