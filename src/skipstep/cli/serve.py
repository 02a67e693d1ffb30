"""`skipstep serve`: images and videos over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import MissingExtraError

Host = Annotated[str | None, typer.Option(help="Address to listen at; 127.0.0.1 if not given. Others need an API key.")]
Port = Annotated[int | None, typer.Option(help="8000 if not given.")]
Store = Annotated[
    str | None, typer.Option(help="Of jobs: sqlite:///PATH or postgresql://...; sqlite:///skipstep-jobs.db.")
]
Results = Annotated[str | None, typer.Option(help="Of files: a folder or an fsspec URL; skipstep-results.")]
Engine = Annotated[str | None, typer.Option(help="skipstep, or dummy, which draws nothing, to try clients with.")]
Ray = Annotated[
    bool, typer.Option("--ray", help="Serve on a Ray cluster with its head on this machine (docs/scale-out.md).")
]
OpenApi = Annotated[bool, typer.Option("--openapi", help="Print the schema of the API, and end.")]
NewKey = Annotated[str | None, typer.Option(help="Print a new API key of this name, and what to set, and end.")]


def serve(
    host: Host = None,
    port: Port = None,
    store: Store = None,
    results: Results = None,
    engine: Engine = None,
    ray: Ray = False,
    openapi: OpenApi = False,
    new_key: NewKey = None,
) -> None:
    """Serve the HTTP API, with the settings of SKIPSTEP_... variables (docs/service.md) and these options."""
    try:
        from skipstep_service import serve as serving
        from skipstep_service.settings import ApiKey, settings_of
    except ImportError as error:
        raise MissingExtraError(f"the service needs {error.name}: pip install 'skipstep[service]'") from error
    if openapi:
        import json

        typer.echo(json.dumps(serving.openapi(), indent=2))
        return
    if new_key is not None:
        import secrets

        text = secrets.token_urlsafe(32)
        key = ApiKey.of(new_key, text)
        typer.echo(f"key, for the client: {text}")
        typer.echo(f"for the server: SKIPSTEP_API_KEYS='[{key.model_dump_json()}]'")
        return
    given: dict[str, Any] = {"host": host, "port": port, "store": store, "results": results, "engine": engine}
    settings = settings_of(**{name: value for name, value in given.items() if value is not None})
    if settings.engine == "skipstep":
        from ..engine.unet_loras import check_lora

        for file in settings.loras.values():
            check_lora(Path(file))  # the worker would say so in a traceback
    if ray:
        serving.serve_on_ray(settings)
    else:
        serving.serve(settings)
