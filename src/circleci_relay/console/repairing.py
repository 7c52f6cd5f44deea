"""What an operator changes: replays, cancellations, pauses, and jobs of many."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import structlog

from circleci_relay.config.faults import near
from circleci_relay.console import shapes
from circleci_relay.console.cursors import instant, moment, moment_or_none
from circleci_relay.console.running import count_cancelled
from circleci_relay.errors import Conflict, Invalid, NotFound, Unanswerable
from circleci_relay.model import State
from circleci_relay.store.log import jobs as job_log
from circleci_relay.store.log.chosen import chosen
from circleci_relay.store.log.deliveries import due_at
from circleci_relay.store.log.events import keys_of
from circleci_relay.store.repair import answered, cancel, controls, jobs, replay
from circleci_relay.store.repair.preview import Count, Preview
from circleci_relay.store.repair.selection import Selection
from circleci_relay.ulid import Ulids

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from circleci_relay.clock import Clock
    from circleci_relay.config.model import Config
    from circleci_relay.console import requests
    from circleci_relay.console.names import Names
    from circleci_relay.console.running import Running
    from circleci_relay.console.showing import Showing
    from circleci_relay.delivery.dispatcher import Dispatcher
    from circleci_relay.metrics import Metrics
    from circleci_relay.store import Store
    from circleci_relay.store.log.period import Stored
    from circleci_relay.store.unit import Unit

T = TypeVar("T")

LOOK = 0.04
"""Seconds one look of a dry run takes: others wait for it."""

LONGEST = 2.0
"""Seconds after which a dry run answers with what it has counted."""

BRIEFLY = 0.5
"""The same where a job is started: there it is only for telling how far it is."""

_LARGEST = 2**63 - 1

log = structlog.get_logger()


class Repairing:
    """
    Changes what is stored, each thing in one transaction with its line in the audit log.

    *who* is the name of the token of whoever asks.
    """

    def __init__(  # noqa: PLR0913 - its services
        self,
        store: Store,
        dispatcher: Dispatcher,
        *,
        running: Running,
        showing: Showing,
        clock: Clock,
        metrics: Metrics,
        in_force: Callable[[], Config],
        choose: Callable[[Stored], tuple[str, ...]],
        names: Names | None = None,
    ) -> None:
        self._store = store
        self._dispatcher = dispatcher
        self._running = running
        self._showing = showing
        self._clock = clock
        self._metrics = metrics
        self._in_force = in_force
        self._choose = choose
        self._names = names
        self._ids = Ulids()

    # One

    async def replay_event(self, name: str, wanted: requests.ReplayEvent, who: str) -> shapes.Made:
        """Deliver an event, by the relay's id or CircleCI's, once more."""
        keys = await self._store.look(lambda connection: keys_of(connection, name))
        if not keys:
            raise NotFound("there is no such event, or no more")
        made = await self._do(
            lambda unit: replay.replay_event(
                unit,
                keys[0],
                to=wanted.destinations,
                new_id=wanted.new_id,
                again=wanted.again,
                who=who,
            )
        )
        return await self._replayed(made)

    async def replay_delivery(self, name: str, wanted: requests.ReplayOne, who: str) -> shapes.Made:
        """Make a delivery once more."""
        key = _key(name)
        made = await self._do(
            lambda unit: replay.replay_delivery(
                unit, key, new_id=wanted.new_id, again=wanted.again, who=who
            )
        )
        return await self._replayed(made)

    async def _replayed(self, made: replay.Replayed) -> shapes.Made:
        # Other replicas find it by looking, some seconds later.
        self._dispatcher.wake(made.destinations)
        return await self._made(made.keys)

    async def cancel_delivery(self, name: str, who: str) -> shapes.Made:
        """End a delivery that is pending."""
        key = _key(name)
        done = await self._do(lambda unit: cancel.cancel_delivery(unit, key, who=who))
        count_cancelled(self._metrics, done.counts)
        self._dispatcher.wake(done.freed)
        return await self._made(done.keys)

    # Destinations

    async def pause(self, name: str, wanted: requests.Pause, who: str) -> None:
        """Let no attempt begin at a destination, on any replica, until it is resumed."""
        await self._do(lambda unit: controls.pause(unit, name, why=wanted.why, who=who))
        await self._running.look()

    async def resume(self, name: str, who: str) -> None:
        """Let attempts begin again; not where relay.yaml says otherwise."""
        destination = self._in_force().destinations.get(name)
        if destination is not None and destination.paused:
            raise Conflict("relay.yaml has it paused: take `paused: true` out there")
        await self._do(lambda unit: controls.resume(unit, name, who=who))
        await self._running.look()

    async def retry(self, name: str, wanted: requests.Retry, who: str) -> int:
        """Make due what waits for another attempt at a destination; how many are tried now."""
        await self._do(lambda unit: controls.retry(unit, name, held=wanted.held, who=who))
        now = self._clock.now()
        due = await self._store.look(lambda connection: due_at(connection, name, now=now))
        last = await self._hurry(name, held=wanted.held)
        due += last
        while last >= controls.STEP:
            last = await self._hurry(name, held=wanted.held)
            due += last
        await self._running.look()
        self._dispatcher.wake([name])
        return due

    async def _hurry(self, name: str, *, held: bool) -> int:
        return await self._store.do(lambda unit: controls.hurry(unit, name, held=held))

    # Many

    async def replay(self, wanted: requests.BulkReplay, who: str) -> shapes.Preview | shapes.Job:
        """Count what a filter selects, or start a job that replays it."""
        selection = await self._selected(wanted.select)
        if selection.state == State.PENDING:
            raise Invalid("what is pending needs no replay: retry it", where="body.select.state")
        if wanted.to is not None:
            if wanted.routes != "now":
                raise Invalid("goes with `routes: now` only", where="body.to")
            self._check_known(wanted.to)
        request = {
            "select": selection.as_json(),
            "routes": wanted.routes,
            "to": wanted.to,
            "new_id": wanted.new_id,
            "rate": wanted.rate,
        }
        return await self._many("replay", request, wanted, who)

    async def cancel(self, wanted: requests.BulkCancel, who: str) -> shapes.Preview | shapes.Job:
        """Count what is pending of what a filter selects, or start a job that cancels it."""
        selection = await self._selected(wanted.select)
        if selection.state not in {None, State.PENDING}:
            raise Invalid("only what is pending can be cancelled", where="body.select.state")
        request = {"select": {**selection.as_json(), "state": State.PENDING.value}}
        return await self._many("cancel", request, wanted, who)

    async def _many(
        self,
        kind: str,
        request: Mapping[str, Any],
        wanted: requests.BulkReplay | requests.BulkCancel,
        who: str,
    ) -> shapes.Preview | shapes.Job:
        if wanted.dry_run:
            return await self._preview(kind, request)
        key = wanted.idempotency_key
        if key is None:
            raise Invalid("is needed; the dry run's answer has one", where="body.idempotency_key")
        count = await self._count(kind, request, BRIEFLY)
        job = await self._do(
            lambda unit: jobs.start(
                unit,
                kind=kind,
                request=request,
                idempotency_key=key,
                expected=count.count if count.done else None,
                who=who,
            )
        )
        self._running.wake()
        return await self.job(job)

    async def _preview(self, kind: str, request: Mapping[str, Any]) -> shapes.Preview:
        count = await self._count(kind, request, LONGEST)
        return shapes.Preview(
            count=count.count,
            partial=not count.done,
            by_destination=dict(sorted(count.by_destination.items())),
            examples=await self._lines(count.examples),
            idempotency_key=self._ids.next(self._clock.now()),
        )

    async def _count(self, kind: str, request: Mapping[str, Any], longest: float) -> Count:
        preview = Preview(
            kind=kind,
            request=request,
            configured=self._in_force().destinations.keys(),
            choose=self._choose,
            now=self._clock.now(),
        )
        count, monotonic = Count(), self._clock.monotonic
        ends = monotonic() + longest
        while not count.done and monotonic() <= ends:
            look_ends = monotonic() + LOOK
            await self._store.look(
                lambda connection, until=look_ends: preview.go_on(  # type: ignore[misc]
                    connection, count, lambda: monotonic() >= until
                )
            )
        return count

    # Jobs

    async def jobs(self, wanted: requests.JobQuery) -> shapes.Jobs:
        """Jobs, newest first."""
        found = await self._store.look(
            lambda connection: job_log.jobs_of(
                connection, state=wanted.state, before=wanted.before, limit=wanted.limit + 1
            )
        )
        page = found[: wanted.limit]
        return shapes.Jobs(
            items=[_job(each) for each in page],
            next=page[-1].id if len(found) > wanted.limit else None,
        )

    async def job(self, name: str) -> shapes.Job:
        """One job."""
        found = await self._store.look(lambda connection: job_log.job_of(connection, name))
        if found is None:
            raise NotFound("there is no such job, or no more")
        return _job(found)

    async def cancel_job(self, name: str, who: str) -> shapes.Job:
        """Stop a job, and take back what it made and nobody attempted yet."""
        await self._do(lambda unit: jobs.cancel_job(unit, name, who=who))
        self._running.wake()
        return await self.job(name)

    # Inside

    async def _selected(self, given: requests.Selection) -> Selection:
        if self._names is not None:
            await self._names.check(
                destination=given.destination, source=given.source, where="body.select"
            )
        return _selection(given)

    async def _do(self, step: Callable[[Unit], T]) -> T:
        done = await self._store.do(answered(step))
        if isinstance(done, Unanswerable):
            raise done
        return done

    async def _made(self, keys: Sequence[int]) -> shapes.Made:
        rows, paused = await self._store.look(lambda connection: chosen(connection, keys))
        now, show = self._clock.now(), self._showing.delivery
        return shapes.Made(
            deliveries=[
                show(row, event=event.public_id, now=now, paused=paused) for row, event in rows
            ]
        )

    async def _lines(self, keys: Sequence[int]) -> list[shapes.DeliveryLine]:
        rows, paused = await self._store.look(lambda connection: chosen(connection, keys))
        now = self._clock.now()
        return [self._showing.line(row, event, now=now, paused=paused) for row, event in rows]

    def _check_known(self, names: Iterable[str]) -> None:
        known = self._in_force().destinations
        for name in names:
            if name not in known:
                raise Conflict(f"the destination {name} is not configured{near(name, known)}")


def _key(name: str) -> int:
    if not (name.isascii() and name.isdigit() and len(name) <= 19 and int(name) <= _LARGEST):  # noqa: PLR2004 - digits of 64 bits
        raise NotFound("there is no such delivery, or no more")
    return int(name)


_AS_GIVEN = ["destination", "error", "last_error", "source", "type", "project", "branch", "status"]


def _selection(given: requests.Selection) -> Selection:
    """What is selected; at least something must be said of it."""
    keys = given.deliveries
    named = {name: value for name in _AS_GIVEN if (value := getattr(given, name)) is not None}
    selection = Selection(
        deliveries=None if keys is None else tuple(sorted({_key(key) for key in keys})),
        state=_value(given.state),
        reason=_value(given.reason),
        result=_value(given.result),
        since=instant(given.since),
        until=instant(given.until),
        **named,
    )
    if selection.empty:
        raise Invalid("says nothing: everything there is would be selected", where="body.select")
    since, until = selection.since, selection.until
    if since is not None and until is not None and since >= until:
        raise Invalid("lies before `since`", where="body.select.until")
    return selection


def _value(given: Any) -> str | None:
    return None if given is None else str(given.value)


def _job(found: job_log.Job) -> shapes.Job:
    request = dict(found.request)
    select = dict(request.get("select", {}))
    for name in ("since", "until"):
        if name in select:
            select[name] = moment(select[name]).isoformat()
    if "deliveries" in select:
        select["deliveries"] = [str(key) for key in select["deliveries"]]
    return shapes.Job(
        id=found.id,
        kind="cancel" if found.kind == "cancel" else "replay",
        state=_STATES[found.state],
        request={**request, "select": select},
        created_at=moment(found.created_at),
        created_by=found.created_by,
        expected=found.expected,
        looked=found.looked,
        made=found.made,
        skipped=found.skipped,
        progress=found.progress,
        finished_at=moment_or_none(found.finished_at),
        ended_by=found.ended_by,
        error=found.error,
        states=dict(found.states),
    )


_STATES: Mapping[str, shapes.JobState] = {
    "running": "running",
    "done": "done",
    "cancelled": "cancelled",
    "failed": "failed",
}
