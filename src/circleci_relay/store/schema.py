"""
The tables, once for every database.

Keys are whole numbers of our own (see `keys`); instants and spans are microseconds.
What changes here needs a migration under `migrations/versions`: a test compares the two.
"""

from __future__ import annotations

import sqlalchemy as sa

Big = sa.BigInteger().with_variant(sa.Integer, "sqlite")
"""A 64-bit integer; SQLite makes a key of it only where it is called INTEGER."""

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

PENDING: sa.ColumnClause[str] = sa.literal_column("'pending'")
DEAD: sa.ColumnClause[str] = sa.literal_column("'dead'")
"""Written out, not bound: a planner takes a partial index only where it sees the value."""


def _key(name: str) -> sa.Column[int]:
    return sa.Column(name, Big, primary_key=True, autoincrement=False)


def _name(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, primary_key=True)


#: What the database says of itself: min_compatible, max_lease.
meta = sa.Table(
    "meta",
    metadata,
    _name("name"),
    sa.Column("value", sa.Text, nullable=False),
)

counters = sa.Table("counters", metadata, _name("name"), sa.Column("next", Big, nullable=False))

events = sa.Table(
    "events",
    metadata,
    _key("key"),
    sa.Column("public_id", sa.Text, nullable=False, unique=True),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("id", sa.Text, nullable=False),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("received_at", Big, nullable=False),
    sa.Column("body_hash", sa.LargeBinary, nullable=False),
    sa.Column("facts", sa.Text, nullable=False),
    sa.Column("routes", sa.Text, nullable=False),
    sa.Column("deliveries", sa.Integer, nullable=False),
    sa.Column("config_digest", sa.Text),
    sa.Column("duplicates", sa.Integer, nullable=False, server_default="0"),
    sa.Column("first_duplicate_at", Big),
    sa.Column("last_duplicate_at", Big),
    sa.Column("conflicts", sa.Integer, nullable=False, server_default="0"),
    sa.Column("history", sa.Text),
    sa.UniqueConstraint("source", "id"),
)
sa.Index("ix_events_received_at", events.c.received_at, events.c.key)
_unmatched = sa.text("deliveries = 0")
sa.Index(
    "ix_events_unmatched",
    events.c.received_at,
    sqlite_where=_unmatched,
    postgresql_where=_unmatched,
)
_duplicated = sa.text("duplicates > 0")
sa.Index(
    "ix_events_duplicated",
    events.c.received_at,
    sqlite_where=_duplicated,
    postgresql_where=_duplicated,
)

bodies = sa.Table(
    "bodies",
    metadata,
    _key("event"),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("headers", sa.Text, nullable=False),
)

deliveries = sa.Table(
    "deliveries",
    metadata,
    _key("key"),
    sa.Column("event", Big, nullable=False),
    sa.Column("destination", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False, server_default="pending"),
    sa.Column("due_at", Big),
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
    sa.Column("token", Big),
    sa.Column("created_at", Big, nullable=False),
    sa.Column("aged_from", Big, nullable=False),
    sa.Column("settled_at", Big),
    sa.Column("reason", sa.Text),
    sa.Column("webhook_id", sa.Text),
    sa.Column("replay_of", Big),
    #: Of a dead one: the key of the newest replay of it; it counts as dead no more.
    sa.Column("replayed_by", Big),
    #: The bulk job that made it, by its id.
    sa.Column("job", sa.Text),
    sa.Column("last_result", sa.Text),
    sa.Column("last_status", sa.Integer),
    sa.Column("last_error", sa.Text),
    #: Of one that is told unless its line turns good meanwhile: the line's key.
    sa.Column("line", sa.LargeBinary),
    #: Of those told together: the key of the one that is due for them all, its own included.
    sa.Column("leader", Big),
)
_pending = sa.text("state = 'pending'")
# created_at rides along so that counting a backlog and its oldest reads the index alone.
sa.Index(
    "ix_deliveries_pending",
    deliveries.c.destination,
    deliveries.c.due_at,
    deliveries.c.created_at,
    sqlite_where=_pending,
    postgresql_where=_pending,
)
_dead = sa.text("state = 'dead' AND replayed_by IS NULL")
sa.Index(
    "ix_deliveries_dead",
    deliveries.c.destination,
    deliveries.c.settled_at,
    sqlite_where=_dead,
    postgresql_where=_dead,
)
sa.Index("ix_deliveries_event", deliveries.c.event)

