# ruff: noqa: INP001 - Alembic loads it by its path, from no package
"""What Alembic runs to migrate: always on the connection it is given, never on its own."""

from __future__ import annotations

from alembic import context

from circleci_relay.store.schema import metadata

connection = context.config.attributes["connection"]
# Alembic thinks SQLite cannot change a schema in a transaction; with an explicit BEGIN it can.
context.configure(connection=connection, target_metadata=metadata, transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
