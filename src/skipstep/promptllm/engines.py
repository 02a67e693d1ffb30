"""Engines by name."""

from __future__ import annotations

from pathlib import Path

from ..errors import OptionError
from .echo import EchoEngine
from .engine import Engine
from .fetch import fetched_model
from .gguf import GgufEngine
from .remote import RemoteEngine

ENGINES = ("gguf", "openai", "echo")


def open_engine(name: str = "gguf", *, model: str | None = None, url: str | None = None) -> Engine:
    """An engine: gguf with a file, or the one that `skipstep prompt fetch` got; openai with a server and its model.

    Raises:
        OptionError: for an unknown engine, or options that it has no use for.
        ModelLoadError, MissingExtraError: as the engine.
    """
    if name not in ENGINES:
        raise OptionError(f"engine must be one of {', '.join(ENGINES)}, got {name!r}")
    if name != "openai" and url is not None:
        raise OptionError(f"url is for the engine openai, got {url!r} with {name}")
    if name == "echo":
        if model is not None:
            raise OptionError(f"the engine echo has no model, got {model!r}; leave it out")
        return EchoEngine()
    if name == "gguf":
        return GgufEngine(fetched_model() if model is None else Path(model))
    if url is None or model is None:
        raise OptionError("the engine openai needs the server's url and the name of a model on it")
    return RemoteEngine(url, model=model)
