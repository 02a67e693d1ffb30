"""Figures for Prometheus: of the HTTP server by FastAPI itself, of jobs and passes here."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import CollectorRegistry, generate_latest

from .jobs.events import Event
from .jobs.live import LiveJob
from .jobs.states import RUNNING, TERMINAL

SECONDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)


class Metrics:
    """What one application counts; `provider` is for FastAPI's own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.provider = MeterProvider([PrometheusMetricReader(registry=self._registry)], shutdown_on_exit=False)
        meter = self.provider.get_meter("skipstep")
        self._jobs = meter.create_counter("skipstep_jobs", description="Jobs by how they ended.")
        self._passes = meter.create_counter("skipstep_passes", description="UNet passes of rows, full and reuse.")
        buckets: Any = {"explicit_bucket_boundaries_advisory": SECONDS, "unit": "s"}
        self._waited = meter.create_histogram("skipstep_queue", description="From accepting to beginning.", **buckets)
        self._ran = meter.create_histogram("skipstep_job", description="From accepting to the end.", **buckets)
        self._questions = meter.create_counter(
            "skipstep_prompt_questions", description="Questions to the prompt model, by what asked and how they went."
        )
        self._asked = meter.create_histogram("skipstep_prompt", description="Of a turn of the prompt model.", **buckets)
        self._meter = meter

    def watch(self, service: Any) -> None:
        """Observe a `JobService`: its queue, its batch, and whether it takes jobs."""
        gauge = self._gauge
        gauge("skipstep_queue_length", "Jobs that wait.", lambda: len(service.queue))
        gauge("skipstep_running_jobs", "Jobs in the batch that runs.", lambda: len(service.worker.running))
        gauge("skipstep_live_jobs", "Jobs whose events can be followed.", lambda: len(service.live_jobs))
        gauge("skipstep_followers", "Clients that follow events.", lambda: service.live_jobs.followers)
        gauge("skipstep_ready", "1 if jobs are taken.", lambda: int(service.problem() is None))

    def watch_prompts(self, prompting: Any) -> None:
        """Observe a `Prompting`: what its model takes, who waits for it, and whether it hangs."""
        engine, line = prompting.engine, prompting.line
        self._gauge("skipstep_prompt_loaded_bytes", "Memory of the prompt model.", lambda: engine.loaded_bytes)
        self._gauge("skipstep_prompt_waiting", "Questions and jobs that wait for it.", lambda: line.waiting)
        self._gauge("skipstep_prompt_hangs", "1 if it answers nobody any more.", lambda: int(line.is_stuck))

    def on_question(self, kind: str, outcome: str, seconds: float) -> None:
        """Count a turn of the prompt model."""
        self._questions.add(1, {"kind": kind, "outcome": outcome})
        self._asked.record(seconds, {"kind": kind})

    def on_event(self, job: LiveJob, event: Event) -> None:
        """Count an event of a job."""
        if event.kind == "progress":
            self._passes.add(1, {"kind": event.data["pass"]})
        elif event.kind == "status":
            status = event.data["status"]
            seconds = event.data["at"] - job.row.created_at
            if status == RUNNING:
                self._waited.record(seconds, {"kind": job.row.kind})
            elif status in TERMINAL:
                self._jobs.add(1, {"kind": job.row.kind, "status": status})
                self._ran.record(seconds, {"kind": job.row.kind})

    def _gauge(self, name: str, description: str, value: Callable[[], int]) -> None:
        def observed(_: CallbackOptions) -> Iterable[Observation]:
            return [Observation(value())]

        self._meter.create_observable_gauge(name, [observed], description=description)

    def page(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self._registry)

    def close(self) -> None:
        """Let go of the instruments."""
        self.provider.shutdown()
