"""The statements of what operators change: replays, cancellations, jobs, pauses; see `repair`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from circleci_relay.store.query import Hot
from circleci_relay.store.schema import (
    IS_PENDING,
    PENDING,
    audit,
    counters,
    deliveries,
    destinations,
    events,
    jobs,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    Insert = Callable[[sa.Table], Any]

d = deliveries.c
param = sa.bindparam

keys: sa.BindParameter[list[int]] = param("keys", expanding=True)


class RepairStatements:
    """A part of `Statements`."""

    def _repair(self, dialect: sa.Dialect, insert: Insert) -> None:
        self._replays(dialect)
        self._cancellations()
        self._jobs(insert)
        self._controls()
        self.add_audit = sa.insert(audit)

    def _replays(self, dialect: sa.Dialect) -> None:
        e = events.c
        #: Whoever repairs an event's deliveries, or lets it go, holds its row meanwhile.
        self.lock_events = (
            sa.select(e.key, e.public_id).where(e.key.in_(keys)).order_by(e.key).with_for_update()
        )
        self.siblings = (
            sa.select(
                d.key,
                d.event,
                d.destination,
                d.state,
                d.reason,
                d.created_at,
                d.settled_at,
                d.webhook_id,
                d.replay_of,
                d.replayed_by,
                d.job,
            )
            .where(d.event.in_(keys))
            .order_by(d.event, d.key)
        )
        self.events_of = sa.select(d.key, d.event).where(d.key.in_(keys)).order_by(d.key)
        self.add_replays = Hot(
            dialect,
            sa.insert(deliveries),
            "key event destination due_at attempts created_at aged_from webhook_id replay_of job",
        )
        self.set_replayed = (
            sa.update(deliveries)
            .where(d.key == param("held"))
            .values(replayed_by=param("by", type_=sa.BigInteger))
        )

    def _cancellations(self) -> None:
        self.lock_pending = (
            sa.select(d.key, d.event, d.destination, d.attempts, d.token, d.due_at, d.leader)
            .where(d.key.in_(keys), IS_PENDING)
            .order_by(d.key)
            .with_for_update()
        )
        self.cancel = (
            sa.update(deliveries)
            .where(d.key == param("held"), IS_PENDING)
            .values(
                state="cancelled",
                reason="cancelled",
                settled_at=param("now"),
                due_at=sa.null(),
                token=sa.null(),
            )
        )
        self.find_successors = (
            sa.select(d.leader, sa.func.min(d.key).label("key"))
            .where(d.leader.in_(keys), d.leader != d.key, IS_PENDING)
            .group_by(d.leader)
        )
        self.follow = (
            sa.update(deliveries)
            .where(d.leader == param("led"), d.key != param("led"), IS_PENDING)
            .values(leader=param("next"))
        )
        self.lead = (
            sa.update(deliveries)
            .where(d.key == param("held"), IS_PENDING)
            .values(due_at=param("at"))
        )

    def _jobs(self, insert: Insert) -> None:
        j = jobs.c
        #: Whoever starts a job holds this; it also tells up to where keys were handed out.
        self.ceiling = (
            sa.select(counters.c.next).where(counters.c.name == "deliveries").with_for_update()
        )
        self.add_job = insert(jobs).on_conflict_do_nothing(index_elements=["idempotency_key"])
        self.job_by_key = sa.select(jobs).where(j.idempotency_key == param("named"))
        self.job_by_id = sa.select(jobs).where(j.id == param("named"))
        self.lock_job = self.job_by_id.with_for_update()
        unfinished = j.finished_at.is_(None)
        self.unfinished_jobs = sa.select(jobs).where(unfinished)
        self.next_job = (
            sa.select(jobs)
            .where(unfinished, j.next_at <= param("now"))
            .order_by(j.next_at)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        self.next_job_at = sa.select(sa.func.min(j.next_at)).where(unfinished)
        self.put_job = (
            sa.update(jobs)
            .where(j.id == param("named"))
            .values(
                state=param("state"),
                position=param("position"),
                looked=param("looked"),
                made=param("made"),
                skipped=param("skipped"),
                next_at=param("next_at"),
                finished_at=param("finished_at"),
                ended_by=param("ended_by"),
                error=param("error"),
            )
        )
        self.made_by = (
            sa.select(d.key)
            .where(
                d.job == param("job"),
                d.state == PENDING,
                d.key > param("after"),
                d.attempts == 0,
                d.token.is_(None),
            )
            .order_by(d.key)
            .limit(param("limit"))
        )
        #: In hand for the first time: attempted, or given back yet.
        self.begun_by = (
            sa.select(d.key)
            .where(
                d.job == param("job"),
                d.state == PENDING,
                d.attempts == 1,
                d.token.is_not(None),
                d.due_at > param("now"),
            )
            .limit(1)
        )

    def _controls(self) -> None:
        c = destinations.c
        self.lock_destination = (
            sa.select(c.name, c.removed_at, c.paused_at)
            .where(c.name == param("named"))
            .with_for_update()
        )
        self.set_paused = (
            sa.update(destinations)
            .where(c.name == param("named"))
            .values(paused_at=param("at"), paused_by=param("by"), paused_why=param("why"))
        )
        self.set_retried = (
            sa.update(destinations).where(c.name == param("named")).values(retried_at=param("at"))
        )
        self.all_controls = sa.select(c.name, c.paused_at, c.retried_at).where(
            sa.or_(c.paused_at.is_not(None), c.retried_at.is_not(None))
        )
        later = (
            sa.select(d.key)
            .where(
                d.destination == param("whose"),
                d.state == PENDING,
                d.due_at > param("now"),
                d.token.is_(None),
            )
            .order_by(d.due_at)
            .limit(param("limit"))
        )
        #: Also what was never attempted: held, or gathering others. It is owed from here on.
        self.expedite_all = (
            sa.update(deliveries)
            .where(d.key.in_(later), IS_PENDING, d.token.is_(None))
            .values(
                due_at=param("now"),
                created_at=sa.case((d.created_at > param("now"), param("now")), else_=d.created_at),
            )
        )
