"""Messages in a destination's own words, and those that wait, over real lanes and receivers."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

import pytest

from circleci_relay.circleci import signature
from circleci_relay.delivery.compose import Surroundings
from circleci_relay.delivery.sender import Sender
from circleci_relay.labels import Labels
from circleci_relay.model import SECOND, Quiet, Reason, Result, State
from circleci_relay.redaction import Redaction
from support.build import a_claim, a_destination
from support.delivering import Delivering, delivering
from support.receiver import Receiver, Request, answer

if TYPE_CHECKING:
    from pathlib import Path

    from circleci_relay.clock import ManualClock

StartReceiver = Callable[..., Awaitable[Receiver]]
FAILED, SUCCESS = "gh_oauth_workflow_failed", "gh_oauth_workflow_success"
TITLE = {"template": {"text": "{{ title }}", "count": "{{ count }}"}}


@pytest.fixture
async def relay(tmp_path: Path, clock: ManualClock) -> AsyncIterator[Delivering]:
    """A store and its lanes."""
    async with delivering(tmp_path / "relay.db", clock) as made:
        yield made


async def told(relay: Delivering, there: Receiver, **settings: Any) -> Request:
    """What a destination with these settings is told of a failed workflow."""
    await relay.configure(chat={"url": there.url(), **settings})
    await relay.accept("chat", sample=FAILED)
    [request] = await there.wait_for(1)
    return request


async def test_a_body_of_ones_own(relay: Delivering, receiver: StartReceiver) -> None:
    """JSON of its own type; none of the headers that tell of CircleCI's bytes."""
    request = await told(relay, await receiver(), body=TITLE)
    assert json.loads(request.body)["count"] == 1
    assert "launchpad" in json.loads(request.body)["text"]
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"].startswith("circleci-relay/")
    assert "circleci-signature" not in request.headers
    assert request.headers["relay-attempt"] == "1"


async def test_what_is_sent_is_what_is_signed(relay: Delivering, receiver: StartReceiver) -> None:
    """A signature of the relay's own is over the bytes that arrive."""
    sign = {"scheme": "circleci", "secrets": ["a-secret-of-ours"]}
    request = await told(relay, await receiver(), body={"text": "{{ title }}"}, sign=sign)
    signed = signature.sign(request.body, b"a-secret-of-ours")
    assert request.headers["circleci-signature"] == signed
    assert b"launchpad" in request.body
    assert request.headers["content-type"] == "text/plain; charset=utf-8"


async def test_where_and_with_what_by_labels(relay: Delivering, receiver: StartReceiver) -> None:
    """One destination stands for many: the bytes stay CircleCI's own, and so do its headers."""
    there = await receiver()
    labels = Labels({"acme-rockets/*": {"team": "rockets", "room": "hook/rockets"}})
    relay.surroundings = Surroundings(labels=labels)
    await relay.configure(
        chat={
            "url": there.url("/{{ labels.room }}?ref={{ branch }}"),
            "headers": {"x-team": "{{ labels.team }}", "x-subject": "{{ subject }}"},
        }
    )
    await relay.accept("chat", sample=FAILED)
    [request] = await there.wait_for(1)
    assert request.line == "POST /hook/rockets?ref=main HTTP/1.1"
    assert request.headers["x-team"] == "rockets"
    assert request.headers["x-subject"].startswith("Fix fuel gauge")
    assert request.headers["circleci-signature"] == "v1=00"
    assert json.loads(request.body)["workflow"]["name"] == "build-and-ship"


async def test_labels_that_change_are_used_at_once(
    relay: Delivering, receiver: StartReceiver
) -> None:
    """A reload that changes nothing else leaves connections, breaker and hold as they are."""
    there = await receiver()
    settings = {"url": there.url(), "body": {"text": "{{ labels.team }}"}}
    senders = set()
    for team in ("one", "two"):
        relay.surroundings = Surroundings(labels=Labels({"*": {"team": team}}))
        await relay.configure(chat=settings)
        senders.add(relay.dispatcher._senders["chat"])
        await relay.accept("chat", sample=FAILED)
        await there.wait_for(1 if team == "one" else 2)
    assert [request.body for request in there.requests] == [b"one", b"two"]
    assert len(senders) == 1


