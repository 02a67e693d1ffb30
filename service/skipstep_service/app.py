"""The application, with everything that it serves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI

from skipstep import __version__

from .body_limits import BodyLimits
from .catalog import Catalog
from .departures import Departures
from .handlers import add_handlers
from .metrics import Metrics
from .opening import Opened, open_service
from .page import add_page
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
from .settings import Settings
from .traces import Traces, is_unseen
from .webhooks import events as webhook_events

Opens = Callable[[Settings, FastAPI, asyncio.AbstractEventLoop], Opened]


def create_app(settings: Settings | None = None, *, opens: Opens | None = None) -> FastAPI:
    """The service with everything that the settings ask for; nothing is opened before it starts.

    `opens` opens what is behind the routes; `open_server`, if it is not given.

    Raises (when it starts):
        OptionError: if the store, the results or a model cannot be opened.
    """
    settings = Settings() if settings is None else settings

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        opened = await asyncio.to_thread(opens or open_server, settings, app, asyncio.get_running_loop())
        service, app.state.prompting = opened.service, opened.prompting
        app.state.engine, app.state.service = opened.engine, service
        app.state.catalog = Catalog(settings, opened.families)
        await asyncio.to_thread(service.start)
        metrics.watch(service)
        if opened.prompting is not None:
            metrics.watch_prompts(opened.prompting)
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


def open_server(settings: Settings, app: FastAPI, _: asyncio.AbstractEventLoop) -> Opened:
    """The service of a process that has both HTTP and an engine."""
    state = app.state
    return open_service(
        settings, on_event=(state.metrics.on_event, state.traces.on_event), on_question=state.metrics.on_question
    )
