"""An ingress replica: the HTTP API without an engine."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

from fastapi import FastAPI
from ray import serve

from ..app import create_app
from ..logs import set_up_logs
from ..opening import Opened, open_service
from ..settings import Settings, settings_of
from .dispatching import Dispatcher, ServeReplicas

APP, ENGINE = "skipstep", "Engine"
_LOOK_S = 2.0


def build_app() -> FastAPI:
    """The application of a replica, with the settings of its environment."""
    set_up_logs()
    return create_app(settings_of(), opens=open_ingress)


def open_ingress(settings: Settings, app: FastAPI, loop: asyncio.AbstractEventLoop) -> Opened:
    """A service that accepts jobs, and has engine replicas run them."""
    opened = open_service(
        settings,
        on_event=(app.state.metrics.on_event, app.state.traces.on_event),
        on_question=app.state.metrics.on_question,
        accepts_only=True,
        is_replica=True,
    )
    service, replicas = opened.service, ServeReplicas(serve.get_deployment_handle(ENGINE, APP))
    service.hand_over = Dispatcher(replicas, service.store, loop, on_end=service.heard).hand_over
    service.engines_problem = Engines().problem
    return opened


class Engines:
    """Whether there are engine replicas, asked of Serve now and then."""

    def __init__(self) -> None:
        self._asked_at = float("-inf")
        self._problem: str | None = None
        self._lock = threading.Lock()

    def problem(self) -> str | None:
        """Why no job is run now; None if some are."""
        with self._lock:
            if time.monotonic() - self._asked_at > _LOOK_S:
                self._problem = _problem()
                self._asked_at = time.monotonic()
            return self._problem


def _problem() -> str | None:
    try:
        status: Any = serve.status()
        states = status.applications[APP].deployments[ENGINE].replica_states
    except Exception as error:  # noqa: BLE001 - Ray's are many, and all mean that Serve does not answer
        return f"Ray Serve does not answer: {type(error).__name__}"
    return None if states.get("RUNNING", 0) else "no engine replica is ready"
