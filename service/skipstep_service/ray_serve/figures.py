"""Figures of engine replicas, which Ray exports for Prometheus at each node's metrics port."""

from __future__ import annotations

from ray.serve import metrics

from ..jobs.events import Event
from ..jobs.live import LiveJob
from ..jobs.states import RUNNING, TERMINAL
from ..metrics import SECONDS


class Figures:
    """Counted as `Metrics` does for a server with HTTP of its own; Serve adds deployment and replica to each."""

    def __init__(self) -> None:
        kinds = ("kind",)
        self._jobs = metrics.Counter("skipstep_jobs", "Jobs by how they ended.", (*kinds, "status"))
        self._passes = metrics.Counter("skipstep_passes", "UNet passes of rows, full and reuse.", kinds)
        self._waited = metrics.Histogram("skipstep_queue_seconds", "From accepting to beginning.", list(SECONDS), kinds)
        self._ran = metrics.Histogram("skipstep_job_seconds", "From accepting to the end.", list(SECONDS), kinds)
        self._questions = metrics.Counter(
            "skipstep_prompt_questions", "Questions to the prompt model, by what asked.", (*kinds, "outcome")
        )

    def on_event(self, job: LiveJob, event: Event) -> None:
        """Count an event of a job."""
        if event.kind == "progress":
            self._passes.inc(tags={"kind": event.data["pass"]})
        elif event.kind == "status":
            status, kind = event.data["status"], {"kind": job.row.kind}
            seconds = max(0.0, event.data["at"] - job.row.created_at)
            if status == RUNNING:
                self._waited.observe(seconds, tags=kind)
            elif status in TERMINAL:
                self._jobs.inc(tags={**kind, "status": status})
                self._ran.observe(seconds, tags=kind)

    def on_question(self, kind: str, outcome: str, seconds: float) -> None:
        """Count a turn of the prompt model."""
        self._questions.inc(tags={"kind": kind, "outcome": outcome})
