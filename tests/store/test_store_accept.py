"""Taking events in: once per id, compared with their line, routed, handed on."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from circleci_relay.errors import StoreError, StoreUnavailable
from circleci_relay.model import SECOND, Change, Choice
from circleci_relay.store.query import HotAnyOf
from support.storing import FOREVER, MAIN

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    import sqlalchemy as sa

    from support.storing import Bench


async def test_an_event_is_stored_with_a_delivery_for_each_destination(bench: Bench) -> None:
    """What a 202 promises: the bytes, the facts, the routes, and who is owed a copy."""
    body = b'{"id": "\xf0\x9f\x9a\x80 \x00"}'
    accepted = await bench.accept("chat", "warehouse", body=body)

    assert not accepted.duplicate
    assert accepted.choice == Choice(routes=("all",), destinations=("chat", "warehouse"))
    event = bench.row("SELECT * FROM events")
    assert event["public_id"] == accepted.event
    assert json.loads(event["facts"]) == {"type": "workflow-completed", "branch": "main"}
    assert json.loads(event["routes"]) == ["all"]
    assert event["deliveries"] == 2
    assert bench.row("SELECT * FROM bodies")["body"] == body
    found = bench.rows("SELECT * FROM deliveries ORDER BY key")
    assert [row["destination"] for row in found] == ["chat", "warehouse"]
    assert {row["state"] for row in found} == {"pending"}
    assert bench.lanes.woken == {"chat": 1, "warehouse": 1}


async def test_an_unmatched_event_is_stored_all_the_same(bench: Bench) -> None:
    """Nothing disappears: an event nobody wants can still be found."""
    await bench.accept()
    assert bench.row("SELECT deliveries FROM events WHERE deliveries = 0") == {"deliveries": 0}
    assert bench.rows("SELECT * FROM deliveries") == []


async def test_a_second_arrival_is_counted_and_delivered_no_second_time(bench: Bench) -> None:
    """The same id at the same source is a duplicate, and says whose."""
    first = await bench.accept("chat", id="same")
    bench.clock.advance(5)
    second = await bench.accept("chat", id="same")
    third = await bench.accept("chat", id="same", body=b"[]")

    assert (second.event, second.duplicate, second.conflict) == (first.event, True, False)
    assert (third.event, third.duplicate, third.conflict) == (first.event, True, True)
    row = bench.row("SELECT * FROM events")
    assert (row["duplicates"], row["conflicts"]) == (2, 1)
    assert row["first_duplicate_at"] == row["last_duplicate_at"] == bench.clock.now()
    assert bench.row("SELECT body FROM bodies") == {"body": b"{}"}
    assert len(bench.rows("SELECT * FROM deliveries")) == 1


async def test_the_same_id_at_another_source_is_another_event(bench: Bench) -> None:
    """Ids are CircleCI's, and sources have nothing to do with each other."""
    intake = bench.intake("chat", id="same")
    other = bench.intake("chat", id="same")
    other = replace(other, event=replace(other.event, source="elsewhere"))
    answers = [await bench.store.accept(each, deadline=FOREVER) for each in (intake, other)]
    assert [answer.duplicate for answer in answers] == [False, False]


async def test_fifty_at_once_are_stored_once(bench: Bench) -> None:
    """The storm a sender's retries make: one row, forty-nine duplicates, one delivery."""
    answers = await asyncio.gather(*(bench.accept("chat", id="same") for _ in range(50)))

    assert sum(not answer.duplicate for answer in answers) == 1
    assert len({answer.event for answer in answers}) == 1
    assert bench.row("SELECT duplicates FROM events") == {"duplicates": 49}
    assert len(bench.rows("SELECT * FROM deliveries")) == 1
    assert len(bench.watch.commits) < 50  # they shared transactions


