"""A job as the database has it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from ..jobs.states import TERMINAL

_JSON = ("request", "result", "error")


@dataclass(frozen=True, kw_only=True)
class JobRow:
    """A job as the database has it; times are seconds since 1970."""

    id: str
    owner: str
    kind: str
    status: str
    priority: int
    request: dict[str, Any]
    result: dict[str, Any] | None
    error: dict[str, Any] | None
    attempts: int
    idempotency_key: str | None
    request_sha256: str
    created_at: float
    deadline_at: float
    started_at: float | None
    finished_at: float | None
    # of servers that share a store; 0 where one has it for itself
    leased_by: str | None = None
    leased_until: float | None = None
    lease: int = 0

    @property
    def is_done(self) -> bool:
        """Whether it is in a state that it does not leave."""
        return self.status in TERMINAL


def crashed(attempts: int) -> dict[str, Any]:
    """The error of a job that no server survived."""
    return {"code": "worker_crashed", "message": f"the server ended {attempts} times while this job ran"}


def json_of(value: dict[str, Any] | None) -> str | None:
    """As a column has it."""
    return None if value is None else json.dumps(value, allow_nan=False)


def columns_of(row: JobRow) -> dict[str, Any]:
    """Its columns."""
    return {**vars(row), **{name: json_of(getattr(row, name)) for name in _JSON}}


def row_of(found: Any) -> JobRow:
    """From its columns."""
    read = {name: None if found[name] is None else json.loads(found[name]) for name in _JSON}
    return JobRow(**{**found, **read})