IS_PENDING: sa.ColumnElement[bool] = sa.literal_column("deliveries.state || ''") == PENDING
"""
Of deliveries that are given by their keys, or their leader's: written so that no index knows it.

While statistics say that nothing is pending, PostgreSQL takes the index of what is for the
shortest way to one row, and by the time there is a backlog it reads all of it for each.
"""
_of_job = sa.text("job IS NOT NULL")
sa.Index(
    "ix_deliveries_job",
    deliveries.c.job,
    deliveries.c.state,
    sqlite_where=_of_job,
    postgresql_where=_of_job,
)
_held = sa.text("line IS NOT NULL")
sa.Index("ix_deliveries_line", deliveries.c.line, sqlite_where=_held, postgresql_where=_held)
_together = sa.text("leader IS NOT NULL")
sa.Index(
    "ix_deliveries_leader",
    deliveries.c.leader,
    deliveries.c.key,
    sqlite_where=_together,
    postgresql_where=_together,
)

attempts = sa.Table(
    "attempts",
    metadata,
    _key("delivery"),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("started_at", Big, nullable=False),
    sa.Column("duration", Big, nullable=False),
    sa.Column("result", sa.Text, nullable=False),
    sa.Column("status", sa.Integer),
    sa.Column("error", sa.Text),
    sa.Column("excerpt", sa.LargeBinary),
    sqlite_with_rowid=False,
)

lines = sa.Table(
    "lines",
    metadata,
    # A digest of the five names: SQLite scans the table for a list of five-fold keys.
    sa.Column("key", sa.LargeBinary, primary_key=True),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("project", sa.Text, nullable=False),
    sa.Column("workflow", sa.Text, nullable=False),
    sa.Column("job", sa.Text, nullable=False),
    sa.Column("branch", sa.Text, nullable=False),
    sa.Column("good", sa.Boolean(create_constraint=False), nullable=False),
    sa.Column("pipeline_number", Big),
    sa.Column("event", Big, nullable=False),
    sa.Column("since", Big, nullable=False),
    sa.Column("updated_at", Big, nullable=False),
    sa.Column("streak", sa.Integer, nullable=False, server_default="1"),
    sqlite_with_rowid=False,
)

#: What a destination is told once, or together, and the delivery that waits for it.
gatherings = sa.Table(
    "gatherings",
    metadata,
    # A digest of the destination and of what the events have in common.
    sa.Column("key", sa.LargeBinary, primary_key=True),
    sa.Column("delivery", Big, nullable=False),
    sa.Column("count", sa.Integer, nullable=False),
    sa.Column("rank", sa.Integer, nullable=False),
    sa.Column("updated_at", Big, nullable=False),
    sqlite_with_rowid=False,
)
sa.Index("ix_gatherings_updated_at", gatherings.c.updated_at)

destinations = sa.Table(
    "destinations",
    metadata,
    _name("name"),
    sa.Column("removed_at", Big),
    sa.Column("stopped", Big, nullable=False, server_default="0"),
    sa.Column("paused_at", Big),  # by an operator; None: not
    sa.Column("paused_by", sa.Text),
    sa.Column("paused_why", sa.Text),
    sa.Column("retried_at", Big),  # when an operator last made all due at once
)

configs = sa.Table(
    "configs",
    metadata,
    _name("digest"),
    sa.Column("routes", sa.Text, nullable=False),
    sa.Column("first_seen_at", Big, nullable=False),
    sa.Column("last_seen_at", Big, nullable=False),
)

