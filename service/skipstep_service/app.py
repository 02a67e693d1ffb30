"""The application, with everything that it serves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from skipstep import __version__

from .body_limits import BodyLimits
from .catalog import Catalog
from .departures import Departures
from .engines.dummy import DummyEngine
from .engines.protocol import Engine
from .handlers import add_handlers
from .jobs.live_jobs import LiveJobs
from .metrics import Metrics
from .page import add_page
from .prompts.opening import open_prompting
from .routes import (
    a1111,
    events,
    health,
    jobs,
    models,
    openai_chat,
    openai_images,
    openai_videos,
    outputs,
    prompt,
    prompt_adapters,
)
from .routes.underway import Underway
from .service import JobService
from .settings import Settings
from .store.database import open_database
from .store.job_store import JobStore
from .store.lock import StoreLock
from .store.results import ResultStore
from .traces import Traces, is_unseen
from .webhooks import events as webhook_events
from .webhooks.outgoing import deliverer_of

_LETTING_GO_S = 5.0  # that a server takes to end besides its drain
DUMMY_FAMILIES = {"dummy": "sdxl", "dummy-video": "svd"}


def create_app(settings: Settings | None = None) -> FastAPI:
    """The service with everything that the settings ask for; nothing is opened before it starts.

    Raises (when it starts):
        OptionError: if the store, the results or a model cannot be opened.
    """
    settings = Settings() if settings is None else settings

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service = await asyncio.to_thread(_open, settings, app)
        metrics.watch(service)
        if app.state.prompting is not None:
            metrics.watch_prompts(app.state.prompting)
        try:
            yield
        finally:
            await asyncio.to_thread(service.drain, settings.drain_s)
            metrics.close()
            traces.close()

    metrics, traces = Metrics(), Traces()
    app = FastAPI(
        telemetry={
            "meter_provider": metrics.provider,
            "tracer_provider": traces.provider,
            "auto_configure": True,  # exports where OTEL_... says
            "exclude": is_unseen,
        },
        title="skipstep",
        version=__version__,
        description="Images and videos with cached UNets: what is accepted is done exactly once.",
        lifespan=lifespan,
        webhooks=webhook_events.router,
    )
    app.state.settings, app.state.metrics, app.state.traces = settings, metrics, traces
    for routes in (jobs, events, outputs, models, health, openai_images, openai_videos, openai_chat):
        app.include_router(routes.router)
    for routes in (prompt, prompt_adapters):
        app.include_router(routes.router)
    if settings.a1111:
        app.state.underway = Underway()
        app.include_router(a1111.router)
    add_handlers(app)
    add_page(app)
    app.add_middleware(BodyLimits, max_bytes=settings.max_body_bytes)
    app.add_middleware(Departures)
    return app


def _open(settings: Settings, app: FastAPI) -> JobService:
    engine, families = new_engine(settings)
    prompting = open_prompting(settings, on_turn=app.state.metrics.on_question)
    database = open_database(settings.store, synchronous=settings.synchronous)
    lock = StoreLock(database)
    lock.acquire(settings.drain_s + _LETTING_GO_S)
    store = JobStore(database)
    service = JobService(
        engine,
        store,
        ResultStore(settings.results),
        lock,
        max_queue=settings.max_queue,
        max_rows=settings.max_rows,
        joins=settings.step_batching,
        ttl_s=settings.result_ttl_s,
        max_bytes=settings.results_max_bytes,
        live=LiveJobs(ttl_s=settings.events_ttl_s, max_bytes=settings.events_max_bytes),
        on_event=(app.state.metrics.on_event, app.state.traces.on_event),
        webhooks=deliverer_of(settings, store),
        prompting=prompting,
    )
    app.state.prompting = prompting
    app.state.engine, app.state.service, app.state.catalog = engine, service, Catalog(settings, families)
    service.start()
    return service


def new_engine(settings: Settings) -> tuple[Engine, dict[str, str]]:
    """The engine that the settings name, and the family of each of its models."""
    if settings.engine == "dummy":
        return DummyEngine(step_s=settings.dummy_step_s), dict(DUMMY_FAMILIES)
    from .engines.diffusion import DiffusionEngine

    engine = DiffusionEngine(settings)
    return engine, engine.families
