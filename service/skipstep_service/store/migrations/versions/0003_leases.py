"""Leases of jobs, and events of jobs that other servers follow."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    with op.batch_alter_table("jobs") as jobs:
        jobs.add_column(sa.Column("leased_by", sa.String(64)))
        jobs.add_column(sa.Column("leased_until", sa.Double))
        jobs.add_column(sa.Column("lease", sa.Integer, nullable=False, server_default="0"))
    op.create_index("ix_jobs_leased", "jobs", ["leased_by"])
    op.create_table(
        "events",
        sa.Column("job_id", sa.String(40), primary_key=True),
        sa.Column("attempt", sa.SmallInteger, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("data", sa.Text, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        # a crash of the database empties it, and is none of the jobs
        prefixes=["UNLOGGED"] if op.get_context().dialect.name == "postgresql" else [],
    )
    op.create_index("ix_events_at", "events", ["at"])


def downgrade() -> None:
    op.drop_table("events")
    op.drop_index("ix_jobs_leased", "jobs")
    with op.batch_alter_table("jobs") as jobs:
        for column in ("lease", "leased_until", "leased_by"):
            jobs.drop_column(column)
