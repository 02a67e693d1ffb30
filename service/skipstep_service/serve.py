"""Runs the application with granian, whose timeouts close connections that send nothing."""

from __future__ import annotations

import json
import os
from typing import Any

from skipstep.errors import MissingExtraError

from .logs import set_up_logs
from .settings import Settings

_HEADER_S, _KEEP_ALIVE_S = 5, 30


def factory() -> Any:
    """The application in granian's worker process, with the settings of the environment."""
    from .app import create_app

    set_up_logs()
    return create_app()


def serve(settings: Settings) -> None:
    """Serve until a signal ends it; what runs is finished first.

    Raises:
        MissingExtraError: if granian is not installed.
    """
    try:
        from granian.constants import HTTPModes, Interfaces
        from granian.http import HTTP1Settings
        from granian.server import Server
    except ImportError as error:
        raise MissingExtraError("the service needs granian: pip install 'skipstep[service]'") from error
    os.environ.update(environment_of(settings))
    Server(
        "skipstep_service.serve:factory",
        address=settings.host,
        port=settings.port,
        interface=Interfaces.ASGI,
        workers=1,  # owns the models
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(header_read_timeout=_HEADER_S * 1000, keep_alive=True),
        workers_kill_timeout=int(settings.drain_s) + 5,
        log_access=False,
    ).serve(target_loader=factory, wrap_loader=False)  # or granian looks for the module in the working folder


def serve_on_ray(settings: Settings) -> None:
    """Serve on a Ray cluster with its head on this machine, until a signal ends it.

    Raises:
        MissingExtraError: if Ray is not installed.
        OptionError: if the store or the results are none that several machines can share.
        BackendError: if the cluster cannot be started.
    """
    try:
        import ray.serve  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("a Ray cluster needs Ray Serve: pip install 'skipstep[ray]'") from error
    from .logs import set_up_logs
    from .ray_serve.cluster import serve_cluster
    from .ray_serve.sameness import check_shareable

    check_shareable(settings)
    set_up_logs()
    serve_cluster(settings, {**os.environ, **environment_of(settings)})


def environment_of(settings: Settings) -> dict[str, str]:
    """Variables that make the same settings in another process."""
    plain = settings.model_dump(mode="json", exclude_defaults=True)
    if settings.webhook_secret is not None:
        plain["webhook_secret"] = settings.webhook_secret.get_secret_value()  # which is dumped as asterisks
    return {
        f"SKIPSTEP_{name.upper()}": value if isinstance(value, str) else json.dumps(value)
        for name, value in plain.items()
    }


def openapi() -> dict[str, Any]:
    """The schema of the API."""
    from .app import create_app

    schema: dict[str, Any] = create_app(Settings(engine="dummy", host="127.0.0.1")).openapi()
    return schema