async def test_a_large_event_is_told_like_any_other(
    clock: ManualClock, receiver: StartReceiver
) -> None:
    """Its message is made off the event loop, and a failure there is the same failure."""
    there = await receiver()
    body = json.dumps({"id": "1", "type": "x", "big": "x" * 200_000, "n": 0}).encode()
    for template, result in (
        ("{{ payload.big | length }}", Result.OK),
        ("{{ 1 / payload.n }}", Result.TEMPLATE),
    ):
        destination = a_destination(there.url(), body={"text": template})
        sender = Sender(destination, clock=clock, redact=Redaction())
        assert (await sender.attempt(a_claim(clock, body, facts='{"type":"x"}'))).result is result
        await sender.close()
    assert [request.body for request in there.requests] == [b"200000"]


async def test_a_message_that_cannot_be_made_is_dead(
    relay: Delivering, receiver: StartReceiver
) -> None:
    """At once, with the reason, and nothing is sent; the destination is not to blame."""
    there = await receiver()
    body = {"template": {"days": "{{ took / (pipeline_number - 412) }}"}}
    await relay.configure(chat={"url": there.url(), "body": body, "breaker": {"failures": 1}})
    await relay.accept("chat", sample=FAILED)
    [settlement] = await relay.watch.wait_for(1)
    assert settlement.outcome.result is Result.TEMPLATE
    assert (settlement.decision.state, settlement.decision.reason) == (State.DEAD, Reason.TEMPLATE)
    assert "body.days" in str(settlement.outcome.error)
    assert there.requests == []
    await relay.configure(chat={"url": there.url(), "body": TITLE})
    await relay.accept("chat", sample=FAILED)
    await there.wait_for(1)


async def test_what_is_held_goes_out_when_its_time_has_come(
    relay: Delivering, receiver: StartReceiver
) -> None:
    """The lane sleeps until then, whatever else it could do."""
    there = await receiver()
    await relay.configure(chat={"url": there.url()}, log={"url": there.url("/log")})
    await relay.accept("chat", sample=FAILED, quiet=Quiet(hold=600 * SECOND))
    await relay.accept("log", sample=SUCCESS)
    await relay.watch.wait_for(1)
    relay.clock.advance(600)
    requests = await there.wait_for(1)
    await relay.emptied("chat")
    assert [request.line.split()[1] for request in requests] == ["/log"]
    await relay.accept("chat", sample=FAILED, quiet=Quiet(hold=600 * SECOND))
    relay.clock.advance(600)
    assert (await there.wait_for(2))[1].line.split()[1] == "/hook"


async def test_several_are_one_message(relay: Delivering, receiver: StartReceiver) -> None:
    """Sent once, tried again as one, settled as one, counted each."""
    there = await receiver(answer(500), answer(200))
    retry = {"initial": "5s", "jitter": 0}
    await relay.configure(chat={"url": there.url(), "body": TITLE, "retry": retry})
    group = Quiet(group="run", wait=30 * SECOND, most=50)
    for _ in range(3):
        await relay.accept("chat", sample=FAILED, quiet=group)
    relay.clock.advance(30)
    await there.wait_for(1)
    await relay.watch.wait_for(1)
    await relay.accept("chat", sample=FAILED, quiet=group)
    relay.clock.advance(5)
    requests = await there.wait_for(2)
    await relay.watch.wait_for(2)
    assert [json.loads(request.body)["count"] for request in requests] == [3, 3]
    assert len({request.headers["webhook-id"] for request in requests}) == 1
    series = relay.watch._metrics.destination("chat")
    assert series.deliveries[State.DELIVERED]._value.get() == 3
    relay.clock.advance(25)
    assert json.loads((await there.wait_for(3))[2].body)["count"] == 1
