"""The application."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from skipstep import __version__

from .catalog import Catalog
from .engines.dummy import DummyEngine
from .engines.protocol import Engine
from .handlers import add_handlers
from .metrics import Metrics
from .page import add_page
from .routes import a1111, events, health, jobs, models, openai_images, openai_videos, outputs
from .routes.underway import Underway
from .service import JobService
from .settings import Settings
from .store.database import open_database
from .store.job_store import JobStore
from .store.results import ResultStore

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
        app.state.metrics.watch(service)
        try:
            yield
        finally:
            await asyncio.to_thread(service.drain, settings.drain_s)
            app.state.metrics.close()

    metrics = Metrics()
    app = FastAPI(
        telemetry={"meter_provider": metrics.provider},
        title="skipstep",
        version=__version__,
        description="Images and videos with cached UNets: what is accepted is done exactly once.",
        lifespan=lifespan,
        max_body_size=settings.max_body_bytes,
    )
    app.state.settings, app.state.metrics = settings, metrics
    for routes in (jobs, events, outputs, models, health, openai_images, openai_videos):
        app.include_router(routes.router)
    if settings.a1111:
        app.state.underway = Underway()
        app.include_router(a1111.router)
    add_handlers(app)
    add_page(app)
    return app


def _open(settings: Settings, app: FastAPI) -> JobService:
    engine, families = new_engine(settings)
    service = JobService(
        engine,
        JobStore(open_database(settings.store, synchronous=settings.synchronous)),
        ResultStore(settings.results),
        max_queue=settings.max_queue,
        max_rows=settings.max_rows,
        joins=settings.step_batching,
        ttl_s=settings.result_ttl_s,
        max_bytes=settings.results_max_bytes,
        on_event=app.state.metrics.on_event,
    )
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
