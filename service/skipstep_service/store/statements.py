"""Statements that every job needs, made once: SQLAlchemy takes longer to build one than SQLite to run it."""

from __future__ import annotations

import sqlalchemy as sa

from ..jobs.states import QUEUED, RUNNING, TERMINAL
from .deliveries import fall_due
from .tables import jobs

_job, _now = sa.bindparam("job", type_=sa.String), sa.bindparam("now", type_=sa.Double)
_held = jobs.c.lease == sa.func.coalesce(sa.bindparam("held", type_=sa.Integer), jobs.c.lease)

ACCEPT = jobs.insert()
"""With all columns."""

GET = sa.select(jobs).where(jobs.c.id == _job)
"""With `job`."""

LEASE = sa.select(jobs.c.lease).where(jobs.c.id == _job)
"""With `job`."""

BEGIN = (
    jobs.update()
    .where(jobs.c.id == _job, jobs.c.status == QUEUED, _held)
    .values(status=RUNNING, started_at=_now, attempts=jobs.c.attempts + 1)
)
"""With `job`, its lease as `held` (None for whichever it is), and `now`."""

FINISH = (
    jobs.update()
    .where(jobs.c.id == _job, jobs.c.status.not_in(TERMINAL), _held)
    .values(status=sa.bindparam("end"), finished_at=_now, result=sa.bindparam("made"), error=sa.bindparam("problem"))
)
"""With `job`, `held`, `now`, the status as `end`, and JSON as `made` and `problem`."""

FALL_DUE = fall_due(jobs.c.id == _job, now=_now)
"""With `job` and `now`."""
