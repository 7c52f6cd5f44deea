"""What is counted for charts: by the minute, by the quarter of an hour, and how long it took."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from circleci_relay.clock import ManualClock
from circleci_relay.model import SECOND, Result
from circleci_relay.store import forget, took
from support.storing import opened

if TYPE_CHECKING:
    from circleci_relay.model import Micros
    from circleci_relay.store.unit import Unit
    from support.storing import Bench

DAY = 24 * 3600


async def test_minutes_and_quarters_count_the_same(bench: Bench) -> None:
    """Whatever is counted stands in both, with how long attempts took, over many commits."""
    for number in range(16):
        await bench.accept("chat")
        [claim] = await bench.claim("chat")
        await bench.settle(claim, duration=4000 * number)
        bench.clock.advance(60)
    await bench.store.flush()

    whole = "SELECT kind, name, result, sum(count) AS n, sum(sum_duration) AS spent FROM {}"
    by = " GROUP BY kind, name, result ORDER BY kind, name, result"
    minutes = bench.rows(whole.format("minutes") + by)
    assert bench.rows(whole.format("quarters") + by) == minutes
    assert {(row["kind"], row["result"]): row["n"] for row in minutes if row["kind"] != "took"} == {
        ("events", "accepted"): 16,
        ("attempts", "ok"): 16,
        ("deliveries", "delivered"): 16,
    }
    assert sum(row["n"] for row in minutes if row["kind"] == "took") == 16
    count = "SELECT count(DISTINCT {}) AS n FROM {}"
    assert bench.row(count.format("minute", "minutes")) == {"n": 16}
    assert bench.row(count.format("quarter", "quarters"))["n"] == 2


async def test_replicas_add_up(postgresql_url: str) -> None:
    """Two that count the same things at once neither wait for each other nor lose any."""
    clock = ManualClock()
    async with AsyncExitStack() as stack:
        pair = [
            await stack.enter_async_context(opened(postgresql_url, clock=clock)) for _ in range(2)
        ]

        def tally(names: list[str], unit: Unit) -> None:
            for name in names:
                unit.tally("attempts", name, "ok")

        async def count(bench: Bench, names: list[str]) -> None:
            for _ in range(10):
                await bench.store.do(partial(tally, names))
                clock.advance(1)
                await bench.store.flush()

        names = [f"to-{number}" for number in range(8)]
        await asyncio.gather(count(pair[0], names), count(pair[1], names[::-1]))
        for table in ("minutes", "quarters"):
            found = pair[0].rows(f"SELECT name, sum(count) AS n FROM {table} GROUP BY name")  # noqa: S608
            assert {row["name"]: row["n"] for row in found} == dict.fromkeys(names, 20)


async def test_what_people_look_at_goes_in_steps(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Minutes after two days, quarters with the events, the audit log later, bit by bit."""
    monkeypatch.setattr(forget, "STEP", 10)
    now = bench.clock.now()
    days = [now - day * DAY * SECOND for day in range(100)]
    for table, row in (
        ("minutes", "({minute}, 'events', 'circleci', 'accepted', 1, 0)"),
        ("quarters", "({quarter}, 'events', 'circleci', 'accepted', 1, 0)"),
        ("audit", "('{at:026d}', {at}, 'who', 'what', 'of', '{{}}')"),
    ):
        rows = [
            row.format(at=at, minute=at // (60 * SECOND), quarter=at // (900 * SECOND))
            for at in days
        ]
        bench.change(f"INSERT INTO {table} VALUES {', '.join(rows)}")  # noqa: S608
    bench.change(
        "INSERT INTO jobs (id, kind, state, request, created_at, created_by, ceiling, next_at,"
        " finished_at) VALUES ('old', 'replay', 'done', '{}', 0, 'a', 0, 0, 1),"
        " ('new', 'replay', 'running', '{}', 0, 'a', 0, 0, NULL)"
    )
    bench.change(
        f"INSERT INTO alerts VALUES ('silent', 'a', 0, '{{}}', true, {now - DAY * SECOND - 1}),"  # noqa: S608
        f" ('silent', 'b', 0, '{{}}', true, {now}), ('silent', 'c', 0, '{{}}', true, NULL)"
    )
    steps = 0
    cursor = None
    while True:
        aged = await bench.store.age_out(keep=14 * DAY * SECOND, cursor=cursor, limit=100)
        steps += 1
        if (cursor := aged.cursor) is None:
            break
    assert 9 <= steps <= 11
    left = {
        table: bench.row(f"SELECT count(*) AS n FROM {table}")["n"]  # noqa: S608
        for table in ("minutes", "quarters", "audit", "jobs", "alerts")
    }
    assert left == {"minutes": 3, "quarters": 15, "audit": 91, "jobs": 1, "alerts": 2}


@given(st.lists(st.integers(1_000, 200_000_000), min_size=1, max_size=50), st.floats(0.01, 1))
def test_quantiles_are_about_right(durations: list[Micros], share: float) -> None:
    """Within the bucket of the duration that is meant."""
    counts: dict[str, int] = {}
    for duration in durations:
        name = took.bucket(duration)
        counts[name] = counts.get(name, 0) + 1
    exact = sorted(durations)[max(0, -int(-share * len(durations) // 1) - 1)] / SECOND
    found = took.quantile(counts, share)
    assert found is not None
    assert exact / 1.51 <= found <= exact * 1.51


def test_quantiles_of_the_ends() -> None:
    """Nothing has none; what is shorter or longer than any bucket falls into the last."""
    assert took.quantile({}, 0.5) is None
    assert took.bucket(0) == took.bucket(1000) == "000"
    assert took.bucket(10**12) == took.NAMES[-1]
    assert (took.quantile({took.NAMES[-1]: 1}, 0.5) or 0) > 200
    assert took.quantile({"000": 10, "012": 10}, 0.95) == pytest.approx(0.13, rel=0.25)


async def test_an_attempt_that_is_lost_took_no_time(bench: Bench) -> None:
    """Nobody knows how long it was: it counts as an attempt, and in no quantile."""
    await bench.accept("chat")
    await bench.claim("chat")
    bench.clock.advance(60)
    [claim] = await bench.claim("chat")
    await bench.settle(claim, result=Result.OK, duration=SECOND)
    await bench.store.flush()
    rows = bench.rows("SELECT kind, sum(count) AS n FROM minutes GROUP BY kind ORDER BY kind")
    assert rows == [
        {"kind": "attempts", "n": 2},
        {"kind": "deliveries", "n": 1},
        {"kind": "events", "n": 1},
        {"kind": "took", "n": 1},
    ]
