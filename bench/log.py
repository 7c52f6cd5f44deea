"""Suite `log`: how long each look at a log of a million events takes."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from bench import report
from bench.stage import Finding, median
from bench.stock import Past, stocked
from bench.subjects import POSTGRES, RELAY
from circleci_relay.clock import SystemClock
from circleci_relay.console.looking import Looking
from circleci_relay.console.requests import DeadQuery, DeliveryQuery, EventQuery
from circleci_relay.redaction import Redaction
from circleci_relay.store import Store

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from bench.databases import Database
    from bench.stage import Stage
    from circleci_relay.model import Claim
    from circleci_relay.store import Offer

    Look = Callable[[Looking], Awaitable[object]]

FAN_OUT = 2
ROUNDS = 9
TOLERATED = 100.0  #: milliseconds a look may take
RARE = "zyzzyva"
FAILING = "d0"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


async def log(stage: Stage) -> Finding:
    """Each list by each filter, deep pages, dead letters, one event: milliseconds."""
    finding = Finding(data=(data := {}))
    stored = stage.options.stored // (10 if stage.options.quick else 1)
    for subject in stage.available(RELAY, POSTGRES):
        database = await stocked(
            stage, subject, Past(events=stored, fan_out=FAN_OUT, pending=False)
        )
        with stage.doing(f"{subject.name}: an incident and its traces"):
            database.script(lived(database))
            database.settle()
        with stage.doing(f"{subject.name}: looking"):
            found = await looks(database, rounds=2 if stage.options.quick else ROUNDS)
        shown = report.grid(
            f"{subject.name}: looks at {stored:,} events and {stored * FAN_OUT:,} deliveries",
            *("", "p50 ms", "max ms", "found", ""),
        )
        for name, look in found.items():
            note = "" if look.ended else "looked on from there"
            shown.add_row(name, f"{look.p50:.1f}", f"{look.most:.1f}", f"{look.found:,}", note)
        slowest = max(look.p50 for name, look in found.items() if name not in WHOLE)
        finding.shown += [
            shown,
            report.verdict(
                f"{subject.name}: the slowest look takes {slowest:.0f} ms (target {TOLERATED:.0f})",
                met=slowest <= TOLERATED,
            ),
        ]
        data[subject.key] = {
            name: {"p50": look.p50, "max": look.most, "found": look.found, "ended": look.ended}
            for name, look in found.items()
        }
    return finding


def lived(database: Database) -> list[str]:
    """Statements that give the past what people look for; all else was delivered at once."""
    [[first, last]] = database.rows("SELECT min(received_at), max(received_at) FROM events")
    middle, brief = (first + last) // 2, (last - first) // 100
    incident = f"""
        UPDATE deliveries SET state = 'dead', reason = 'max_attempts', last_status = 503,
        settled_at = COALESCE(settled_at, created_at),
        last_result = 'server_error', last_error = 'answered 503 Service Unavailable'
        WHERE destination = '{FAILING}' AND created_at BETWEEN {middle} AND {middle + brief}
    """  # noqa: S608 - made of numbers and names of its own
    waiting = f"""
        UPDATE deliveries SET state = 'pending', settled_at = NULL, due_at = {last * 2}
        WHERE key % 99991 = 0
    """  # noqa: S608
    rare = f"""
        UPDATE events SET facts = replace(facts, '{{"type"', '{{"tag":"{RARE}","type"')
        WHERE key IN (SELECT key FROM events ORDER BY received_at LIMIT 5)
    """  # noqa: S608
    return [
        incident,
        waiting,
        rare,
        "UPDATE events SET deliveries = 0 WHERE key % 2003 = 0",
        "UPDATE events SET duplicates = 1, conflicts = key % 2 WHERE key % 1009 = 0",
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """How long one kind of look took."""

    p50: float  #: milliseconds
    most: float
    found: int
    ended: bool  #: it came to the end, or filled its page


class NoLanes:
    """Nothing is delivered while one looks."""

    def offer(self) -> Mapping[str, Offer]:
        """No room."""
        return {}

    def take(self, claims: Sequence[Claim]) -> None:
        """Nothing comes."""

    def withdraw(self) -> None:
        """Nothing was offered."""

    def wake(self, destinations: Iterable[str]) -> None:
        """Nobody sleeps."""

    def expect(self, due: Mapping[str, int]) -> None:
        """Nobody waits."""


async def looks(database: Database, *, rounds: int) -> dict[str, Measured]:
    """Measure every kind of look, so many times each."""
    clock = SystemClock()
    store = await Store.open(database.url, clock=clock, lanes=NoLanes())
    service = Looking(
        store=store,
        clock=clock,
        configured=lambda: {f"d{number}": False for number in range(FAN_OUT)},
        redact=Redaction({"a-secret-of-some-length"}),
    )
    try:
        found = {
            name: await _measured(service, look, rounds=rounds)
            for name, look in kinds(database).items()
        }
        found[WHOLE[0]] = await _to_the_end(service, EventQuery(text=RARE))
        return found
    finally:
        await store.close()


WHOLE = ("events: rare text, followed to the end",)


def kinds(database: Database) -> dict[str, Look]:
    """Every kind of look the page has, each filter alone."""
    [[first, last]] = database.rows("SELECT min(received_at), max(received_at) FROM events")
    [[newest]] = database.rows("SELECT max(key) FROM deliveries")
    middle = (first + last) // 2
    [[one]] = database.rows(f"SELECT max(public_id) FROM events WHERE received_at <= {middle}")  # noqa: S608
    [[other]] = database.rows(f"SELECT id FROM events WHERE public_id = '{one}'")  # noqa: S608
    then = EPOCH + timedelta(microseconds=middle)
    period: dict[str, object] = {"since": then, "until": then + timedelta(hours=1)}
    events: dict[str, dict[str, object]] = {
        "all": {},
        "deep": {"before": f"{middle}.{2**62}"},
        "source": {"source": "circleci"},
        "no source": {"source": "other"},
        "type": {"type": "job-completed"},
        "status": {"status": "failed"},
        "no branch": {"branch": "nowhere"},
        "no author": {"author": "Nobody at all"},
        "no project": {"project": "github/acme/nothing"},
        "no revision": {"revision": "deadbeef"},
        "no number": {"pipeline_number": 987_654_321},
        "common text": {"text": "ACME"},
        "rare text": {"text": RARE},
        "rare text, deep": {"text": RARE, "before": f"{middle}.{2**62}"},
        "no emoji": {"text": "\U0001f9a5"},
        "accented text": {"text": "Éè"},
        "period": period,
        "period, no text": {**period, "text": "nowhere"},
        **{name: {"outcome": name} for name in OUTCOMES},
        "destination": {"destination": "d1"},
        "no destination": {"destination": "nowhere"},
        "dead there": {"outcome": "dead", "destination": "d1"},
        "id": {"id": one},
        "CircleCI's id": {"id": other},
        "no id": {"id": "nothing"},
    }
    deliveries: dict[str, dict[str, object]] = {
        "all": {},
        "deep": {"before": str(newest // 2)},
        "destination": {"destination": "d1"},
        "no destination": {"destination": "nowhere"},
        **{name: {"state": name} for name in ("pending", "delivered", "dead", "cancelled")},
        "dead, not replayed": {"state": "dead", "replayed": False, "destination": FAILING},
        "reason": {"reason": "max_attempts"},
        "result": {"result": "timeout"},
        "status": {"status": 503},
        "no error": {"error": "nothing of the kind"},
        "period": period,
    }
    return {
        **{f"events: {name}": _events(query) for name, query in events.items()},
        **{f"deliveries: {name}": _deliveries(query) for name, query in deliveries.items()},
        "event, whole": lambda looking: looking.event(one),
        "body": lambda looking: looking.event_body(one),
        "delivery, whole": lambda looking: looking.delivery(str(newest)),
        "dead letters, grouped": lambda looking: looking.dead(DeadQuery()),
        "dead letters of one": lambda looking: looking.dead(DeadQuery(destination=FAILING)),
    }


OUTCOMES = ("unmatched", "duplicate", "conflict", "dead", "delivered", "pending")


def _events(query: Mapping[str, object]) -> Look:
    asked = EventQuery.model_validate(query)
    return lambda looking: looking.events(asked)


def _deliveries(query: Mapping[str, object]) -> Look:
    asked = DeliveryQuery.model_validate(query)
    return lambda looking: looking.deliveries(asked)


async def _measured(service: Looking, look: Look, *, rounds: int) -> Measured:
    spans = []
    await look(service)  # what is read for the first time, statements too, is another matter
    for _ in range(rounds):
        began = time.perf_counter()
        answer = await look(service)
        spans.append((time.perf_counter() - began) * 1e3)
    items = getattr(answer, "items", None)
    found = getattr(answer, "total", 1) if items is None else len(items)
    ended = getattr(answer, "searched_to", None) is None
    return Measured(p50=median(spans), most=max(spans), found=found, ended=ended)


async def _to_the_end(service: Looking, query: EventQuery) -> Measured:
    """All pages of it: how long that takes, and how long the longest of them."""
    spans, found = [], 0
    while True:
        began = time.perf_counter()
        page = await service.events(query)
        spans.append((time.perf_counter() - began) * 1e3)
        found += len(page.items)
        if page.next is None:
            return Measured(p50=sum(spans), most=max(spans), found=found, ended=True)
        query = query.model_copy(update={"before": page.next})
