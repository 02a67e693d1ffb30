"""The states of a job.

queued -> running -> succeeded | failed | expired, and with a cancellation queued -> canceled or
running -> canceling -> canceled. A crash puts what ran back to queued; a third time it has failed.
"""

from __future__ import annotations

QUEUED, RUNNING, CANCELING = "queued", "running", "canceling"
SUCCEEDED, FAILED, EXPIRED, CANCELED = "succeeded", "failed", "expired", "canceled"
TERMINAL = (SUCCEEDED, FAILED, EXPIRED, CANCELED)

PRIORITIES = {"interactive": 0, "normal": 1, "batch": 2}
"""Classes by name; lower goes first."""

MAX_ATTEMPTS = 3
