"""Engines by name."""

from __future__ import annotations

from pathlib import Path

from ..errors import OptionError
from .echo import EchoEngine
from .engine import Engine
from .fetch import fetched_model
from .gguf import ALL_LAYERS, GgufEngine, gpu_name
from .hf import HfEngine
from .idle import IdleEngine
from .remote import RemoteEngine
from .unpacked import unpacked_model

OPTIONS: dict[str, tuple[str, ...]] = {
    "gguf": ("model", "device"),
    "hf": ("model", "device", "quantize"),
    "openai": ("model", "url"),
    "echo": (),
}
ENGINES = tuple(OPTIONS)


def open_engine(
    name: str = "gguf",
    *,
    model: str | None = None,
    url: str | None = None,
    device: str | None = None,
    quantize: str | None = None,
    idle_s: float = 0,
) -> Engine:
    """An engine; its model is loaded by the first question.

    gguf takes a file, hf a transformers folder; without, they are those that `skipstep prompt fetch` got. openai takes
    the url of a server and the name of a model there. `device` is "auto", "cpu" or "cuda" (hf: or "mps"), `quantize`
    "nf4" or "int8" of hf. With `idle_s`, the model is unloaded after so many seconds without a question.

    Raises:
        OptionError: for an unknown engine, or options that it has no use for.
        ModelLoadError, MissingExtraError: as the engine.
    """
    if name not in ENGINES:
        raise OptionError(f"engine must be one of {', '.join(ENGINES)}, got {name!r}")
    given = {"model": model, "url": url, "device": device, "quantize": quantize}
    for option, value in given.items():
        if value is not None and option not in OPTIONS[name]:
            raise OptionError(f"the engine {name} has no use for {option}, got {value!r}; leave it out")
    engine = _opened(name, model, url, device or "auto", quantize)
    return IdleEngine(engine, idle_s=idle_s) if idle_s else engine


def _opened(name: str, model: str | None, url: str | None, device: str, quantize: str | None) -> Engine:
    if name == "echo":
        return EchoEngine()
    if name == "gguf":
        return GgufEngine(fetched_model() if model is None else Path(model), gpu_layers=_gpu_layers(device))
    if name == "hf":
        return HfEngine(unpacked_model() if model is None else Path(model), device=device, quantize=quantize)
    if url is None or model is None:
        raise OptionError("the engine openai needs the server's url and the name of a model on it")
    return RemoteEngine(url, model=model)


def _gpu_layers(device: str) -> int:
    """All layers on a GPU where llama.cpp was built for one, or none."""
    if device not in ("auto", "cpu", "cuda"):
        raise OptionError(f"device of the engine gguf must be auto, cpu or cuda, got {device!r}")
    has_gpu = device != "cpu" and gpu_name() is not None
    if device == "cuda" and not has_gpu:
        raise OptionError("device of the engine gguf is cuda, and llama.cpp finds no GPU; install xllamacpp for CUDA")
    return ALL_LAYERS if has_gpu else 0