async def test_what_the_look_missed_the_key_catches(bench: Bench) -> None:
    """The unique key decides: with the look blinded, a duplicate is still a duplicate."""
    await bench.accept("chat", id="same")
    looks: list[object] = []
    statements = bench.store._statements
    honest = statements.find_events

    class Blind(HotAnyOf):
        """Sees nothing the first time."""

        def read(
            self, connection: sa.Connection, values: Sequence[Any], *before: Any
        ) -> list[tuple[Any, ...]]:
            """See `HotAnyOf`."""
            looks.append(values)
            return honest.read(connection, values, *before) if len(looks) > 1 else []

    statements.find_events = Blind(statements._dialect, honest._query)
    again = await bench.accept("chat", id="same")

    assert len(looks) == 2
    assert again.duplicate
    assert len(bench.rows("SELECT * FROM deliveries")) == 1


async def test_change_is_told_once(bench: Bench) -> None:
    """A line that goes red says broken at the first event and still-broken after."""
    seen: list[Change | None] = []

    def choose(change: Change | None) -> Choice:
        seen.append(change)
        return Choice(routes=(), destinations=())

    for number, good in enumerate([True, True, False, False, None, True]):
        await bench.accept(line=MAIN, good=good, number=number, choose=choose)

    assert seen == [
        None,
        Change.STILL_PASSING,
        Change.BROKEN,
        Change.STILL_BROKEN,
        None,
        Change.FIXED,
    ]
    stored = [json.loads(row["facts"]).get("change") for row in bench.rows("SELECT * FROM events")]
    assert stored == [None, "still-passing", "broken", "still-broken", None, "fixed"]


async def test_change_follows_the_order_within_one_batch(bench: Bench) -> None:
    """Events that share a transaction see each other as if each had its own."""
    intakes = [
        bench.intake(line=MAIN, good=good, number=number)
        for number, good in enumerate([True, False, False, True])
    ]
    answers = await asyncio.gather(
        *(bench.store.accept(intake, deadline=FOREVER) for intake in intakes)
    )
    assert [answer.change for answer in answers] == [
        None,
        Change.BROKEN,
        Change.STILL_BROKEN,
        Change.FIXED,
    ]
    assert bench.watch.commits == [4]


async def test_a_late_event_changes_nothing(bench: Bench) -> None:
    """A lower pipeline number neither compares nor overwrites; an equal one does both."""
    await bench.accept(line=MAIN, good=True, number=7)
    late = await bench.accept(line=MAIN, good=False, number=6)
    assert late.change is None
    assert bench.row("SELECT good, pipeline_number FROM lines") == {"good": 1, "pipeline_number": 7}

    rerun = await bench.accept(line=MAIN, good=False, number=7)
    unnumbered = await bench.accept(line=MAIN, good=True)
    assert (rerun.change, unnumbered.change) == (Change.BROKEN, Change.FIXED)
    assert bench.row("SELECT good, pipeline_number FROM lines") == {"good": 1, "pipeline_number": 7}


async def test_a_duplicate_does_not_move_its_line(bench: Bench) -> None:
    """The second copy of a red event is no second failure."""
    await bench.accept(line=MAIN, good=True, number=1)
    red = bench.intake(line=MAIN, good=False, number=2)
    first = await bench.store.accept(red, deadline=FOREVER)
    again = await bench.store.accept(red, deadline=FOREVER)
    assert (first.change, again.change) == (Change.BROKEN, None)
    assert again.duplicate


async def test_a_line_says_since_when(bench: Bench) -> None:
    """The instant the outcome last turned, not the last event."""
    await bench.accept(line=MAIN, good=True, number=1)
    began = bench.clock.now()
    bench.clock.advance(60)
    await bench.accept(line=MAIN, good=True, number=2)
    row = bench.row("SELECT since, updated_at FROM lines")
    assert row == {"since": began, "updated_at": bench.clock.now()}


async def test_where_a_lane_has_room_deliveries_are_born_leased(bench: Bench) -> None:
    """The hot path: no claim query; the rest waits unleased and its lane is woken."""
    bench.lanes.room = {"chat": 2}
    for n in range(3):
        await bench.accept("chat", "other", body=b"%d" % n)

    assert [claim.body for claim in bench.lanes.handed] == [b"0", b"1"]
    claim = bench.lanes.handed[0]
    assert (claim.destination, claim.attempt) == ("chat", 1)
    assert claim.lease_until == bench.clock.now() + 40 * SECOND
    assert claim.webhook_id == f"{claim.event}-chat"
    assert bench.lanes.woken == {"chat": 1, "other": 3}
    assert not bench.lanes.standing
    [waiting] = await bench.claim("chat")
    assert waiting.body == b"2"