minutes = sa.Table(
    "minutes",
    metadata,
    _key("minute"),
    _name("kind"),
    _name("name"),
    _name("result"),
    sa.Column("count", Big, nullable=False),
    sa.Column("sum_duration", Big, nullable=False, server_default="0"),
    sqlite_with_rowid=False,
)

#: The same by the quarter of an hour, since the epoch, kept longer: for the day and the week.
quarters = sa.Table(
    "quarters",
    metadata,
    _key("quarter"),
    _name("kind"),
    _name("name"),
    _name("result"),
    sa.Column("count", Big, nullable=False),
    sa.Column("sum_duration", Big, nullable=False, server_default="0"),
    sqlite_with_rowid=False,
)

#: Replays and cancellations of many deliveries, step by step; see `repair.jobs`.
jobs = sa.Table(
    "jobs",
    metadata,
    _name("id"),  # a ULID
    sa.Column("kind", sa.Text, nullable=False),  # replay, cancel
    sa.Column("state", sa.Text, nullable=False),  # running, done, cancelled, failed
    sa.Column("request", sa.Text, nullable=False),  # JSON: what it selects and does
    sa.Column("idempotency_key", sa.Text, unique=True),
    sa.Column("created_at", Big, nullable=False),
    sa.Column("created_by", sa.Text, nullable=False),
    sa.Column("ceiling", Big, nullable=False),  # deliveries beyond this key are none of its
    sa.Column("expected", Big),  # what a dry run counted; None: not counted to the end
    sa.Column("position", sa.Text),  # JSON: how far it has come
    sa.Column("looked", Big, nullable=False, server_default="0"),
    sa.Column("made", Big, nullable=False, server_default="0"),
    sa.Column("skipped", Big, nullable=False, server_default="0"),
    sa.Column("next_at", Big, nullable=False),  # its next step, at its rate
    sa.Column("finished_at", Big),
    sa.Column("ended_by", sa.Text),
    sa.Column("error", sa.Text),
)
_running = sa.text("finished_at IS NULL")  # cancelled ones too, until they have tidied up
sa.Index("ix_jobs_running", jobs.c.next_at, sqlite_where=_running, postgresql_where=_running)

#: What was turned away at the door: nothing in it is to be trusted.
rejects = sa.Table(
    "rejects",
    metadata,
    _name("id"),  # a ULID
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("secret", sa.Text),  # what the path's last segment named
    sa.Column("digest", sa.LargeBinary, nullable=False),  # of body and signature
    sa.Column("received_at", Big, nullable=False),
    sa.Column("last_at", Big, nullable=False),
    sa.Column("count", Big, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("claims", sa.Text, nullable=False),  # JSON: project, webhook, type, id; as it says
    sa.Column("headers", sa.Text, nullable=False),
    sa.Column("body", sa.LargeBinary),
    sa.Column("size", Big, nullable=False),  # bytes of the whole body
    sa.Column("event", sa.Text),  # public id of what a recheck took in
    sa.UniqueConstraint("source", "digest"),
)
sa.Index("ix_rejects_last_at", rejects.c.source, rejects.c.last_at, rejects.c.id)

#: Who did what, when.
audit = sa.Table(
    "audit",
    metadata,
    _name("id"),  # a ULID
    sa.Column("at", Big, nullable=False),
    sa.Column("who", sa.Text, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("target", sa.Text, nullable=False),
    sa.Column("detail", sa.Text, nullable=False),  # JSON
)
sa.Index("ix_audit_at", audit.c.at, audit.c.id)

#: What an operator was told, or is about to be, and has not ended.
alerts = sa.Table(
    "alerts",
    metadata,
    _name("rule"),
    _name("subject"),  # a destination, a source, or "store"
    sa.Column("since", Big, nullable=False),
    sa.Column("detail", sa.Text, nullable=False),  # JSON
    sa.Column("told", sa.Boolean(create_constraint=False), nullable=False),
    sa.Column("ended_at", Big),
)
