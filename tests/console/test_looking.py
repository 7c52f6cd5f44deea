"""The log as it is told: events, deliveries, dead letters and deeds, on either database."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from circleci_relay import config
from circleci_relay.circleci.payload import parse, read_facts
from circleci_relay.console.cursors import moment
from circleci_relay.console.looking import NO_CONFIG, NO_DIGEST, Looking
from circleci_relay.console.names import Names
from circleci_relay.console.requests import DeadQuery, DeliveryQuery, EventQuery, ListQuery
from circleci_relay.console.shapes import EventWhole
from circleci_relay.delivery.lane import LaneState
from circleci_relay.errors import Invalid, NotFound
from circleci_relay.model import SECOND, Choice, Decision, Quiet, Reason, Result, State
from circleci_relay.redaction import Redaction
from circleci_relay.store.log.deliveries import (
    DeliveriesSought,
    list_deliveries,
    whole_delivery,
)
from circleci_relay.store.log.events import body_of, list_events, whole_event
from circleci_relay.store.log.sought import Sought
from circleci_relay.store.log.windows import Pace
from support.build import BODIES
from support.storing import FOREVER, HOUR, MAIN

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from support.storing import Bench

PAGED = Decision(state=State.PENDING, delay=60.0)
REFUSED = Decision(state=State.DEAD, reason=Reason.REFUSED)
SAMPLE = "gh_oauth_workflow_failed"
CONFIG = """
sources: {circleci: {path: /hook, unsigned: true}}
destinations: {chat: {url: "https://chat.example.com/x"}, pager: {url: "https://pager.example.com/"}}
routes: {red: {match: {status: failed}, to: chat}, green: {match: {status: success}, to: pager}}
"""


def looking(
    bench: Bench,
    *,
    secrets: frozenset[str] = frozenset(),
    lanes: Mapping[str, LaneState] = MappingProxyType({}),
    names: Names | None = None,
    **paused: bool,
) -> Looking:
    """Make the service; *chat* and *pager* are configured."""
    return Looking(
        store=bench.store,
        clock=bench.clock,
        configured=lambda: {"chat": False, "pager": False, **paused},
        redact=Redaction(secrets),
        lanes=lambda: lanes,
        names=names,
    )


async def take_in(bench: Bench, *to: str, sample: str = SAMPLE, **changed: Any) -> str:
    """Store a sample, its facts as its body has them save those that are *changed*."""
    body = changed.pop("body", None) or BODIES[sample]
    quiet: Quiet | None = changed.pop("quiet", None)
    intake = bench.intake(*to, body=body, line=changed.pop("line", None), quiet=quiet)
    facts = replace(read_facts(parse(body)), **changed)
    routes = ("red",) if to else ()
    waits = {} if quiet is None else dict.fromkeys(to, quiet)
    choice = Choice(routes=routes, destinations=to, quiet=waits)
    intake = replace(
        intake,
        event=replace(intake.event, facts=facts, type=facts.type),
        good=False,
        choose=lambda _: choice,
    )
    accepted = await bench.store.accept(intake, deadline=FOREVER)
    bench.clock.advance(1)
    return accepted.event


async def test_a_list_tells_what_each_event_was_and_became(bench: Bench) -> None:
    """The newest first; title and outcome by the words that messages have."""
    first = await take_in(bench, "chat", "pager", project="gh/acme/api", branch="main")
    second = await take_in(bench, branch=None, tag="v1", status="success")
    [claim] = await bench.claim("chat")
    await bench.settle(claim)
    page = await looking(bench).events(EventQuery())
    assert [each.id for each in page.items] == [second, first]
    assert page.next is None
    assert page.searched_to is None
    newer, older = page.items
    assert older.title.startswith("acme/api: workflow ")
    assert older.title.endswith("failed on main")
    assert (older.outcome, newer.outcome) == ("bad", "good")
    assert (older.routes, newer.routes) == (["red"], [])
    assert older.facts["project"] == "gh/acme/api"
    assert "tag" not in older.facts
    assert {each.destination: each.state for each in older.deliveries} == {
        "chat": State.DELIVERED,
        "pager": State.PENDING,
    }
    assert newer.deliveries == []


HOSTILE = (
    "%",
    "_",
    "'; DROP TABLE events; --",
    '"',
    "\\",
    "\\u0041",
    "a\0b",
    "\ud83d",
    "\U0001f600",
    "!" * 500,
    "%" * 500,
    "é\u0301" * 100,
)


async def test_hostile_filters_find_what_is_there_and_nothing_else(bench: Bench) -> None:
    """Whatever stands in a filter is a text like any other; what cannot be there finds nothing."""
    service = looking(bench)
    texts = [text for text in HOSTILE if "\0" not in text and "\ud83d" not in text]
    names = {text: await take_in(bench, branch=text, subject="-") for text in texts}
    for text in HOSTILE:
        # As if the frame had let it through.
        query = EventQuery().model_copy(update={"branch": text})
        page = await service.events(query)
        assert [each.id for each in page.items] == ([names[text]] if text in names else [])
        for name in ("text", "author", "type", "project", "organization", "revision", "id"):
            page = await service.events(EventQuery().model_copy(update={name: text}))
            wanted = {key for branch, key in names.items() if name == "text" and text in branch}
            assert wanted <= {each.id for each in page.items}
        odd = DeliveryQuery().model_copy(update={"error": text})
        assert (await service.deliveries(odd)).items == []
    with pytest.raises(NotFound):
        await service.event("\ud800")
    with pytest.raises(NotFound):
        await service.delivery("٣")


async def test_following_next_gives_each_event_once(bench: Bench) -> None:
    """While others come in, and whichever filter is set; on PostgreSQL too."""
    ids = [await take_in(bench, branch="main" if n % 2 else "dev") for n in range(9)]
    service = looking(bench)
    for query, wanted in (({}, ids), ({"branch": "dev"}, ids[::2]), ({"text": "MAIN"}, None)):
        found: list[str] = []
        before = None
        while True:
            page = await service.events(
                EventQuery.model_validate({"limit": 2, "before": before, **query})
            )
            found += [each.id for each in page.items]
            before = page.next
            if before is None:
                break
            await take_in(bench, branch="main")
        assert wanted is None or found[-len(wanted) :] == wanted[::-1]
        assert len(set(found)) == len(found)


async def test_every_filter_narrows_a_list(bench: Bench) -> None:
    """Each alone finds the one event that has it."""
    one = await take_in(
        bench,
        "chat",
        project="gh/acme/api",
        revision="abcdef0123",
        author="Zoë",
        pipeline_number=77,
    )
    other: dict[str, Any] = {"project": "gh/acme/web", "revision": "0" * 40, "pipeline_number": 7}
    await take_in(bench, "pager", author=None, **other)
    service = looking(bench)
    for given in (
        {"project": "github/acme/api"},
        {"project": "acme/api"},
        {"revision": "abcdef"},
        {"author": "Zoë"},
        {"text": "zoË"},
        {"pipeline_number": 77},
        {"destination": "chat"},
        {"outcome": "pending", "destination": "chat"},
        {"until": (await service.event(one)).received_at.replace(microsecond=1)},
        {"id": one},
    ):
        page = await service.events(EventQuery.model_validate(given))
        assert [each.id for each in page.items] == [one], given
    for given in ({"source": "other"}, {"outcome": "dead"}, {"revision": "bcdef"}, {"since": "0s"}):
        assert (await service.events(EventQuery.model_validate(given))).items == [], given
    for before in ("x", "1", "1.2.3", "9" * 19 + ".1", "1.x"):
        with pytest.raises(Invalid):
            await service.events(EventQuery(before=before))
    for before in ("x", "9" * 19, "1.2"):
        with pytest.raises(Invalid):
            await service.deliveries(DeliveryQuery(before=before))


async def test_an_event_is_told_whole(bench: Bench) -> None:
    """With verdicts as they were, attempts, duplicates, and its line; secrets known since apart."""
    masked = config.propose({"relay.yaml": CONFIG}).config.masked()
    await bench.store.record_config("sha256:1", masked)
    name = await take_in(bench, "chat", line=MAIN)
    [claim] = await bench.claim("chat")
    answer = b"no hunter2-hunter2 \xff"
    await bench.settle(claim, PAGED, result=Result.SERVER_ERROR, status=503, excerpt=answer)
    service = looking(bench, secrets=frozenset({"hunter2-hunter2"}))
    told = await service.event(name)
    assert EventWhole.model_validate_json(told.model_dump_json()) == told
    assert told.payload == json.loads(told.body)
    assert told.size == len(BODIES[SAMPLE])
    assert told.headers == [("content-type", "application/json")]
    assert {each.route: each.matched for each in told.verdicts} == {"red": True, "green": False}
    assert told.verdicts_note is None
    assert (told.line is not None, told.repeats.count) == (True, 0)
    [delivery] = told.log
    assert (delivery.waiting, delivery.attempts, delivery.webhook_id) == (
        "retrying",
        1,
        f"{name}-chat",
    )
    [attempt] = delivery.log
    assert (attempt.status, attempt.excerpt) == (503, "no *** \ufffd")
    assert await service.delivery(delivery.id) == delivery
    assert await service.event(told.circleci_id) == told
    assert await service.event_body(name) == (name, BODIES[SAMPLE])
    bench.change("DELETE FROM configs")
    assert (await service.event(name)).verdicts_note == NO_CONFIG
    bench.change("UPDATE events SET config_digest = NULL, duplicates = 2, last_duplicate_at = 5")
    told = await service.event(name)
    assert (told.verdicts_note, told.duplicates, told.repeats.count) == (NO_DIGEST, 2, 2)
    assert told.repeats.last_at is not None


async def test_a_hostile_body_is_shown(bench: Bench) -> None:
    """What no JSON can hold is replaced, in the text and in what was read of it."""
    body = b'{"id":"1","type":"x","n":NaN,"s":"\\ud800","deep":' + b"[" * 900 + b"]" * 900 + b"}"
    name = await take_in(bench, body=body, workflow="build")
    told = await looking(bench).event(name)
    assert EventWhole.model_validate_json(told.model_dump_json()) == told
    assert told.size == len(body)


async def test_what_a_pending_delivery_waits_for(bench: Bench) -> None:
    """Each reason there is."""
    await take_in(bench, "chat", "pager", "gone")
    await take_in(bench, "chat", line=MAIN, quiet=Quiet(hold=HOUR))
    await take_in(bench, "chat", quiet=Quiet(group="g", wait=HOUR, most=9))
    await take_in(bench, "chat", quiet=Quiet(group="g", wait=HOUR, most=9))
    [claim] = await bench.claim("pager")
    service = looking(bench)
    found = (await service.deliveries(DeliveryQuery())).items
    assert [(each.destination, each.waiting) for each in found] == [
        ("chat", "gathering"),
        ("chat", "gathering"),
        ("chat", "held"),
        ("gone", "removed"),
        ("pager", "under way"),
        ("chat", "due"),
    ]
    assert (found[0].together_with, found[1].together_with) == (found[1].id, None)
    await bench.settle(claim, PAGED, result=Result.TIMEOUT, status=None)
    [retrying] = (await service.deliveries(DeliveryQuery(result=Result.TIMEOUT))).items
    assert retrying.waiting == "retrying"
    [paused] = (
        await looking(bench, pager=True).deliveries(DeliveryQuery(limit=1, destination="pager"))
    ).items
    assert paused.waiting == "paused"
    bench.change("UPDATE destinations SET paused_at = 1 WHERE name = 'pager'")
    [paused] = (await service.deliveries(DeliveryQuery(destination="pager"))).items
    assert paused.waiting == "paused"


async def test_dead_letters_are_grouped_by_what_they_died_of(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The largest group first; what was replayed is dead no more."""
    for _ in range(3):
        await take_in(bench, "chat", "pager")
    for claim in await bench.claim("chat"):
        await bench.settle(claim, REFUSED, result=Result.CLIENT_ERROR, status=410, error="Gone")
    for number, claim in enumerate(await bench.claim("pager")):
        await bench.settle(claim, REFUSED, result=Result.TIMEOUT, status=None, error="e" * 300)
        if not number:
            bench.change(f"UPDATE deliveries SET replayed_by = 1 WHERE key = {claim.delivery}")  # noqa: S608
    service = looking(bench)
    found = await service.dead(DeadQuery())
    assert (found.total, found.partial) == (5, False)
    assert [
        (each.destination, each.status, each.error, each.count, each.reason)
        for each in found.groups
    ] == [
        ("chat", 410, "Gone", 3, Reason.REFUSED),
        ("pager", None, "e" * 200, 2, Reason.REFUSED),
    ]
    assert (await service.dead(DeadQuery(destination="pager"))).total == 2
    assert (await service.dead(DeadQuery.model_validate({"since": "0s"}))).total == 0
    dead = DeliveryQuery(state=State.DEAD, replayed=False, destination="chat", error="gOnE")
    assert len((await service.deliveries(dead)).items) == 3
    again = DeliveryQuery(state=State.DEAD, replayed=True)
    assert [each.replayed_by for each in (await service.deliveries(again)).items] == ["1"]
    monkeypatch.setattr("circleci_relay.store.log.dead.MOST", 4)
    assert (await service.dead(DeadQuery())).partial


