"""From a request that is turned away to the event that a recheck makes of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from circleci_relay.circleci import signature
from circleci_relay.clock import ManualClock
from circleci_relay.config import Config, Rejects, load
from circleci_relay.console.doorstep import Doorstep
from circleci_relay.console.requests import Recheck, RejectQuery
from circleci_relay.doorstep import BYTES, LOOKED, ROOM, ROWS, Doorkeeper, Refused
from circleci_relay.errors import BadSignature, Invalid, Malformed, NotFound, StoreUnavailable
from circleci_relay.ingest import Ingest
from circleci_relay.metrics import Metrics
from circleci_relay.upkeep import Upkeep
from support.program import an_event

if TYPE_CHECKING:
    from pathlib import Path

    from support.storing import Bench

FOREVER = 1e18
SECRET = "the-secret-of-today"

Read = Callable[..., Awaitable[Config]]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Reads a configuration of one source."""

    async def configure(**source: Any) -> Config:
        file = tmp_path / "relay.yaml"
        settings = {"path": "/hook", "secrets": [SECRET]} | source
        text = json.dumps({"sources": {"circleci": settings}})
        await asyncio.to_thread(file.write_text, text)
        return (await asyncio.to_thread(load, [file])).config

    return configure


class Door:
    """All that stands at the door."""

    def __init__(self, bench: Bench, config: Config) -> None:
        metrics = Metrics(process=False)
        metrics.declare(sources={"circleci": ["1"]}, routes=[], destinations=[])
        store, clock = bench.store, bench.clock
        self.keeper = Doorkeeper(store=store, clock=clock, redact=str)
        self.ingest = Ingest(store=store, metrics=metrics, clock=clock, doorkeeper=self.keeper)
        self.upkeep = Upkeep(store=store, clock=clock, metrics=metrics)
        self.console = Doorstep(store=store, ingest=self.ingest, clock=clock, redact=str)
        self.take_up(config)

    def take_up(self, config: Config) -> None:
        """Go on with *config*."""
        for each in (self.keeper, self.ingest, self.upkeep):
            each.configure(config)

    async def turn_away(self, path: str, body: bytes, **headers: str) -> str:
        """Post *body*, and have it turned away; why."""
        door = self.ingest.find(path)
        assert door is not None
        given = CIMultiDictProxy(
            CIMultiDict({name.replace("_", "-"): text for name, text in headers.items()})
        )
        with pytest.raises((BadSignature, Malformed)) as fault:
            await self.ingest.receive(door, given, body, deadline=FOREVER)
        return str(fault.value)


def signed(body: bytes, secret: str = SECRET) -> str:
    """The signature CircleCI would send."""
    return signature.sign(body, secret.encode())


