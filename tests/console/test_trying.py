"""Trials: what another configuration would do with what is stored, and why."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from pydantic import ValidationError

from circleci_relay import config
from circleci_relay.console.given import EXACT
from circleci_relay.console.requests import BacktestRequest, ExplainRequest
from circleci_relay.console.trying import SEATS, Trying
from circleci_relay.errors import Busy, ConfigError, Invalid, NotFound
from circleci_relay.redaction import Redaction
from support.build import BODIES, an_intake
from support.storing import FOREVER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from support.storing import Bench

BASE = """
sources: {circleci: {path: /hook, unsigned: true}}
destinations: {chat: {url: "https://chat.example.com/x"}, pager: {url: "https://pager.example.com/"}}
"""
SAMPLES = ("gh_oauth_workflow_success", "gh_oauth_workflow_failed")
NOW = BASE + "routes: {all: {to: chat}}\n"
THEN = BASE + "routes: {red: {match: {status: failed}, to: [chat, pager]}}\n"


def trying(bench: Bench, text: str = NOW, secrets: frozenset[str] = frozenset()) -> Trying:
    """Make the service, with *text* in force."""
    in_force = config.propose({"relay.yaml": text}).config
    return Trying(bench.store, in_force=lambda: in_force, redact=Redaction(secrets))


async def stored(bench: Bench, count: int = 4) -> list[str]:
    """Store workflows, every other one failed; return the relay's ids."""
    return [
        (
            await bench.store.accept(
                an_intake(bench.clock, number, "chat", sample=SAMPLES[number % 2]), deadline=FOREVER
            )
        ).event
        for number in range(count)
    ]


async def test_a_backtest_says_what_it_would_add_and_drop(bench: Bench) -> None:
    """Against the routes in force; by route and destination, with examples; in steps."""
    await stored(bench)
    service = trying(bench)
    whole = await service.backtest(BacktestRequest(config=THEN))
    assert (whole.looked, whole.added, whole.dropped) == (4, 2, 2)
    ways: Mapping[tuple[str, str], tuple[int, int]] = {
        (each.route, each.destination): (each.added, each.dropped) for each in whole.differences
    }
    assert ways == {("red", "pager"): (2, 0), ("all", "chat"): (0, 2)}
    assert all(each.added_examples or each.dropped_examples for each in whole.differences)
    assert whole.next is None
    first = await service.backtest(BacktestRequest(config=THEN, limit=3))
    assert (first.looked, first.searched_to is not None) == (3, True)
    rest = await service.backtest(BacktestRequest(config=THEN, before=first.next))
    assert (rest.looked, first.added + rest.added, first.dropped + rest.dropped) == (1, 2, 2)


async def test_a_faulty_proposal_is_told_with_its_places(bench: Bench) -> None:
    """As `check` would tell."""
    with pytest.raises(ConfigError) as caught:
        await trying(bench).backtest(BacktestRequest(config=BASE + "routes: {all: {to: chta}}\n"))
    assert (caught.value.faults[0].line, "chat" in str(caught.value)) == (4, True)
    with pytest.raises(Invalid):
        await trying(bench).backtest(BacktestRequest())
    with pytest.raises(Invalid):
        await trying(bench).backtest(BacktestRequest(config=THEN, before="elsewhere"))


@pytest.mark.parametrize("place", ["9" * 19 + ".1", "1." + "9" * 19, "1_0.1_0", "1", "elsewhere"])
async def test_places_made_by_hand(bench: Bench, place: str) -> None:
    """What no answer ever named is refused, before a database cannot take it."""
    with pytest.raises(Invalid) as caught:
        await trying(bench).backtest(BacktestRequest(config=THEN, before=place))
    assert caught.value.where == "body.before"


async def test_a_file_may_be_as_long_as_a_configuration(bench: Bench) -> None:
    """Whether it comes alone or by name."""
    text = THEN + "#" * 2000
    found = [
        await trying(bench).backtest(wanted)
        for wanted in (BacktestRequest(config=text), BacktestRequest(files={"relay.yaml": text}))
    ]
    assert found[0] == found[1]


@pytest.mark.parametrize("field", ["since", "until"])
def test_a_number_is_no_time(field: str) -> None:
    """Of JSON: whose seconds, or milliseconds, they would be is anybody's guess."""
    with pytest.raises(ValidationError, match="says when"):
        BacktestRequest.model_validate({field: 0}, context=EXACT)


async def test_a_crowd_is_sent_away(bench: Bench) -> None:
    """Those who have a seat are served one after the other; then there is room again."""
    service = trying(bench)
    wanted = ExplainRequest(payload=BODIES[SAMPLES[0]].decode(), config=THEN)
    asked = (service.explain(wanted) for _ in range(SEATS + 2))
    found = await asyncio.gather(*asked, return_exceptions=True)
    assert [isinstance(each, Busy) for each in found] == [False] * SEATS + [True] * 2
    assert (await service.explain(wanted)).verdicts


async def test_verdicts_on_a_stored_event_and_on_a_payload(bench: Bench) -> None:
    """By the routes in force, or by proposed ones."""
    [_, failed] = await stored(bench, 2)
    service = trying(bench)
    found = await service.explain(ExplainRequest(event=failed))
    assert (found.destinations, found.facts["status"]) == (["chat"], "failed")
    found = await service.explain(ExplainRequest(event=failed, config=THEN))
    assert found.destinations == ["chat", "pager"]
    pasted = ExplainRequest(payload=BODIES[SAMPLES[0]].decode(), config=THEN)
    found = await service.explain(pasted)
    assert (found.destinations, found.verdicts[0].matched) == ([], False)
    assert found.verdicts[0].reason
    with pytest.raises(Invalid):
        await service.explain(ExplainRequest(payload="{}"))
    with pytest.raises(Invalid):
        await service.explain(ExplainRequest())
    with pytest.raises(NotFound):
        await service.explain(ExplainRequest(event="01AN4Z07BY79KA1307SR9X4MV3"))


async def test_a_secret_label_is_not_told_in_a_verdict(bench: Bench) -> None:
    """Its value stands in the reason only masked."""
    labels = 'projects: {"*": {channel: "https://chat.example.com/s3cret-hook"}}\n'
    routes = "routes: {all: {match: {labels: {channel: other}}, to: chat}}\n"
    [event] = await stored(bench, 1)
    found = await trying(bench, BASE + labels + routes).explain(ExplainRequest(event=event))
    assert "s3cret" not in found.model_dump_json()


async def test_no_route_is_asked_of_what_the_relay_tells_of_itself(bench: Bench) -> None:
    """Whoever asks is told where it goes; and that there is no such source."""
    [event] = await stored(bench, 1)
    bench.change("UPDATE events SET source = 'relay'")
    with pytest.raises(Invalid, match="tells of itself where notify says"):
        await trying(bench).explain(ExplainRequest(event=event))
    with pytest.raises(Invalid, match="no source is called circleic; did you mean circleci"):
        await trying(bench).explain(ExplainRequest(payload="{}", source="circleic"))
