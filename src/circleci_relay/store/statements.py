"""
The statements, once for every database; here alone is chosen what differs between them.

Each is built once, so that its text is compiled once. All are idempotent under their
keys, save the counts: a batch whose fate is unknown may be run again.

Those that run for every event and attempt are `Hot`: written in Core like the rest, but
given to the driver as text with plain tuples. Core's own handling of each statement and
row took more than half of the writer's processor time, and the event loop's with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from circleci_relay.store.query import Hot, HotAnyOf, upsert
from circleci_relay.store.repair_statements import RepairStatements
from circleci_relay.store.schema import (
    DEAD,
    IS_PENDING,
    PENDING,
    attempts,
    bodies,
    configs,
    counters,
    deliveries,
    destinations,
    events,
    lines,
    meta,
    minutes,
    quarters,
)
from circleci_relay.store.waiting_statements import WaitingStatements

if TYPE_CHECKING:
    from collections.abc import Callable

    Insert = Callable[[sa.Table], Any]

d = deliveries.c
param = sa.bindparam


class Statements(WaitingStatements, RepairStatements):
    """
    All statements for one dialect, whose parameters must be positional.

    They hold nothing but text: `statements_for` makes them once for a dialect.
    """

    def __init__(self, dialect: sa.Dialect) -> None:
        self._dialect = dialect
        insert: Insert = sqlite.insert if dialect.name == "sqlite" else postgresql.insert
        self._intake(insert)
        self._deliveries(insert)
        self._claims()
        self._waiting(insert)
        self._repair(dialect, insert)
        self._upkeep(insert)

    def _hot(self, statement: Any, names: str) -> Hot:
        return Hot(self._dialect, statement, names)

    def _counted(self, insert: Insert, table: sa.Table, step: str) -> Hot:
        """Counts added to those that are there; *step* is what the table counts by."""
        add = insert(table)
        add = add.on_conflict_do_update(
            index_elements=[step, "kind", "name", "result"],
            set_={
                "count": table.c.count + add.excluded.count,
                "sum_duration": table.c.sum_duration + add.excluded.sum_duration,
            },
        )
        return self._hot(add, f"{step} kind name result count sum_duration")

    def _intake(self, insert: Insert) -> None:
        e = events.c
        self.take_keys = (
            sa.update(counters)
            .where(counters.c.name == param("counter"))
            .values(next=counters.c.next + param("count"))
            .returning(counters.c.next)
        )
        self.find_events = HotAnyOf(
            self._dialect,
            lambda ids: sa.select(e.public_id, e.id, e.body_hash).where(
                e.source == param("source"), e.id.in_(ids)
            ),
            "source",
        )
        #: One too few of these inserted means that another writer was first.
        self.add_events = self._hot(
            insert(events).on_conflict_do_nothing(index_elements=["source", "id"]),
            "key public_id source id type received_at body_hash facts routes deliveries"
            " config_digest history",
        )
        self.add_bodies = self._hot(sa.insert(bodies), "event body headers")
        self.add_deliveries = self._hot(
            sa.insert(deliveries),
            "key event destination due_at attempts token created_at aged_from",
        )
        self.note_duplicates = (
            sa.update(events)
            .where(e.source == param("of"), e.id == param("named"))
            .values(
                duplicates=e.duplicates + param("more"),
                conflicts=e.conflicts + param("differing"),
                first_duplicate_at=sa.func.coalesce(e.first_duplicate_at, param("at")),
                last_duplicate_at=param("at"),
            )
        )
        self.find_lines = HotAnyOf(
            self._dialect,
            lambda keys: (
                sa.select(
                    lines.c.key,
                    lines.c.good,
                    lines.c.pipeline_number,
                    lines.c.since,
                    lines.c.streak,
                )
                .where(lines.c.key.in_(keys))
                .order_by(lines.c.key)
                .with_for_update()
            ),
        )
        self.put_lines = self._hot(
            # Two replicas that both began a line do not see each other's row before.
            upsert(insert(lines), lines, where=_not_older),
            "key source project workflow job branch good pipeline_number event since updated_at"
            " streak",
        )

    def _deliveries(self, insert: Insert) -> None:
        self.put_attempts = self._hot(
            upsert(insert(attempts), attempts),
            "delivery number started_at duration result status error excerpt",
        )
        self.put_lost = insert(attempts).on_conflict_do_nothing(
            index_elements=["delivery", "number"]
        )
        held = (d.key == param("held"), d.token == param("with"), IS_PENDING)
        self.settle = self._hot(
            sa.update(deliveries).where(*held).values(token=sa.null()),
            "state due_at settled_at reason last_result last_status last_error held with",
        )
        self.release = (
            sa.update(deliveries)
            .where(*held)
            .values(token=sa.null(), attempts=d.attempts - 1, due_at=param("at"))
        )
        self.add_minutes = self._counted(insert, minutes, "minute")
        self.add_quarters = self._counted(insert, quarters, "quarter")

    def _claims(self) -> None:
        at = (d.destination == param("whose"), d.state == PENDING)
        self.find_due = self._hot(
            sa.select(
                d.key,
                d.attempts,
                d.token,
                d.due_at,
                d.aged_from,
                d.webhook_id,
                events.c.public_id,
                events.c.source,
                events.c.received_at,
                bodies.c.body,
                bodies.c.headers,
                events.c.facts,
                events.c.history,
                d.line,
                d.leader,
                sa.or_(d.replay_of.is_not(None), d.job.is_not(None)),
            )
            .join(events, events.c.key == d.event)
            .join(bodies, bodies.c.event == d.event)
            .where(*at, d.due_at <= param("now"))
            .order_by(d.due_at)
            .limit(param("limit"))
            .with_for_update(of=deliveries, skip_locked=True),
            "whose now limit",
        )
        lease = sa.update(deliveries).where(d.key == param("held"))
        self.lease = self._hot(
            lease.values(
                due_at=param("until"),
                attempts=param("number"),
                token=param("with"),
                last_result=sa.func.coalesce(param("lost", type_=sa.Text), d.last_result),
            ),
            "until number with lost held",
        )
        self.next_due = sa.select(sa.func.min(d.due_at)).where(*at)
        #: Leases lie at most the longest lease ahead; looking further would read a backlog.
        self.void_leases = (
            sa.update(deliveries)
            .where(*at, d.due_at > param("now"), d.due_at <= param("until"), d.token.is_not(None))
            .values(due_at=param("now"))
        )
        # What was never attempted waits for something else than a breaker.
        later = (
            sa.select(d.key)
            .where(*at, d.due_at > param("now"), d.token.is_(None), d.attempts > 0)
            .order_by(d.due_at)
            .limit(param("limit"))
        )
        # Said again outside: another replica may have claimed one since it was looked for.
        self.expedite = (
            sa.update(deliveries)
            .where(d.key.in_(later), IS_PENDING, d.token.is_(None))
            .values(due_at=param("now"))
        )
        beyond = sa.select(d.key).where(*at, d.due_at > param("latest")).limit(param("limit"))
        self.clamp = (
            sa.update(deliveries)
            .where(d.key.in_(beyond), d.due_at > param("latest"))
            .values(due_at=param("latest"))
        )

    def _upkeep(self, insert: Insert) -> None:
        put_meta = insert(meta)
        self.put_meta = upsert(put_meta, meta)
        self.get_meta = sa.select(meta.c.value).where(meta.c.name == param("name"))
        self.drop_meta = sa.delete(meta).where(meta.c.name == param("name"))
        self.put_destinations = upsert(
            insert(destinations), destinations, only=("removed_at", "stopped")
        )
        self.add_destinations = insert(destinations).on_conflict_do_nothing()
        self.all_destinations = sa.select(
            destinations.c.name, destinations.c.removed_at, destinations.c.stopped
        )
        self.lock_destinations = self.all_destinations.order_by(
            destinations.c.name
        ).with_for_update()
        config = insert(configs)
        self.put_config = config.on_conflict_do_update(
            index_elements=["digest"], set_={"last_seen_at": config.excluded.last_seen_at}
        )
        e = events.c
        self.old_events = (
            sa.select(e.key, e.received_at)
            .where(
                e.received_at < param("before"),
                sa.tuple_(e.received_at, e.key) > sa.tuple_(param("after_at"), param("after_key")),
            )
            .order_by(e.received_at, e.key)
            .limit(param("limit"))
            # Against replays, which need the event; one that is at it keeps its event.
            .with_for_update(skip_locked=True)
        )
        keys: sa.BindParameter[list[int]] = param("keys", expanding=True)
        self.deliveries_of = sa.select(
            d.key,
            d.event,
            d.destination,
            d.state,
            d.due_at,
            d.attempts,
            d.token,
            d.aged_from,
            d.settled_at,
        )
        # Locked: between the look and the change another replica might claim one.
        self.deliveries_of = (
            self.deliveries_of.where(d.event.in_(keys)).order_by(d.key).with_for_update()
        )
        self.expire = (
            sa.update(deliveries)
            .where(d.key == param("held"), IS_PENDING)
            .values(
                state="dead",
                reason="expired",
                settled_at=param("now"),
                due_at=sa.null(),
                token=sa.null(),
            )
        )
        #: Of deliveries that are gone: settled by who slept through their whole life.
        self.drop_strays = sa.delete(attempts).where(
            attempts.c.delivery.in_(keys), ~sa.exists().where(d.key == attempts.c.delivery)
        )
        self.drop_attempts = sa.delete(attempts).where(attempts.c.delivery.in_(keys))
        self.drop_deliveries = sa.delete(deliveries).where(d.key.in_(keys))
        self.drop_bodies = sa.delete(bodies).where(bodies.c.event.in_(keys))
        self.drop_events = sa.delete(events).where(e.key.in_(keys))
        self.some_lines = (
            sa.select(lines.c.key, lines.c.updated_at)
            .where(lines.c.key > param("after"))
            .order_by(lines.c.key)
            .limit(param("limit"))
        )
        line_keys: sa.BindParameter[list[bytes]] = param("line_keys", expanding=True)
        self.drop_lines = sa.delete(lines).where(
            lines.c.key.in_(line_keys), lines.c.updated_at < param("before")
        )
        later_one = configs.alias()
        #: One that another took over from before then: no event of its time is left.
        self.drop_configs = sa.delete(configs).where(
            sa.exists().where(
                later_one.c.last_seen_at > configs.c.last_seen_at,
                later_one.c.last_seen_at < param("before"),
            )
        )
        self.count_pending = (
            sa.select(d.destination, sa.func.count(), sa.func.min(d.created_at))
            .where(d.state == PENDING)
            .group_by(d.destination)
        )
        self.count_dead = (
            sa.select(d.destination, sa.func.count())
            .where(d.state == DEAD, d.replayed_by.is_(None))
            .group_by(d.destination)
        )


_MADE: dict[str, Statements] = {}


def statements_for(dialect: sa.Dialect) -> Statements:
    """All statements for *dialect*; compiling them takes longer than opening a database."""
    return _MADE.get(dialect.name) or _MADE.setdefault(dialect.name, Statements(dialect))


def _not_older(new: Any) -> sa.ColumnElement[bool]:
    """A lower pipeline number never overwrites a higher one."""
    number = lines.c.pipeline_number
    return sa.or_(number.is_(None), new.pipeline_number.is_(None), new.pipeline_number >= number)