async def test_what_ages_out_meanwhile_is_not_there(bench: Bench) -> None:
    """Between two looks, or two statements of one: no fault, just nothing."""
    name = await take_in(bench, "chat")
    service = looking(bench)
    [listed] = (await service.deliveries(DeliveryQuery())).items
    bench.change("DELETE FROM events")
    assert (await service.deliveries(DeliveryQuery())).items == []
    for asked in (service.event(name), service.event_body(name), service.delivery(listed.id)):
        with pytest.raises(NotFound):
            await asked
    assert (await service.events(EventQuery())).items == []


async def test_what_ages_out_between_two_statements_is_no_fault(bench: Bench) -> None:
    """On PostgreSQL each statement sees what is there by then; SQLite's look sees one moment."""
    looks: list[Callable[[sa.Connection, str, int], object]] = [
        lambda connection, name, _: whole_event(connection, name),
        lambda connection, name, _: body_of(connection, name),
        lambda connection, _, key: whole_delivery(connection, key),
        lambda connection, _, __: list_events(connection, Sought(), limit=5, pace=Pace()),
        lambda connection, _, __: list_deliveries(
            connection, DeliveriesSought(), limit=5, pace=Pace()
        ),
    ]
    for look, asked in itertools.product(looks, range(2)):
        name = await take_in(bench, "chat")
        [claim] = await bench.claim("chat")
        await bench.settle(claim, PAGED, result=Result.TIMEOUT)
        await bench.store.look(partial(_interrupted, look, name, claim.delivery, bench, asked))


