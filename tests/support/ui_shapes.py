"""What the page shows, made up: harmless, or as hostile as it can come."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from circleci_relay.console import shapes
from circleci_relay.model import Reason, Result, State

AT = datetime(2026, 3, 2, 9, 15, 44, tzinfo=UTC)

HOSTILE = (
    "<img src=x onerror=alert(1)>\"'><script>alert(2)</script>{{ 7 * 7 }}"
    "\u202egpj.exe\u2066\x00\x1b[31m &amp; " + "a" * 10_000
)

LINK = "javascript:alert(1)//" + HOSTILE[:100]


def an_event(text: str, **changes: Any) -> shapes.EventWhole:
    """An event all of whose texts are *text*."""
    given: dict[str, Any] = {
        "id": "01JNTEST",
        "circleci_id": text,
        "source": "circleci",
        "type": text,
        "received_at": AT,
        "title": text,
        "outcome": "bad",
        "facts": {"branch": text, "subject": text, "author": text, "url": LINK, "change": "broken"},
        "duplicates": 2,
        "conflicts": 1,
        "routes": ["main-is-red"],
        "deliveries": [a_brief("pager", State.DEAD), a_brief("chat", State.PENDING)],
        "headers": [(text, text), ("circleci-signature", "v1=ab")],
        "body": text,
        "payload": {text: [text, {"deep": {text: None}}, 1.5, True, [], {}]},
        "size": 1512,
        "repeats": shapes.Duplicates(
            count=2, conflicts=1, first_at=AT, last_at=AT + timedelta(minutes=1)
        ),
        "line": shapes.LineStanding(good=False, since=AT, streak=2, before_good=True),
        "verdicts": [
            a_verdict("main-is-red", text, matched=True),
            a_verdict("nightly", text, matched=False),
        ],
        "verdicts_note": text,
        "config_digest": "abcdef0123456789",
        "log": [a_delivery(text, State.DEAD), a_delivery(text, State.PENDING, id="8")],
    }
    return shapes.EventWhole(**given | changes)


def a_brief(destination: str, state: State) -> shapes.DeliveryBrief:
    """A delivery in an event's line."""
    return shapes.DeliveryBrief(id="7", destination=destination, state=state, replay=True)


def a_verdict(route: str, text: str, *, matched: bool) -> shapes.RouteVerdict:
    """What one route said."""
    return shapes.RouteVerdict(route=route, matched=matched, reason=text, to=["pager"])


def a_delivery(text: str, state: State = State.DEAD, **changes: Any) -> shapes.DeliveryWhole:
    """A delivery with one failed attempt."""
    pending = state is State.PENDING
    given: dict[str, Any] = {
        "id": "7",
        "event": "01JNTEST",
        "destination": "pager",
        "state": state,
        "waiting": "retrying" if pending else None,
        "due_at": AT + timedelta(minutes=5) if pending else None,
        "attempts": 1,
        "created_at": AT,
        "settled_at": None if pending else AT + timedelta(minutes=3),
        "reason": Reason.REFUSED if state is State.DEAD else None,
        "last_result": Result.SERVER_ERROR,
        "last_status": 500,
        "last_error": text,
        "webhook_id": text,
        "replay_of": "3",
        "replayed_by": None,
        "job": "01JNJOB",
        "together_with": "2",
        "title": text,
        "outcome": "bad",
        "received_at": AT,
        "log": [
            shapes.Attempt(
                number=1,
                started_at=AT + timedelta(seconds=1),
                duration=1.25,
                result=Result.SERVER_ERROR,
                status=500,
                error=text,
                excerpt=text,
            )
        ],
    }
    return shapes.DeliveryWhole(**given | changes)


