"""How OneDiff's compiling nodes compile here."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from skipstep.compile import CompileOptions
from skipstep.errors import BackendError, UnsupportedModelError

from .. import compiling
from ..compiling.choices import CUDA_GRAPHS, DEFAULT, DYNAMIC, EXACT, MAX_AUTOTUNE

_BACKEND = "inductor"


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What was asked of a compiler in OneDiff's words, in those of our nodes' widgets."""

    compiles: bool = True
    mode: str = DEFAULT
    shapes: str = EXACT


def wish_of_mode(mode: str, *, dynamic: bool) -> Wish:
    """The wish of a `mode` of torch.compile ("reduce-overhead") or of nexfort ("max-autotune:cudagraphs")."""
    words = mode.split(":")
    ours = CUDA_GRAPHS if "reduce-overhead" in words or "cudagraphs" in words else DEFAULT
    if any(word.startswith("max-autotune") for word in words):
        ours = MAX_AUTOTUNE
    return Wish(mode=ours, shapes=DYNAMIC if dynamic else EXACT)


def compile_model(model: Any, wish: Wish) -> tuple[Any, str]:
    """A MODEL compiled as wished for, and how that is called today, or the same and why it is not compiled."""
    return _compiled(compiling.compile_model, model, wish, node="Compile Model")


def compile_vae(vae: Any, wish: Wish) -> tuple[Any, str]:
    """The same of a VAE."""
    return _compiled(compiling.compile_vae, vae, wish, node="Compile VAE")


def compile_control_net(control_net: Any, wish: Wish) -> tuple[Any, str]:
    """The same of a ControlNet."""
    return _compiled(compiling.compile_control_net, control_net, wish, node="Compile ControlNet")


def compute_device() -> str:
    """The kind of device that ComfyUI computes on."""
    from comfy.model_management import get_torch_device

    return str(get_torch_device().type)


def _compiled(make: Callable[[Any, str, CompileOptions], Any], given: Any, wish: Wish, *, node: str) -> tuple[Any, str]:
    """As by our own node; what it cannot compile passes, which costs time and changes no picture."""
    if not wish.compiles:
        return given, "not compiled, as asked"
    device = compute_device()
    if device != "cuda":
        return given, f"not compiled: OneDiff compiled for NVIDIA GPUs, and this is {device}"
    try:
        made = make(given, _BACKEND, compiling.compile_options(mode=wish.mode, shapes=wish.shapes))
    except (BackendError, UnsupportedModelError) as error:
        logging.getLogger(__name__).warning("skipstep: not compiled: %s", error)
        return given, f"not compiled: {error}"
    return made, f"{node} with backend {_BACKEND}, mode {wish.mode}, shapes {wish.shapes}"
