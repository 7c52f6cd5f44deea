"""The first schema: events, their deliveries and attempts, and what stands around them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Go from an empty database to 0001."""
    _attempts()
    _bodies()
    _configs()
    _counters()
    _deliveries()
    _destinations()
    _events()
    _lines()
    _meta()
    _minutes()
    meta = sa.table("meta", sa.column("name"), sa.column("value"))
    op.bulk_insert(meta, [{"name": "min_compatible", "value": "1"}])
    counters = sa.table("counters", sa.column("name"), sa.column("next"))
    op.bulk_insert(counters, [{"name": "events", "next": 1}, {"name": "deliveries", "next": 1}])


def _attempts() -> None:
    op.create_table(
        "attempts",
        sa.Column("delivery", BIG, autoincrement=False, nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("started_at", BIG, nullable=False),
        sa.Column("duration", BIG, nullable=False),
        sa.Column("result", sa.Text(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("excerpt", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("delivery", "number", name=op.f("pk_attempts")),
        sqlite_with_rowid=False,
    )


def _bodies() -> None:
    op.create_table(
        "bodies",
        sa.Column("event", BIG, autoincrement=False, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("headers", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("event", name=op.f("pk_bodies")),
    )


def _configs() -> None:
    op.create_table(
        "configs",
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("routes", sa.Text(), nullable=False),
        sa.Column("first_seen_at", BIG, nullable=False),
        sa.Column("last_seen_at", BIG, nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_configs")),
    )


def _counters() -> None:
    op.create_table(
        "counters",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("next", BIG, nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_counters")),
    )


def _deliveries() -> None:
    op.create_table(
        "deliveries",
        sa.Column("key", BIG, autoincrement=False, nullable=False),
        sa.Column("event", BIG, nullable=False),
        sa.Column("destination", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="pending", nullable=False),
        sa.Column("due_at", BIG, nullable=True),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("token", BIG, nullable=True),
        sa.Column("created_at", BIG, nullable=False),
        sa.Column("aged_from", BIG, nullable=False),
        sa.Column("settled_at", BIG, nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("webhook_id", sa.Text(), nullable=True),
        sa.Column("replay_of", BIG, nullable=True),
        sa.Column("last_result", sa.Text(), nullable=True),
        sa.Column("last_status", sa.Integer(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_deliveries")),
    )
    op.create_index(
        "ix_deliveries_dead",
        "deliveries",
        ["destination", "settled_at"],
        sqlite_where=sa.text("state = 'dead'"),
        postgresql_where=sa.text("state = 'dead'"),
    )
    op.create_index("ix_deliveries_event", "deliveries", ["event"], unique=False)
    op.create_index(
        "ix_deliveries_pending",
        "deliveries",
        ["destination", "due_at", "created_at"],
        sqlite_where=sa.text("state = 'pending'"),
        postgresql_where=sa.text("state = 'pending'"),
    )


def _destinations() -> None:
    op.create_table(
        "destinations",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("removed_at", BIG, nullable=True),
        sa.Column("stopped", BIG, server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_destinations")),
    )


def _events() -> None:
    op.create_table(
        "events",
        sa.Column("key", BIG, autoincrement=False, nullable=False),
        sa.Column("public_id", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("received_at", BIG, nullable=False),
        sa.Column("body_hash", sa.LargeBinary(), nullable=False),
        sa.Column("facts", sa.Text(), nullable=False),
        sa.Column("routes", sa.Text(), nullable=False),
        sa.Column("deliveries", sa.Integer(), nullable=False),
        sa.Column("config_digest", sa.Text(), nullable=True),
        sa.Column("duplicates", sa.Integer(), server_default="0", nullable=False),
        sa.Column("first_duplicate_at", BIG, nullable=True),
        sa.Column("last_duplicate_at", BIG, nullable=True),
        sa.Column("conflicts", sa.Integer(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_events")),
        sa.UniqueConstraint("public_id", name=op.f("uq_events_public_id")),
        sa.UniqueConstraint("source", "id", name=op.f("uq_events_source_id")),
    )
    op.create_index(
        "ix_events_duplicated",
        "events",
        ["last_duplicate_at"],
        sqlite_where=sa.text("duplicates > 0"),
        postgresql_where=sa.text("duplicates > 0"),
    )
    op.create_index("ix_events_received_at", "events", ["received_at", "key"], unique=False)
    op.create_index(
        "ix_events_unmatched",
        "events",
        ["received_at"],
        sqlite_where=sa.text("deliveries = 0"),
        postgresql_where=sa.text("deliveries = 0"),
    )


def _lines() -> None:
    op.create_table(
        "lines",
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("workflow", sa.Text(), nullable=False),
        sa.Column("job", sa.Text(), nullable=False),
        sa.Column("branch", sa.Text(), nullable=False),
        sa.Column("good", sa.Boolean(), nullable=False),
        sa.Column("pipeline_number", BIG, nullable=True),
        sa.Column("event", BIG, nullable=False),
        sa.Column("since", BIG, nullable=False),
        sa.Column("updated_at", BIG, nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_lines")),
        sqlite_with_rowid=False,
    )


def _meta() -> None:
    op.create_table(
        "meta",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_meta")),
    )


def _minutes() -> None:
    op.create_table(
        "minutes",
        sa.Column("minute", BIG, autoincrement=False, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("result", sa.Text(), nullable=False),
        sa.Column("count", BIG, nullable=False),
        sa.Column("sum_duration", BIG, server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("minute", "kind", "name", "result", name=op.f("pk_minutes")),
        sqlite_with_rowid=False,
    )
