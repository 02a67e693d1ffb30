"""Deliveries of webhooks."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "deliveries",
        sa.Column("job_id", sa.String(40), sa.ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("attempts", sa.SmallInteger, nullable=False),
        sa.Column("next_at", sa.Double),
        sa.Column("delivered_at", sa.Double),
        sa.Column("given_up_at", sa.Double),
        sa.Column("last_error", sa.Text),
    )
    op.create_index("ix_deliveries_next", "deliveries", ["next_at"])


def downgrade() -> None:
    op.drop_table("deliveries")
