"""Run by Alembic, with a connection that is handed over by `database.migrate`."""

from __future__ import annotations

from alembic import context
from skipstep_service.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
