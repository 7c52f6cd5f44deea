"""
Replays and cancellations of many deliveries, step by step.

A step is a part of one transaction: it holds the job's row, takes the next window of what is
selected, makes so many replays at most, and writes how far it has come. So each is made exactly
once, whatever crashes, and however many replicas make steps.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from circleci_relay.errors import Conflict, NotFound
from circleci_relay.model import SECOND, Reason, State
from circleci_relay.store.database import Nature
from circleci_relay.store.encode import parse, text
from circleci_relay.store.repair import audit
from circleci_relay.store.repair.cancel import Cancelled, cancel
from circleci_relay.store.repair.plan import Plan, stored_events
from circleci_relay.store.repair.replay import deliveries_of, lock, make
from circleci_relay.store.repair.selection import Bounds, selection_of, walk_of
from circleci_relay.store.unit import Again, Faulty
from circleci_relay.ulid import Ulids

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from circleci_relay.model import Micros
    from circleci_relay.store.repair.plan import Choose
    from circleci_relay.store.repair.selection import Candidate, Window
    from circleci_relay.store.unit import Unit

    T = TypeVar("T")

STEP = 100
"""Deliveries one step makes, or ends, at most: senders wait for it."""

EVENTS = 40
"""Events one step routes anew at most."""

BURSTS = 4
"""Steps a second at least, where there is a rate to keep."""

WINDOWS = 4
"""Windows one step passes by while nothing in them is selected."""

MOST = 20
"""Jobs at once."""

ROOM = 200
"""
Replays of a job that may wait for their first attempt.

