"""What happens to jobs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .states import TERMINAL

_EVENT_BYTES = 1024  # about, beside a preview


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened to a job. Its id is the attempt and a number without gaps: 1-0, 1-1, ..."""

    attempt: int
    number: int
    kind: str  # status, expansion, progress, preview, output
    data: dict[str, Any] = field(hash=False)

    @property
    def id(self) -> str:
        """As SSE's `id:`."""
        return f"{self.attempt}-{self.number}"

    @property
    def bytes(self) -> int:
        """About how much memory it takes."""
        return _EVENT_BYTES + (len(self.data["data"]) if self.kind == "preview" else 0)

    @property
    def is_last(self) -> bool:
        """Whether the job has ended."""
        return self.kind == "status" and self.data["status"] in TERMINAL


def parse_event_id(text: str) -> tuple[int, int] | None:
    """Attempt and number of an event's id; None if it is none of ours."""
    parts = text.split("-")
    if len(parts) != 2 or not all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts):
        return None
    return int(parts[0]), int(parts[1])
