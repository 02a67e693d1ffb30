"""Opens what a service is made of, as the settings ask for it."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .engines.dummy import DummyEngine
from .engines.protocol import Engine
from .jobs.events import Event
from .jobs.live import LiveJob
from .jobs.live_jobs import LiveJobs
from .prompts.opening import open_prompting
from .prompts.prompting import Prompting
from .service import JobService
from .settings import Settings
from .sharing.sharing import Pace
from .store.database import open_database
from .store.job_store import JobStore
from .store.leases import Holder
from .store.lock import StoreLock
from .store.results import ResultStore
from .webhooks.outgoing import deliverer_of

_LETTING_GO_S = 5.0  # that a server takes to end besides its drain
DUMMY_FAMILIES = {"dummy": "sdxl", "dummy-video": "svd"}


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A service that has not started, and what it was made with."""

    service: JobService
    engine: Engine
    families: dict[str, str]  # of the engine's models
    prompting: Prompting | None


def open_service(
    settings: Settings,
    *,
    on_event: Sequence[Callable[[LiveJob, Event], None]],
    on_question: Callable[[str, str, float], None],
    max_queue: int | None = None,
    accepts_only: bool = False,
    is_replica: bool = False,
) -> Opened:
    """Open the store, the results and the models; with `accepts_only` for a server that has others run its jobs.

    A replica is one of several processes with these settings, and has a name of its own.

    Raises:
        OptionError: if one of them cannot be opened.
    """
    engine, families = new_engine(settings)
    prompting = open_prompting(settings, on_turn=on_question)
    name = None if is_replica else settings.server_id
    database = open_database(settings.store, synchronous=settings.synchronous)
    holder = holder_of(name, settings, hands_over=accepts_only) if database.dialect.name == "postgresql" else None
    lock = StoreLock(database, name)
    lock.acquire(settings.drain_s + _LETTING_GO_S)
    store = JobStore(database, holder, max_attempts=settings.max_attempts)
    service = JobService(
        engine,
        store,
        ResultStore(settings.results),
        lock,
        max_queue=settings.max_queue if max_queue is None else max_queue,
        max_rows=settings.max_rows,
        joins=settings.step_batching,
        ttl_s=settings.result_ttl_s,
        max_bytes=settings.results_max_bytes,
        live=LiveJobs(ttl_s=settings.events_ttl_s, max_bytes=settings.events_max_bytes),
        on_event=on_event,
        webhooks=deliverer_of(settings, store),
        prompting=prompting,
        pace=Pace(heartbeat_s=settings.heartbeat_s, poll_s=settings.poll_s),
        accepts_only=accepts_only,
    )
    return Opened(service=service, engine=engine, families=families, prompting=prompting)


def holder_of(name: str | None, settings: Settings, *, hands_over: bool) -> Holder:
    """Who this server is to others."""
    name = name or f"{socket.gethostname()[:32]}-{os.getpid()}-{secrets.token_hex(4)}"
    return Holder(server=name, lease_s=settings.lease_s, max_attempts=settings.max_attempts, hands_over=hands_over)


def new_engine(settings: Settings) -> tuple[Engine, dict[str, str]]:
    """The engine that the settings name, and the family of each of its models."""
    if settings.engine == "dummy":
        return DummyEngine(step_s=settings.dummy_step_s), dict(DUMMY_FAMILIES)
    from .engines.diffusion import DiffusionEngine

    engine = DiffusionEngine(settings)
    return engine, engine.families
