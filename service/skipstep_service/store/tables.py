"""The tables; `migrations/` makes them."""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData()

jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("owner", sa.String(64), nullable=False),  # the name of an API key; empty without keys
    sa.Column("kind", sa.String(16), nullable=False),  # image, video
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("priority", sa.SmallInteger, nullable=False),
    sa.Column("request", sa.Text, nullable=False),  # JSON
    sa.Column("result", sa.Text),  # JSON, of what succeeded
    sa.Column("error", sa.Text),  # JSON
    sa.Column("attempts", sa.SmallInteger, nullable=False, default=0),
    sa.Column("idempotency_key", sa.String(255)),
    sa.Column("request_sha256", sa.String(64), nullable=False),
    # seconds since 1970
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("deadline_at", sa.Double, nullable=False),
    sa.Column("started_at", sa.Double),
    sa.Column("finished_at", sa.Double),
    # which of several servers has it, until when by the database's clock, and how often it changed hands
    sa.Column("leased_by", sa.String(64)),
    sa.Column("leased_until", sa.Double),
    sa.Column("lease", sa.Integer, nullable=False, server_default="0"),
    sa.UniqueConstraint("owner", "idempotency_key", name="uq_jobs_idempotency"),
    sa.Index("ix_jobs_owner_created", "owner", "created_at", "id"),
    sa.Index("ix_jobs_status", "status"),
    sa.Index("ix_jobs_finished", "finished_at"),
    sa.Index("ix_jobs_leased", "leased_by"),
)

deliveries = sa.Table(  # of webhooks; at most one of a job, which ends once
    "deliveries",
    metadata,
    sa.Column("job_id", sa.String(40), sa.ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("attempts", sa.SmallInteger, nullable=False),
    sa.Column("next_at", sa.Double),  # none before the job's end, and when it is delivered or given up
    sa.Column("delivered_at", sa.Double),
    sa.Column("given_up_at", sa.Double),
    sa.Column("last_error", sa.Text),
    sa.Index("ix_deliveries_next", "next_at"),
)

events = sa.Table(  # of jobs, for servers that do not have them; not kept for long, nor through a crash of the database
    "events",
    metadata,
    sa.Column("job_id", sa.String(40), primary_key=True),
    sa.Column("attempt", sa.SmallInteger, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("data", sa.Text, nullable=False),  # JSON
    sa.Column("at", sa.Double, nullable=False),
    sa.Index("ix_events_at", "at"),
)