What comes new goes behind what is due already: were all of a hundred thousand due at once, a
destination that takes one a second would hear nothing new for a day.
"""

LATER = SECOND // 4
"""Until a job looks again whether there is room."""

STUCK = 60 * SECOND
"""After so long without a first attempt it goes on all the same: what waits may be paused."""

_CHANGING = (
    "state",
    "position",
    "looked",
    "made",
    "skipped",
    "next_at",
    "finished_at",
    "ended_by",
    "error",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stepped:
    """What one step did."""

    job: str
    state: str
    finished: bool = False
    woken: frozenset[str] = frozenset()  #: destinations where something is due now
    cancelled: Mapping[str, int] = field(default_factory=dict)  #: by destination
    fault: Exception | None = None  #: a fault of this program's, which ended the job


def start(
    unit: Unit,
    *,
    kind: str,
    request: Mapping[str, Any],
    idempotency_key: str,
    expected: int | None,
    who: str,
) -> str:
    """Put a job on record, unless it is there already under the same key; its id."""
    run, statements = unit.connection.execute, unit.statements
    ceiling = run(statements.ceiling).scalar_one()
    written = text(dict(request))
    known = run(statements.job_by_key, {"named": idempotency_key}).first()
    if known is not None:
        if (known.kind, known.request) != (kind, written):
            raise Conflict(f"this idempotency key was used for another request: job {known.id}")
        return str(known.id)
    running = [row for row in run(statements.unfinished_jobs) if row.state == "running"]
    for row in running:
        if (row.kind, row.request) == (kind, written):
            raise Conflict(f"the same is under way as job {row.id}")
    if len(running) >= MOST:
        raise Conflict(f"{MOST} jobs are under way: wait for one, or cancel one")
    job = Ulids().next(unit.now)
    run(
        statements.add_job,
        {
            "id": job,
            "kind": kind,
            "state": "running",
            "request": written,
            "idempotency_key": idempotency_key,
            "created_at": unit.now,
            "created_by": who,
            "ceiling": ceiling,
            "expected": expected,
            "next_at": unit.now,
        },
    )
    audit.note(unit, who, kind, f"job {job}", {"request": dict(request), "expected": expected})
    return job


def cancel_job(unit: Unit, job: str, *, who: str) -> None:
    """Stop a job; what it made and nobody attempted yet is taken back, step by step."""
    row = unit.connection.execute(unit.statements.lock_job, {"named": job}).first()
    if row is None:
        raise NotFound("there is no such job, or no more")
    if row.state != "running":
        raise Conflict(f"the job is {row.state} already")
    share = parse(row.position).get("share") if row.position else None
    _put(
        unit,
        row,
        state="cancelled",
        position=text({"undo": -1, "share": share}),
        next_at=unit.now,
        finished_at=unit.now if row.kind == "cancel" else None,
        ended_by=who,
    )
    audit.note(unit, who, "cancel", f"job {job}", {"made": row.made})


def step(unit: Unit, choose: Choose) -> Stepped | None:
    """
    Make one step of the job whose turn it is; None if it is none's.

    *choose* says where the routes in force send an event. A fault in here ends the job, and
    takes nothing else of the transaction with it.
    """
    row = unit.connection.execute(unit.statements.next_job, {"now": unit.now}).first()
    if row is None:
        return None
    work = _undo if row.state == "cancelled" else _go_on
    try:
        return _apart(unit, lambda: work(unit, row, choose))
    except _Fault as fault:
        cause = fault.__cause__
        _put(
            unit,
            row,
            state="failed" if row.state == "running" else row.state,
            finished_at=unit.now,
            error=f"a fault in the relay, which its log tells of: {type(cause).__name__}",
        )
        found = cause if isinstance(cause, Exception) else fault
        return Stepped(job=row.id, state="failed", fault=found)


class _Fault(Exception):  # noqa: N818 - its cause is
    """Something in a step is wrong; what it did is undone."""


def _apart(unit: Unit, work: Callable[[], T]) -> T:
    """Do *work* so that a fault in it undoes nothing else."""
    then = len(unit.then)
    nested = unit.connection.begin_nested()
    try:
        done = work()
    except (Again, Faulty):
        raise
    except Exception as error:
        if unit.database.nature_of(error) in {Nature.OUTAGE, Nature.CROSSED}:
            raise
        nested.rollback()
        unit.memory.delivery_keys.discard()  # the block may have been taken in there
        del unit.then[then:]
        raise _Fault from error
    nested.commit()
    return done


def _go_on(unit: Unit, row: Any, choose: Choose) -> Stepped:
    request = parse(row.request)
    rate = request.get("rate")
    anew = request.get("routes") == "now"
    most = EVENTS if anew else STEP
    if rate is not None:
        most = max(1, min(most, int(rate / BURSTS)))
    walk = walk_of(
        selection_of(request["select"]),
        Bounds(at=row.created_at, ceiling=row.ceiling, job=row.id),
        by_event=anew,
    )
    position = None if row.position is None else parse(row.position)
    waits = _waits(unit, row, position) if row.kind == "replay" else None
    if waits is not None and unit.now - waits["since"] < STUCK:
        _put(unit, row, position=_text(position or {}, waits), next_at=unit.now + LATER)
        return Stepped(job=row.id, state="running")
    looked, window = row.looked, walk(unit.connection, position, most)
    looked += window.looked
    for _ in range(WINDOWS - 1):
        if window.found or window.position is None:
            break
        window = walk(unit.connection, window.position, most)
        looked += window.looked
    done = _Done()
    if window.found:
        act = _end if row.kind == "cancel" else _renew if anew else _repeat
        done = act(unit, row, request, window.found, choose)
    _put(
        unit,
        row,
        state="running" if window.position is not None else "done",
        position=row.position if window.position is None else _text(window.position, waits),
        looked=looked,
        made=row.made + done.made,
        skipped=row.skipped + done.skipped,
        next_at=unit.now + (round(done.made / rate * SECOND) if rate else 0),
        finished_at=None if window.position is not None else unit.now,
    )
    return done.told(row, window)


def _waits(unit: Unit, row: Any, position: Mapping[str, Any] | None) -> Mapping[str, Micros] | None:
    """The first of those that wait for their first attempt, and since when it is that one."""
    if position is None:
        return None
    asked = {"job": row.id, "after": -1, "limit": ROOM}
    untouched = unit.connection.execute(unit.statements.made_by, asked).scalars().all()
    if len(untouched) < ROOM:
        return None
    before: Mapping[str, Micros] = position.get("waits") or {}
    if before.get("first") == untouched[0]:
        return before
    return {"first": untouched[0], "since": unit.now}


def _text(position: Mapping[str, Any], waits: Mapping[str, Micros] | None) -> str:
    return text(dict(position) if waits is None else {**position, "waits": waits})


@dataclass(slots=True, kw_only=True)
class _Done:
    """What became of one window."""

    made: int = 0
    skipped: int = 0
    woken: frozenset[str] = frozenset()
    cancelled: Mapping[str, int] = field(default_factory=Counter)

    def told(self, row: Any, window: Window) -> Stepped:
        return Stepped(
            job=row.id,
            state="running" if window.position is not None else "done",
            finished=window.position is None,
            woken=self.woken,
            cancelled=self.cancelled,
        )


def _repeat(
    unit: Unit, row: Any, request: Mapping[str, Any], found: list[Candidate], _: Choose
) -> _Done:
    """Deliver each of what was found once more, where it went."""
    plan = _plan(unit, row, found)
    events = plan.ids.keys()
    plan.repeat(found, deliveries_of(unit.connection, unit.statements, events))
    return _made(unit, row, request, plan)


def _renew(
    unit: Unit, row: Any, request: Mapping[str, Any], found: list[Candidate], choose: Choose
) -> _Done:
    """Deliver each event found to where it should be by now and is not."""
    plan = _plan(unit, row, found)
    plan.renew(
        stored_events(unit.connection, plan.ids),
        deliveries_of(unit.connection, unit.statements, plan.ids),
        choose=choose,
        to=request.get("to"),
        superseded=asks_for_superseded(request["select"]),
    )
    return _made(unit, row, request, plan)


def asks_for_superseded(select: Mapping[str, Any]) -> bool:
    """Whether a stored selection is about what was superseded."""
    asked = (select.get("state"), select.get("reason"))
    return State.CANCELLED in asked or Reason.SUPERSEDED in asked


def _plan(unit: Unit, row: Any, found: list[Candidate]) -> Plan:
    ids = lock(unit, [each.event for each in found])
    return Plan(configured=unit.memory.stopped, job=row.id, ids=ids)


def _made(unit: Unit, row: Any, request: Mapping[str, Any], plan: Plan) -> _Done:
    made = make(unit, plan.makings, new_id=bool(request.get("new_id")), job=row.id)
    return _Done(made=len(made.keys), skipped=plan.skipped, woken=made.destinations)


def _end(
    unit: Unit, _row: Any, _request: Mapping[str, Any], found: list[Candidate], _choose: Choose
) -> _Done:
    """Cancel what was found, and is still pending."""
    events = lock(unit, [each.event for each in found])
    ended = cancel(unit, [each.key for each in found if each.key is not None], events)
    return _Done(
        made=len(ended.keys),
        skipped=len(found) - len(ended.keys),
        woken=ended.freed,
        cancelled=ended.counts,
    )


def _undo(unit: Unit, row: Any, _: Choose) -> Stepped:
    """Take back some of what a cancelled job made and nobody attempted yet."""
    position = parse(row.position)
    keys = list(
        unit.connection.execute(
            unit.statements.made_by,
            {"job": row.id, "after": position["undo"], "limit": STEP},
        ).scalars()
    )
    ended = Cancelled()
    if keys:
        found = unit.connection.execute(unit.statements.events_of, {"keys": keys})
        events = lock(unit, [each.event for each in found])
        ended = cancel(unit, keys, events, untouched=True)
        position = {**position, "undo": keys[-1]}
    through = len(keys) < STEP
    over = through and not _begun(unit, row)
    if through:
        position = {**position, "undo": -1}
    _put(
        unit,
        row,
        position=text(position),
        next_at=unit.now + (SECOND if through else 0),
        finished_at=unit.now if over else None,
    )
    return Stepped(
        job=row.id, state="cancelled", finished=over, woken=ended.freed, cancelled=ended.counts
    )


def _begun(unit: Unit, row: Any) -> bool:
    """Whether a lane has some in hand that it may still give back unattempted."""
    asked = {"job": row.id, "now": unit.now}
    return unit.connection.execute(unit.statements.begun_by, asked).first() is not None


def _put(unit: Unit, row: Any, **changed: Any) -> None:
    values = {name: changed.get(name, getattr(row, name)) for name in _CHANGING}
    unit.connection.execute(unit.statements.put_job, {"named": row.id, **values})