async def test_a_mistyped_secret_loses_nothing(bench: Bench, read: Read) -> None:
    """What was turned away is listed, untrusted, and taken in once the secret is mended."""
    at = Door(bench, await read(secrets=["mistyped"]))
    for number in (1, 2, 2):
        body = an_event(
            number, workflow={"name": "build", "status": ("failed", "success")[number - 1]}
        )
        bench.clock.advance(1)
        headers = {
            "circleci_signature": signed(body),
            "authorization": "Bearer hidden",
            "cookie": "a=b",
            "content_length": str(len(body)),
        }
        await at.turn_away("/hook", body, **headers)
    await at.turn_away("/hook", an_event(3), circleci_signature=signed(an_event(3), "a stranger's"))
    large = CIMultiDictProxy(CIMultiDict({"circleci-event-type": "ping"}))
    door = at.ingest.find("/hook")
    assert door is not None
    at.ingest.too_large(door, large, b"{", size=9_000_000, detail="too large")
    await at.keeper.close()

    found = await at.console.rejects(RejectQuery())
    assert [each.count for each in found.items] == [1, 1, 2, 1]
    assert found.next is None
    by_reason = await at.console.rejects(RejectQuery(reason="too_large", source="circleci"))
    [cut] = by_reason.items
    assert (cut.whole, cut.size, cut.type, cut.project) == (False, 9_000_000, "ping", None)
    first = await at.console.reject(found.items[-1].id)
    assert (first.project, first.webhook, first.type) == (
        *("github/acme/launchpad", "relay", "workflow-completed"),
    )
    assert first.circleci_id == json.loads(an_event(1))["id"]
    assert json.loads(first.body)["workflow"]["status"] == "failed"
    assert {name for name, _ in first.headers} == {"circleci-signature", "content-length"}
    with pytest.raises(NotFound):
        await at.console.reject("none")
    with pytest.raises(Invalid):
        await at.console.rejects(RejectQuery(before="nonsense"))

    outcome = await at.console.recheck(Recheck(), "ann")
    assert (outcome.checked, outcome.taken) == (4, 0)
    assert outcome.still == {"incomplete": 1, "unauthorized": 3}

    at.take_up(await read())
    await bench.store.reconcile(())
    outcome = await at.console.recheck(Recheck(source="circleci"), "ann")
    assert (outcome.checked, outcome.taken, outcome.next) == (4, 2, None)
    assert outcome.still == {"incomplete": 1, "unauthorized": 1}
    stored = await asyncio.to_thread(bench.rows, "SELECT public_id, facts FROM events ORDER BY key")
    assert outcome.events == [row["public_id"] for row in stored]
    assert [json.loads(row["facts"]).get("change") for row in stored] == [None, "fixed"]
    marked = await asyncio.to_thread(
        bench.rows, "SELECT event FROM rejects WHERE event IS NOT NULL"
    )
    assert sorted(row["event"] for row in marked) == sorted(outcome.events)
    audit = await asyncio.to_thread(bench.row, "SELECT who, action, target FROM audit")
    assert audit == {"who": "ann", "action": "recheck", "target": "circleci"}

    # Once more: what was taken is left alone, unless it is asked for, and then known already.
    outcome = await at.console.recheck(Recheck(), "ann")
    assert (outcome.checked, outcome.taken) == (2, 0)
    outcome = await at.console.recheck(Recheck(ids=[first.id, first.id, "none"]), "ann")
    assert (outcome.checked, outcome.taken) == (1, 1)
    assert outcome.events == [(await at.console.reject(first.id)).event]


async def test_a_name_that_comes_later(bench: Bench, read: Read) -> None:
    """What was posted under the name of no secret is taken in once there is one."""
    named = {"path": "/hook/{secret}"}
    at = Door(bench, await read(**named, secrets={"web": "another"}))
    assert at.ingest.find("/hook/api") is None
    assert at.ingest.near("/elsewhere/api") is None
    door = at.ingest.near("/hook/api")
    assert door is not None
    body = an_event(1)
    headers = CIMultiDictProxy(CIMultiDict({"circleci-signature": signed(body)}))
    at.ingest.stray(door, headers, body)
    await at.keeper.close()
    [reject] = (await at.console.rejects(RejectQuery())).items
    assert (reject.secret, reject.reason, reject.whole) == ("api", "unauthorized", True)

    # Under its own name alone, though another secret would fit.
    at.take_up(await read(**named, secrets={"web": SECRET}))
    assert (await at.console.recheck(Recheck(), "ann")).taken == 0
    at.take_up(await read(**named, secrets={"api": SECRET}, rejects={"max": 0}))
    assert at.ingest.near("/hook/other") is None
    await bench.store.reconcile(())
    assert (await at.console.recheck(Recheck(), "ann")).taken == 1


async def test_upkeep_forgets(bench: Bench, read: Read) -> None:
    """What is older than `keep` goes; with `max: 0` nothing is kept at all."""
    at = Door(bench, await read(rejects={"keep": "1h"}))
    for number in range(3):
        await at.turn_away("/hook", an_event(number))
    await at.turn_away("/hook", b"not JSON", circleci_signature=signed(b"not JSON"))
    assert await at.keeper.write()
    bench.clock.advance(3000)
    await at.turn_away("/hook", an_event(1))
    assert await at.keeper.write()
    reasons = [each.reason for each in (await at.console.rejects(RejectQuery(limit=2))).items]
    assert reasons == ["unauthorized", "malformed"]
    bench.clock.advance(700)
    await at.upkeep.round()
    [left] = (await at.console.rejects(RejectQuery())).items
    assert left.count == 2

    at.take_up(await read(rejects={"max": 0}))
    await at.turn_away("/hook", an_event(8))
    await at.keeper.close()
    await at.upkeep.round()
    assert (await at.console.rejects(RejectQuery())).items == []