def _interrupted(
    look: Callable[[sa.Connection, str, int], object],
    name: str,
    key: int,
    bench: Bench,
    after: int,
    connection: sa.Connection,
) -> None:
    """Have everything go after so many of a look's statements."""
    count = itertools.count()

    def go(*_: object) -> None:
        if next(count) == after:
            for table in ("bodies", "events"):
                bench.change(f"DELETE FROM {table}")  # noqa: S608

    sa.event.listen(connection, "after_cursor_execute", go)
    try:
        look(connection, name, key)
    finally:
        sa.event.remove(connection, "after_cursor_execute", go)


async def test_deeds_are_listed_newest_first(bench: Bench) -> None:
    """In pages; ids of equal times in their order; secrets known since apart."""
    for n in range(5):
        bench.change(
            "INSERT INTO audit (id, at, who, action, target, detail)"  # noqa: S608
            f" VALUES ('A{n}', {n // 2}, 'ops', 'pause', 'chat', '{{\"n\": [{n}, \"hunter2\"]}}')"
        )
    service = looking(bench, secrets=frozenset({"hunter2"}))
    first = await service.audit(ListQuery(limit=2))
    second = await service.audit(ListQuery(limit=3, before=first.next))
    assert [each.id for each in first.items + second.items] == ["A4", "A3", "A2", "A1", "A0"]
    assert (second.next, first.items[0].detail) == (None, {"n": [4, "***"]})
    with pytest.raises(Invalid):
        await service.audit(ListQuery(before="elsewhere"))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("workflow build failed", True),
        ("FAILED api: Workflow", True),
        ("acme/api main", True),
        ("#412", True),
        ("5034460f failed", True),
        ("workflow succeeded", False),
        ("failed nowhere", False),
    ],
)
async def test_words_are_found_as_people_read_them(bench: Bench, text: str, found: bool) -> None:  # noqa: FBT001
    """In the title and its ids too, in any order."""
    event = await take_in(
        bench,
        project="gh/acme/api",
        workflow="build",
        branch="main",
        pipeline_number=412,
        revision="5034460f588d9a6b0b0b2b0a9f7b1e2d3c4b5a69",
    )
    service = looking(bench)
    assert [each.id for each in (await service.events(EventQuery(text=text))).items] == (
        [event] if found else []
    )
    circleci = (await service.event(event)).circleci_id
    for name in (event, circleci[:20], f"{event.lower()} failed"):
        assert (await service.events(EventQuery(text=name))).items


