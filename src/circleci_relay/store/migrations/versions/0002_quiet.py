"""Deliveries that wait for what makes them needless, and the history that messages tell of."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

# A program that knows nothing of groups would tell the first of one alone, and never the rest.
MIN_COMPATIBLE = "2"


def upgrade() -> None:
    """Add what waiting takes; nothing that is there is rewritten."""
    op.add_column("events", sa.Column("history", sa.Text(), nullable=True))
    op.add_column("deliveries", sa.Column("line", sa.LargeBinary(), nullable=True))
    op.add_column("deliveries", sa.Column("leader", BIG, nullable=True))
    op.add_column("lines", sa.Column("streak", sa.Integer(), server_default="1", nullable=False))
    op.create_index(
        "ix_deliveries_line",
        "deliveries",
        ["line"],
        sqlite_where=sa.text("line IS NOT NULL"),
        postgresql_where=sa.text("line IS NOT NULL"),
    )
    op.create_index(
        "ix_deliveries_leader",
        "deliveries",
        ["leader", "key"],
        sqlite_where=sa.text("leader IS NOT NULL"),
        postgresql_where=sa.text("leader IS NOT NULL"),
    )
    op.create_table(
        "gatherings",
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("delivery", BIG, nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("updated_at", BIG, nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_gatherings")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_gatherings_updated_at", "gatherings", ["updated_at"], unique=False)
    meta = sa.table("meta", sa.column("name", sa.Text), sa.column("value", sa.Text))
    op.execute(meta.update().where(meta.c.name == "min_compatible").values(value=MIN_COMPATIBLE))


def downgrade() -> None:
    """There is no way back: what waits would be told wrongly, or not at all."""
    raise NotImplementedError
