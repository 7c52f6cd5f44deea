"""What seeing and repairing takes: replays, jobs, rejects, pauses, alerts, the audit log."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add what is missing; a program that knows nothing of it may still run beside this one."""
    _alone()
    _columns()
    _quarters()
    _jobs()
    _rejects()
    _audit()
    _alerts()


def _alone() -> None:
    """
    Have the busy tables to ourselves before anything is done, or give up at once.

    Replicas that still run take in and deliver over them in either order. Whoever made an index
    first, and then waited for one of these, would be ended as half of a deadlock, again and
    again. Given up, it is tried again; and what waits behind us is kept for no longer.
    """
    if op.get_bind().dialect.name == "postgresql":
        # Shorter than it takes PostgreSQL to look for deadlocks.
        op.execute("SET LOCAL lock_timeout = '500ms'")
        op.execute("LOCK TABLE events, deliveries, destinations IN ACCESS EXCLUSIVE MODE")
        op.execute("SET LOCAL lock_timeout = 0")


def _columns() -> None:
    op.add_column("deliveries", sa.Column("replayed_by", BIG, nullable=True))
    op.add_column("deliveries", sa.Column("job", sa.Text(), nullable=True))
    for name in ("paused_by", "paused_why"):
        op.add_column("destinations", sa.Column(name, sa.Text(), nullable=True))
    for name in ("paused_at", "retried_at"):
        op.add_column("destinations", sa.Column(name, BIG, nullable=True))
    op.drop_index("ix_deliveries_dead", "deliveries")
    _partial(
        "ix_deliveries_dead",
        "deliveries",
        ["destination", "settled_at"],
        "state = 'dead' AND replayed_by IS NULL",
    )
    _partial("ix_deliveries_job", "deliveries", ["job", "state"], "job IS NOT NULL")
    op.drop_index("ix_events_duplicated", "events")
    _partial("ix_events_duplicated", "events", ["received_at"], "duplicates > 0")


def _partial(name: str, table: str, columns: list[str], where: str) -> None:
    only = sa.text(where)
    op.create_index(name, table, columns, sqlite_where=only, postgresql_where=only)


def _quarters() -> None:
    op.create_table(
        "quarters",
        sa.Column("quarter", BIG, autoincrement=False, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("result", sa.Text(), nullable=False),
        sa.Column("count", BIG, nullable=False),
        sa.Column("sum_duration", BIG, server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("quarter", "kind", "name", "result", name=op.f("pk_quarters")),
        sqlite_with_rowid=False,
    )
    # What was counted so far: without it the day and the week would begin at the upgrade.
    op.execute(
        "INSERT INTO quarters (quarter, kind, name, result, count, sum_duration)"
        " SELECT minute / 15, kind, name, result, sum(count), sum(sum_duration) FROM minutes"
        " GROUP BY minute / 15, kind, name, result"
    )


def _jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("request", sa.Text(), nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=True),
        sa.Column("created_at", BIG, nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("ceiling", BIG, nullable=False),
        sa.Column("expected", BIG, nullable=True),
        sa.Column("position", sa.Text(), nullable=True),
        sa.Column("looked", BIG, server_default="0", nullable=False),
        sa.Column("made", BIG, server_default="0", nullable=False),
        sa.Column("skipped", BIG, server_default="0", nullable=False),
        sa.Column("next_at", BIG, nullable=False),
        sa.Column("finished_at", BIG, nullable=True),
        sa.Column("ended_by", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
        sa.UniqueConstraint("idempotency_key", name=op.f("uq_jobs_idempotency_key")),
    )
    _partial("ix_jobs_running", "jobs", ["next_at"], "finished_at IS NULL")


def _rejects() -> None:
    op.create_table(
        "rejects",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("secret", sa.Text(), nullable=True),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("received_at", BIG, nullable=False),
        sa.Column("last_at", BIG, nullable=False),
        sa.Column("count", BIG, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("claims", sa.Text(), nullable=False),
        sa.Column("headers", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=True),
        sa.Column("size", BIG, nullable=False),
        sa.Column("event", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rejects")),
        sa.UniqueConstraint("source", "digest", name=op.f("uq_rejects_source_digest")),
    )
    op.create_index("ix_rejects_last_at", "rejects", ["source", "last_at", "id"], unique=False)


def _audit() -> None:
    op.create_table(
        "audit",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("at", BIG, nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
    )
    op.create_index("ix_audit_at", "audit", ["at", "id"], unique=False)


def _alerts() -> None:
    op.create_table(
        "alerts",
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("since", BIG, nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("told", sa.Boolean(), nullable=False),
        sa.Column("ended_at", BIG, nullable=True),
        sa.PrimaryKeyConstraint("rule", "subject", name=op.f("pk_alerts")),
    )


def downgrade() -> None:
    """There is no way back: what was replayed would count as dead again."""
    raise NotImplementedError
