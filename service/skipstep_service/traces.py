"""OpenTelemetry traces: requests by FastAPI itself, and of each job one span with its waiting and its running.

They are exported where `OTEL_EXPORTER_OTLP_ENDPOINT` says (OTLP over HTTP), and not made where it says nothing.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider

from .jobs.events import Event
from .jobs.live import LiveJob
from .jobs.states import FAILED, RUNNING

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_UNSEEN = ("/healthz", "/readyz", "/metrics")  # asked for every few seconds


class Traces:
    """Of one application; `provider` is for FastAPI's own spans."""

    def __init__(self) -> None:
        self._own: TracerProvider | None = None
        if any(os.environ.get(name) for name in _ENDPOINTS):
            name = {} if os.environ.get("OTEL_SERVICE_NAME") else {SERVICE_NAME: "skipstep"}
            self._own = TracerProvider(resource=Resource.create(name), shutdown_on_exit=False)
        self.provider: trace.TracerProvider = self._own or trace.NoOpTracerProvider()
        self._tracer = self.provider.get_tracer("skipstep")

    def on_event(self, job: LiveJob, event: Event) -> None:
        """When a job ends, tell how it went: a child of the request that brought it, if that came to this process."""
        if self._own is None or not event.is_last:
            return
        parent = trace.set_span_in_context(trace.NonRecordingSpan(job.brought_by))
        result = event.data.get("result", {})
        known = {f"job.{name}": result[name] for name in ("batch", "queue_ms", "run_ms", "finish_ms") if name in result}
        passes = {
            f"job.{name}": sum(image.get(name, 0) for image in result["images"])
            for name in ("full_passes", "reuse_passes")
            if "images" in result
        }
        whole = self._tracer.start_span(
            "job",
            context=parent,
            start_time=_nanoseconds(job.row.created_at),
            attributes={"job.id": job.row.id, "job.kind": job.row.kind, "job.status": event.data["status"]},
        )
        whole.set_attributes({**known, **passes, "job.model": job.row.request.get("model", "")})
        if event.data["status"] == FAILED:
            whole.set_status(trace.StatusCode.ERROR, event.data["error"]["code"])
        inside = trace.set_span_in_context(whole)
        began = [one.data["at"] for one in job.events_after(None) if one.data.get("status") == RUNNING]
        ended = event.data["at"]
        for name, start, end in (
            ("job queue", job.row.created_at, began[-1] if began else ended),
            *([("job run", began[-1], ended)] if began else []),
        ):
            self._tracer.start_span(name, context=inside, start_time=_nanoseconds(start)).end(_nanoseconds(end))
        whole.end(_nanoseconds(ended))

    def close(self) -> None:
        """Export what is left."""
        if self._own is not None:
            self._own.shutdown()


def is_unseen(scope: MutableMapping[str, Any]) -> bool:
    """Whether a request gets no span."""
    return scope.get("path") in _UNSEEN


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)