async def test_names_nobody_knows_are_no_empty_list(bench: Bench) -> None:
    """With what may have been meant; what was removed, or sent something once, is known."""
    await bench.store.reconcile(["old"])
    await take_in(bench, "chat")
    in_force = config.propose({"relay.yaml": CONFIG}).config
    service = looking(bench, names=Names(bench.store, in_force=lambda: in_force))
    with pytest.raises(Invalid, match="no destination is called pagr; did you mean pager") as fault:
        await service.deliveries(DeliveryQuery(destination="pagr"))
    assert fault.value.where == "query.destination"
    with pytest.raises(Invalid, match="no destination is called nowhere"):
        await service.dead(DeadQuery(destination="nowhere"))
    with pytest.raises(Invalid, match="no source is called circleic; did you mean circleci"):
        await service.events(EventQuery(source="circleic"))
    assert (await service.events(EventQuery(source="relay"))).items == []
    assert (await service.deliveries(DeliveryQuery(destination="old"))).items == []
    with pytest.raises(NotFound, match="no such job"):
        await service.deliveries(DeliveryQuery(job="nope"))


async def test_what_waits_for_a_breaker_says_so(bench: Bench) -> None:
    """Until its next probe, if it is not due later by itself; likewise where it is to wait."""
    await take_in(bench, "chat")
    [claim] = await bench.claim("chat")
    await bench.settle(claim, PAGED, result=Result.TIMEOUT)
    await take_in(bench, "chat")
    now = bench.clock.now()

    async def told(seconds: int, *, open_: bool) -> list[tuple[str | None, bool]]:
        until = now + seconds * SECOND
        lane = LaneState(
            paused=False,
            by_file=False,
            breaker_open=open_,
            held_until=None if open_ else until,
            in_hand=0,
            probe_at=until if open_ else None,
        )
        page = await looking(bench, lanes={"chat": lane}).deliveries(DeliveryQuery())
        return [(each.waiting, each.due_at == moment(until)) for each in page.items]

    assert await told(30, open_=True) == [("breaker", True), ("retrying", False)]
    assert await told(90, open_=True) == [("breaker", True), ("breaker", True)]
    assert await told(30, open_=False) == [("slowed", True), ("retrying", False)]
