"""Opens engines as ComfyUI's user asks for them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from skipstep.errors import MissingExtraError, ModelLoadError, OptionError
from skipstep.promptllm import Engine, fetched_model, open_engine, open_expander, unpacked_model
from skipstep.promptllm.gguf import gpu_name

from .llm import PromptLLM
from .patcher import EnginePatcher
from .places import model_path

ENGINES = ("gguf", "hf", "echo")
DEVICES = ("auto", "cpu", "gpu")
GPUS = ("cuda", "mps")  # of torch's, those that the engines know
QUANTIZATIONS = ("none", "nf4", "int8")
LLAMA_CPP = "xllamacpp gguf"


def open_llm(engine: str, model: str, *, device: str, quantize: str, idle_s: float) -> PromptLLM:
    """A model of this machine, not loaded yet; `model` is a name in ComfyUI's folders.

    Raises:
        OptionError: if there is no such model, or it is for another engine.
        ModelLoadError: if it is damaged.
        MissingExtraError: without a package that the engine needs, with the line that installs it.
    """
    if engine == "echo":
        return _llm(open_engine("echo"))
    path = _checked(model_file(engine, model), model, engine)
    with packages_told():
        place = _device(device, engine)
        opened = open_engine(
            engine,
            model=str(path),
            device=place.type,
            quantize=None if quantize == "none" else quantize,
            idle_s=idle_s,
        )
    return _llm(opened, EnginePatcher(opened, device=place, size=_size(path)))


def open_remote(url: str, model: str) -> PromptLLM:
    """A model on a server.

    Raises:
        OptionError: if the URL cannot be one.
        MissingExtraError: without httpx, with the line that installs it.
    """
    with packages_told():
        engine = open_engine("openai", url=url.strip(), model=model.strip())
    return _llm(engine)


def model_file(engine: str, model: str) -> Path:
    """The file or folder of a model.

    Raises:
        OptionError: if there is none of that name.
        ModelLoadError: if it is the default one, which was not fetched.
    """
    path = model_path(model)
    if path is not None:
        return path
    path, option = (unpacked_model(), " --transformers") if engine == "hf" else (fetched_model(), "")
    if not path.exists():
        raise ModelLoadError(
            f"the default model was not fetched for {engine}: run `skipstep prompt fetch{option}` with ComfyUI's "
            "Python, or put a model of yours into models/LLM, press R and choose it"
        )
    return path


@contextmanager
def packages_told() -> Iterator[None]:
    """Say what to install into ComfyUI's Python, in which skipstep may be a folder and not a package."""
    try:
        yield
    except MissingExtraError as error:
        missing = getattr(error.__cause__, "name", None)
        packages = LLAMA_CPP if missing is None else str(missing).partition(".")[0]
        what = str(error).partition(": pip install")[0]
        raise MissingExtraError(f"{what}; with ComfyUI's Python: pip install {packages}") from error


def _llm(engine: Engine, patcher: EnginePatcher | None = None) -> PromptLLM:
    with packages_told():
        return PromptLLM(expander=open_expander(engine), patcher=patcher)


def _checked(path: Path, model: str, engine: str) -> Path:
    if path.is_dir() != (engine == "hf"):
        kind, other = ("a transformers folder", "hf") if path.is_dir() else ("a GGUF file", "gguf")
        raise OptionError(f"{model} is {kind}, which is for the engine {other}, got {engine}; choose one of them anew")
    return path


def _device(device: str, engine: str) -> torch.device:
    """Where a model is to be: for auto, on a GPU where ComfyUI and the engine both use it."""
    import comfy.model_management as management

    place: torch.device = management.text_encoder_device() if device == "auto" else management.get_torch_device()
    if device == "gpu" and place.type == "cpu":
        raise OptionError("there is no GPU for device gpu in this ComfyUI; choose auto or cpu")
    usable = place.type in GPUS and (engine == "hf" or gpu_name() is not None)
    return torch.device("cpu") if device == "cpu" or (device == "auto" and not usable) else place


def _size(path: Path) -> int:
    """Bytes of the weights on disk."""
    files = path.glob("*.safetensors") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
