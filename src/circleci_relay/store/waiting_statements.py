"""The statements of deliveries that wait for what may make them needless; see `waiting`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from circleci_relay.store.query import upsert
from circleci_relay.store.schema import (
    IS_PENDING,
    PENDING,
    bodies,
    deliveries,
    events,
    gatherings,
    lines,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    Insert = Callable[[sa.Table], Any]

d = deliveries.c
param = sa.bindparam


_UNTOLD = (IS_PENDING, d.attempts == 0, d.token.is_(None))
"""One that nobody has begun to tell, and that may still be changed."""

keys: sa.BindParameter[list[int]] = param("keys", expanding=True)


class WaitingStatements:
    """A part of `Statements`."""

    def _waiting(self, insert: Insert) -> None:
        """Whatever waits; the three ways of it follow."""
        self.add_waiting = sa.insert(deliveries)
        self.find_untold = (
            sa.select(d.key).where(d.key.in_(keys), *_UNTOLD).order_by(d.key).with_for_update()
        )
        self.supersede = (
            sa.update(deliveries)
            .where(d.key == param("held"), IS_PENDING)
            .values(
                state="cancelled",
                reason="superseded",
                settled_at=param("now"),
                due_at=sa.null(),
                token=sa.null(),
            )
        )
        self.whose = sa.select(d.key, d.destination).where(d.key.in_(keys))
        self._held()
        self._gathered(insert)
        self._together()

    def _held(self) -> None:
        """Until the line may have turned good."""
        line_keys: sa.BindParameter[list[bytes]] = param("line_keys", expanding=True)
        self.find_held = (
            sa.select(d.key, d.destination, d.line, d.state, d.attempts, events.c.received_at)
            .join(events, events.c.key == d.event)
            .where(
                d.line.in_(line_keys), sa.or_(d.state == PENDING, d.created_at >= param("since"))
            )
            .order_by(d.key)
        )
        self.standing_of = sa.select(
            lines.c.key, lines.c.good, lines.c.since, lines.c.streak
        ).where(lines.c.key.in_(line_keys))

    def _gathered(self, insert: Insert) -> None:
        """Told once, or together: what belongs to one gathering."""
        g = gatherings.c
        gathering_keys: sa.BindParameter[list[bytes]] = param("gathering_keys", expanding=True)
        self.begin_gatherings = insert(gatherings).on_conflict_do_nothing(index_elements=["key"])
        self.find_gatherings = (
            sa.select(g.key, g.delivery, g.count, g.rank)
            .where(g.key.in_(gathering_keys))
            .order_by(g.key)
            .with_for_update()
        )
        self.put_gatherings = upsert(insert(gatherings), gatherings)
        self.hurry = (
            sa.update(deliveries)
            .where(d.key == param("held"), *_UNTOLD)
            .values(due_at=param("now"))
        )
        self.drop_gatherings = sa.delete(gatherings).where(g.updated_at < param("before"))

    def _together(self) -> None:
        """A leader and those that follow it."""
        self.find_others = (
            sa.select(
                d.leader,
                d.key,
                events.c.public_id,
                events.c.source,
                bodies.c.body,
                events.c.received_at,
                events.c.facts,
                events.c.history,
            )
            .join(events, events.c.key == d.event)
            .join(bodies, bodies.c.event == d.event)
            .where(d.leader.in_(keys), d.leader != d.key, IS_PENDING)
            # Each replica has keys of its own: they do not tell in which order events came.
            .order_by(d.leader, events.c.received_at, d.key)
        )
        self.weigh_others = (
            sa.select(d.leader, sa.func.sum(sa.func.length(bodies.c.body)).label("bytes"))
            .join(bodies, bodies.c.event == d.event)
            .where(d.leader.in_(keys), d.leader != d.key, IS_PENDING)
            .group_by(d.leader)
        )
        self.settle_others = (
            sa.update(deliveries)
            .where(d.leader == param("led"), d.key != param("led"), IS_PENDING)
            .values(
                state=param("to"),
                reason=param("why"),
                settled_at=param("at"),
                last_result=param("result"),
                last_status=param("status"),
                last_error=param("error"),
            )
        )
        leading = deliveries.alias("leaders")
        # By its key, so in words that no index knows: see `IS_PENDING`.
        leads = sa.literal_column("leaders.state || ''") == PENDING
        #: Those whose leader was ended without them, as age-out may: due on their own.
        self.unlead = (
            sa.update(deliveries)
            .where(
                d.destination == param("whose"),
                d.state == PENDING,
                d.due_at.is_(None),
                ~sa.exists().where(leading.c.key == d.leader, leads),
            )
            .values(due_at=param("now"), leader=sa.null())
        )