async def test_what_was_handed_over_settles_like_a_claim(bench: Bench) -> None:
    """A delivery born leased carries a token that holds."""
    bench.lanes.room = {"chat": 1}
    await bench.accept("chat")
    await bench.settle(bench.lanes.handed[0])
    assert bench.row("SELECT state, attempts FROM deliveries") == {
        "state": "delivered",
        "attempts": 1,
    }
    assert bench.watch.fenced == []


async def test_headers_come_back_as_they_went_in(bench: Bench) -> None:
    """Whatever a header holds, it neither stops its event nor the claim of it."""
    headers = (("a", "caf\xe9 \u2603"), ("b", "\udcff"), ("b", ""))
    intake = bench.intake("chat")
    intake = replace(intake, event=replace(intake.event, headers=headers))
    await bench.store.accept(intake, deadline=FOREVER)
    [claim] = await bench.claim("chat")
    assert claim.headers == headers


async def test_a_pipeline_number_beyond_the_columns_is_none(bench: Bench) -> None:
    """A signed event is stored, whatever number it claims to have."""
    huge = await bench.accept("chat", line=MAIN, good=True, number=10**30)
    after = await bench.accept("chat", line=MAIN, good=False, number=7)
    assert (huge.change, after.change) == (None, Change.BROKEN)
    assert str(10**30) in bench.rows("SELECT facts FROM events ORDER BY key")[0]["facts"]


async def test_past_its_deadline_an_event_is_not_begun(bench: Bench) -> None:
    """The sender has given up: it would only be stored for nobody to hear."""
    with pytest.raises(StoreUnavailable):
        await bench.store.accept(bench.intake("chat"), deadline=bench.clock.monotonic() - 1)
    assert bench.rows("SELECT * FROM events") == []
    assert not bench.lanes.standing


async def test_one_bad_event_fails_alone(bench: Bench) -> None:
    """What shares a transaction with an event that cannot be stored is stored all the same."""
    bad = bench.intake("chat")
    bad = replace(bad, event=replace(bad.event, received_at=2**80))

    def stumble(_: Change | None) -> Choice:
        raise LookupError

    worse = bench.intake("chat", choose=stumble)
    good = [bench.intake("chat") for _ in range(3)]
    bench.lanes.room = {"chat": 10}
    answers = await asyncio.gather(
        *(
            bench.store.accept(each, deadline=FOREVER)
            for each in (good[0], bad, good[1], worse, good[2])
        ),
        return_exceptions=True,
    )

    assert [type(answer).__name__ for answer in answers] == [
        "Accepted",
        "StoreError",
        "Accepted",
        "StoreError",
        "Accepted",
    ]
    assert not any(isinstance(answer, StoreUnavailable) for answer in answers)
    assert isinstance(answers[1], StoreError)
    assert len(bench.rows("SELECT * FROM events")) == 3
    assert len(bench.lanes.handed) == 3
    assert bench.store.available.is_set()


async def test_an_event_names_the_configuration_that_routed_it(bench: Bench) -> None:
    """A verdict can be told later, by the routes of its time."""
    await bench.store.record_config("abc", {"all": {"to": ["chat"]}})
    await bench.accept("chat")
    assert bench.row("SELECT config_digest FROM events") == {"config_digest": "abc"}
    assert json.loads(bench.row("SELECT routes FROM configs")["routes"]) == {
        "all": {"to": ["chat"]}
    }


async def test_the_charts_count_what_came(bench: Bench) -> None:
    """Rollups a minute."""
    await bench.accept("chat", id="same")
    await bench.accept("chat", id="same")
    await bench.accept("chat", id="same", body=b"[]")
    await bench.store.flush()
    counted = {
        (row["name"], row["result"]): row["count"]
        for row in bench.rows("SELECT * FROM minutes WHERE kind = 'events'")
    }
    assert counted == {
        ("circleci", "accepted"): 1,
        ("circleci", "duplicate"): 1,
        ("circleci", "conflict"): 1,
    }