def a_state(text: str, name: str = "pager", **changes: Any) -> shapes.DestinationState:
    """A destination that is paused, by somebody, with dead letters."""
    measured = shapes.Quantiles(
        attempts=10, delivered=7, dead=1, success_rate=0.9999, p50=0.2, p95=1.4
    )
    given: dict[str, Any] = {
        "name": name,
        "configured": False,
        "url": text,
        "state": "paused",
        "paused": True,
        "paused_by": text,
        "paused_at": AT,
        "paused_why": text,
        "breaker_open": True,
        "held_until": AT,
        "backlog": 3,
        "oldest": AT,
        "dead": 4,
        "hour": measured,
        "day": measured,
        "spark": [3, 0, 2, *[1] * 9],
        "spark_failed": [0, 5, 2, *[0] * 9],
    }
    return shapes.DestinationState(**given | changes)


def a_chart(*names: str) -> shapes.Chart:
    """An hour of counts."""
    series = [
        shapes.Series(name=name, counts=[(number * 7 + shift) % 11 for number in range(60)])
        for shift, name in enumerate(names)
    ]
    return shapes.Chart(span="hour", begins_at=AT, step=60, series=series)


def an_overview(text: str) -> shapes.Overview:
    """An overview with trouble on it."""
    return shapes.Overview(
        span="hour",
        troubles=[
            shapes.Trouble(
                level="bad", subject=text, text=text, since=AT, link="/destinations/pager"
            ),
            shapes.Trouble(level="warn", subject="store", text=text, since=None, link=None),
        ],
        events=a_chart("accepted", "duplicate", text[:60]),
        deliveries=a_chart("delivered", "dead", "cancelled"),
        destinations=[a_state(text)],
        last_event_at=AT,
        version="1",
        started_at=AT,
    )


def a_job(text: str) -> shapes.Job:
    """A job under way."""
    return shapes.Job(
        id="01JNJOB",
        kind="replay",
        state="running",
        request={"select": {"destination": "pager", "error": text}, "rate": 5.0},
        created_at=AT,
        created_by=text,
        expected=10,
        looked=5,
        made=4,
        skipped=1,
        progress=0.5,
        finished_at=AT,
        ended_by=text,
        error=text,
        states={"delivered": 3, "dead": 1},
    )


def a_reject(text: str) -> shapes.RejectWhole:
    """Something that was turned away."""
    return shapes.RejectWhole(
        id="01JNREJECT",
        source="circleci",
        secret=text,
        received_at=AT,
        last_at=AT,
        count=3,
        reason="unauthorized",
        detail=text,
        project=text,
        webhook=text,
        type=text,
        circleci_id=text,
        size=400,
        whole=True,
        event=None,
        headers=[(text, text)],
        body=text,
    )


def some_routes(text: str) -> shapes.Routes:
    """A configuration in force, with what went along it."""
    return shapes.Routes(
        config={
            "sources": {"circleci": {"path": "/webhooks/circleci"}},
            "destinations": {"pager": {"url": text}, "chat": {}},
            "routes": {
                "main-is-red": {
                    "match": {
                        "branch": [text, None],
                        "not": {"workflow": text},
                        "payload": {text: text},
                    },
                    "to": ["pager", "chat"],
                    "enabled": True,
                    "hold": 600.0,
                },
                "everything": {"match": None, "to": ["chat"], "enabled": False},
            },
        },
        digest="abcdef0123456789",
        restart_required=[text],
        warnings=[text],
        counts=[
            shapes.RouteCount(source="circleci", route="main-is-red", destination=None, count=12),
            shapes.RouteCount(source=None, route="main-is-red", destination="pager", count=12),
        ],
        counted_from=AT,
    )


def a_backtest(text: str) -> shapes.Backtest:
    """A backtest with differences."""
    example = shapes.Example(event="01JNTEST", title=text, received_at=AT)
    return shapes.Backtest(
        looked=100,
        added=2,
        dropped=1,
        unmatched_before=3,
        unmatched_after=2,
        differences=[
            shapes.Difference(
                route="nightly",
                destination="pager",
                added=2,
                dropped=1,
                added_examples=[example],
                dropped_examples=[example],
            )
        ],
        warnings=[
            shapes.ConfigFault(file=text, line=3, column=4, path=text, message=text, text=text)
        ],
        next="1.2",
        searched_to=AT,
    )