async def test_a_flood_does_not_push_out_all_else(bench: Bench, read: Read) -> None:
    """Memory and rows are bounded; one of another project is written with the first of it."""
    at = Door(bench, await read())
    forged = [an_event(number, project={"slug": "gh/acme/forged"}) for number in range(3 * ROOM)]
    for body in forged:
        await at.turn_away("/hook", body, circleci_signature=signed(body, "forger"))
    await at.turn_away("/hook", an_event(9999))
    assert len(at.keeper._held) == ROOM
    assert at.keeper.missed == 2 * ROOM + 1

    await at.keeper.write()
    found = await at.console.rejects(RejectQuery(limit=200))
    assert len(found.items) == ROWS
    assert "github/acme/launchpad" in {each.project for each in found.items}
    await at.keeper.close()
    found = await at.console.rejects(RejectQuery(limit=200))
    assert len(found.items) == ROOM


async def test_what_cannot_be_written_waits(away: Bench, read: Read) -> None:
    """While the store is away, it stays in memory."""
    at = Door(away, await read())
    await at.turn_away("/hook", an_event(1))
    assert not await at.keeper.write()
    assert at.keeper._held


class Sold:
    """A store that is never reached."""

    async def do(self, _step: object) -> None:
        """Be away."""
        raise StoreUnavailable("away")


def refused(body: bytes, **changes: Any) -> Refused:
    """A request that was turned away."""
    headers = CIMultiDictProxy(CIMultiDict(changes.pop("headers", {})))
    size = changes.pop("size", len(body))
    about = {"source": "circleci", "secret": None, "reason": "malformed", "detail": "it is"}
    return Refused(**(about | changes), headers=headers, body=body, size=size)


async def test_memory_is_bounded(read: Read) -> None:
    """By bytes too, and so is what is looked at within a second."""
    keeper = Doorkeeper(store=Sold(), clock=(clock := ManualClock()), redact=str)  # type: ignore[arg-type]
    keeper.configure(await read(rejects={"max_body": "1MiB"}))
    large = b"x" * (1 << 20)
    for number in range(10):
        keeper.note(refused(bytes([number]) + large))
        clock.advance(1)
    assert keeper._bytes == BYTES
    assert len(keeper._held) == 4
    for number in range(10_000):
        keeper.note(refused(b"%d" % number))
    assert keeper.missed > 5_000
    assert keeper._looked > LOOKED


@given(
    body=st.binary(max_size=200)
    | st.recursive(
        st.none() | st.integers() | st.text(st.characters()),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["id", "type", "project", "webhook", "name"]), inner)
        ),
        max_leaves=8,
    ).map(lambda value: json.dumps(value).encode()),
    header=st.text(max_size=20),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_nothing_in_it_is_trusted(body: bytes, header: str) -> None:
    """Whatever the bytes, they are noted, and all texts are such as both databases take."""

    async def note() -> None:
        keeper = Doorkeeper(store=Sold(), clock=ManualClock(), redact=str)  # type: ignore[arg-type]
        keeper._settings = {"circleci": Rejects()}
        headers = {"circleci-signature": header, "content-length": header}
        keeper.note(refused(body, headers=headers, secret=header))
        [noted] = keeper._held.values()
        texts = [*noted.claims.values(), noted.secret or "", *dict(noted.headers).values()]
        assert all(text.isprintable() and len(text) <= 200 for text in texts)
        assert noted.body == body

    asyncio.run(note())


async def test_deep_nesting_is_no_fault(read: Read) -> None:
    """A body that no parser follows claims nothing."""
    keeper = Doorkeeper(store=Sold(), clock=ManualClock(), redact=str)  # type: ignore[arg-type]
    keeper.configure(await read())
    keeper.note(refused(b'{"project":' + b"[" * 60_000))
    [noted] = keeper._held.values()
    assert noted.claims == {}
