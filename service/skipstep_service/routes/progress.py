"""How far a job is, from its events."""

from __future__ import annotations

from dataclasses import dataclass

from ..jobs.live import LiveJob
from ..jobs.states import RUNNING


@dataclass(frozen=True, kw_only=True)
class Progress:
    """`share` is 0..1 of the evaluations of all pictures."""

    share: float
    evaluation: int  # of the picture that is behind the others
    evaluations: int  # of one picture
    started_at: float | None  # seconds since 1970
    preview: str | None  # the latest, a JPEG in base64


def progress_of(job: LiveJob) -> Progress:
    """Of a job that this process has."""
    pictures = int(job.row.request.get("n", 1))
    done: dict[int, int] = {}
    evaluations, started_at, preview = int(job.row.request["steps"]), None, None
    for event in job.events_after(None):
        if event.kind == "progress":
            done[event.data["image"]] = event.data["evaluation"] + 1
            evaluations = event.data["evaluations"]
        elif event.kind == "preview":
            preview = event.data["data"]
        elif event.kind == "status" and event.data["status"] == RUNNING:
            started_at = event.data["at"]
            done.clear()  # of an attempt before
    return Progress(
        share=min(1.0, sum(done.values()) / (pictures * evaluations)),
        evaluation=min(done.values(), default=0) if len(done) == pictures else 0,
        evaluations=evaluations,
        started_at=started_at,
        preview=preview,
    )
