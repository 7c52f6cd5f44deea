"""The overview, the destinations and the routes, as the page and the API tell them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from circleci_relay.console.requests import OverviewQuery
from circleci_relay.console.standing import Notes, Standing
from circleci_relay.delivery.lane import LaneState
from circleci_relay.errors import NotFound
from circleci_relay.model import RELAY, SECOND, Fault
from support.desk import Desk, loaded
from support.storing import opened

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from circleci_relay.console.shapes import Trouble
    from support.storing import Bench


@dataclass
class Room:
    """A desk, and what is told of it."""

    desk: Desk
    standing: Standing = field(init=False)
    lanes: dict[str, LaneState] = field(default_factory=dict)
    notes: Notes = field(default_factory=Notes)

    def __post_init__(self) -> None:
        self.standing = Standing(
            store=self.desk.bench.store,
            clock=self.desk.bench.clock,
            upkeep=self.desk.upkeep,
            alerting=self.desk.alerting,
            loaded=lambda: self.desk.loaded,
            notes=lambda: self.notes,
            lanes=lambda: self.lanes,
        )

    async def troubles(self) -> list[Trouble]:
        """What is wrong by now."""
        await self.desk.look()
        return (await self.standing.overview(OverviewQuery())).troubles


def lane(*, open_: bool = False, held: int | None = None) -> LaneState:
    """A lane that is not paused."""
    return LaneState(paused=False, by_file=False, breaker_open=open_, held_until=held, in_hand=0)


@pytest.fixture
async def room(sqlite_url: str, tmp_path: Path) -> AsyncIterator[Room]:
    """Nothing has happened yet; what is read is tried on either kind of store elsewhere."""
    async with opened(sqlite_url) as bench:
        yield Room(Desk(bench, await loaded(tmp_path)))


async def test_an_overview(bench: Bench, tmp_path: Path) -> None:
    """Of a relay that has just begun, and of one that did something."""
    room = Room(Desk(bench, await loaded(tmp_path)))
    first = await room.standing.overview(OverviewQuery())
    assert first.troubles == []
    assert first.last_event_at is None
    assert [each.name for each in first.destinations] == ["chat", "pager"]
    assert {each.state for each in first.destinations} == {"ok"}
    assert first.destinations[0].url == "https://chat.example.com"

    await room.desk.attempt("chat", ok=True)
    await room.desk.bench.accept("chat")
    room.desk.bench.clock.advance(60)
    await room.desk.look()
    for span, steps in (("hour", 60), ("day", 96), ("week", 168)):
        found = await room.standing.overview(OverviewQuery.model_validate({"span": span}))
        assert found.span == found.events.span == span
        assert [each.name for each in found.events.series] == [
            "accepted",
            "duplicate",
            "conflict",
            "rejected",
        ]
        assert [each.name for each in found.deliveries.series] == ["delivered", "dead", "cancelled"]
        assert {len(each.counts) for each in found.events.series} == {steps}
        assert [sum(each.counts) for each in found.events.series] == [2, 0, 0, 0]
        assert [sum(each.counts) for each in found.deliveries.series] == [1, 0, 0]
    chat = found.destinations[0]
    assert (chat.backlog, chat.dead, chat.hour.attempts, chat.hour.success_rate) == (1, 0, 1, 1.0)
    assert chat.oldest == found.last_event_at
    assert sum(chat.spark) == 1


async def test_each_state_of_a_destination(room: Room) -> None:
    """What keeps it most is told; who paused it, and until when it is held."""
    desk, bench = room.desk, room.desk.bench
    await bench.store.reconcile(["chat", "pager"])

    async def state(name: str = "chat") -> str:
        await desk.look()
        return (await room.standing.destination(name)).state

    await desk.attempt("chat")
    assert await state() == "failing"
    room.lanes["chat"] = lane(held=bench.clock.now() + SECOND)
    assert await state() == "held"
    room.lanes["chat"] = lane(open_=True, held=bench.clock.now())
    assert await state() == "open"
    bench.change(
        f"UPDATE destinations SET paused_at = {bench.clock.now()}, paused_by = 'ops',"  # noqa: S608
        " paused_why = 'a move' WHERE name = 'chat'"
    )
    assert await state() == "paused"
    chat = (await room.standing.destinations()).items[0]
    assert (chat.paused, chat.paused_by, chat.paused_why) == (True, "ops", "a move")
    assert chat.breaker_open
    assert chat.held_until is None

    await bench.accept("gone")
    assert await state("gone") == "removed"
    assert not (await room.standing.destination("gone")).configured
    with pytest.raises(NotFound):
        await room.standing.destination("never")


async def test_what_is_wrong_is_told_first(room: Room) -> None:
    """One plain sentence each, the worst first, with the page that helps."""
    desk, bench = room.desk, room.desk.bench
    await bench.store.reconcile(["chat", "pager"])
    await desk.die("chat")
    await bench.accept("pager")
    await bench.accept("gone")
    bench.change("UPDATE destinations SET paused_at = 1, paused_by = 'ops' WHERE name = 'pager'")
    room.lanes["chat"] = lane(open_=True)
    fault = Fault(file="relay.yaml", line=3, column=1, path="routes", message="is empty")
    room.notes = Notes(restart_required=["server.listen"], faults=[fault, fault])
    for _ in range(25):
        await bench.accept()

    found = [(each.level, each.subject, each.text, each.link) for each in await room.troubles()]
    assert found == [
        (
            "bad",
            "chat",
            "chat is failing, breaker open: nothing waits",
            "/destinations/chat",
        ),
        ("bad", "chat", "1 delivery is dead at chat", "/dead?destination=chat"),
        (
            "bad",
            "config",
            f"The configuration has a fault, and the last good one is in force: {fault} and 1 more",
            "/routes",
        ),
        ("warn", "pager", "pager is paused by ops, and 1 delivery waits", "/destinations/pager"),
        (
            "warn",
            "gone",
            "gone is not configured any more, and 1 delivery waits for it",
            "/deliveries?destination=gone&state=pending",
        ),
        ("warn", "config", "What changed in server.listen waits for a restart", "/routes"),
        (
            "warn",
            "config",
            "No route took 25 of the last hour's 28 events",
            "/events?outcome=unmatched",
        ),
    ]
    await desk.fail_for("chat", 20)
    wrong = await room.troubles()
    assert wrong[0].text.startswith("Every attempt at chat has failed since about 2026-03-02")
    assert wrong[0].since is not None
    assert len(wrong) == len(found)


async def test_what_went_along_the_routes(room: Room) -> None:
    """By the configuration of then; a destination that two routes name is reached once."""
    bench, config = room.desk.bench, room.desk.loaded.config
    routes = {"routes": {"all": {"to": ["chat", "pager"]}, "main": {"to": ["chat"]}}}
    await bench.store.record_config("then", routes)
    for _ in range(3):
        await bench.accept("chat", "pager")
    bench.change(
        """UPDATE events SET routes = '["all","main"]' WHERE key = (SELECT min(key) FROM events)"""
    )
    found = await room.standing.routes()
    assert [(each.source, each.route, each.destination, each.count) for each in found.counts] == [
        ("circleci", "all", None, 3),
        ("circleci", "main", None, 1),
        (None, "all", "chat", 3),
        (None, "all", "pager", 3),
    ]
    assert found.config == config.masked()
    assert "secret" not in str(found.config["destinations"])
    assert found.digest == room.desk.loaded.digest
    # Not counted again at every look.
    await bench.accept("chat")
    assert (await room.standing.routes()).counts == found.counts
    bench.clock.advance(31)
    assert (await room.standing.routes()).counts[0].count == 4


async def test_alerts_under_way(room: Room) -> None:
    """With where they are told; those that are over are not shown."""
    key = await room.desk.die("chat")
    await room.desk.look()
    found = await room.standing.alerts()
    [alert] = found.items
    assert (alert.rule, alert.subject, alert.told) == ("dead_letters", "chat", True)
    assert alert.text == "1 delivery is dead at chat"
    assert found.to == ["pager"]
    other = await room.desk.die("chat")
    await room.desk.look()
    assert [each.text for each in (await room.standing.alerts()).items] == [
        "2 deliveries are dead at chat"
    ]
    room.desk.bench.change(
        f"UPDATE deliveries SET replayed_by = 1 WHERE key IN ({key}, {other})"  # noqa: S608
    )
    await room.desk.look()
    assert (await room.standing.alerts()).items == []
    assert room.desk.told()[0] == "dead_letters chat began"
    assert room.desk.bench.row(f"SELECT count(*) AS n FROM events WHERE source = '{RELAY}'") == {  # noqa: S608
        "n": 2
    }
