"""How OneDiff's compiling nodes compile here."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from skipstep.errors import BackendError, UnsupportedModelError

# of the widgets of our own nodes
_BACKEND = "inductor"
_DEFAULT, _MAX_AUTOTUNE, _CUDA_GRAPHS = "default", "max autotune", "cuda graphs"
_EXACT, _DYNAMIC = "exact", "dynamic"


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What was asked of a compiler in OneDiff's words, in those of our nodes' widgets."""

    compiles: bool = True
    mode: str = _DEFAULT
    shapes: str = _EXACT


def wish_of_mode(mode: str, *, dynamic: bool) -> Wish:
    """The wish of a `mode` of torch.compile ("reduce-overhead") or of nexfort ("max-autotune:cudagraphs")."""
    words = mode.split(":")
    ours = _CUDA_GRAPHS if "reduce-overhead" in words or "cudagraphs" in words else _DEFAULT
    if any(word.startswith("max-autotune") for word in words):
        ours = _MAX_AUTOTUNE
    return Wish(mode=ours, shapes=_DYNAMIC if dynamic else _EXACT)


def compile_model(model: Any, wish: Wish) -> tuple[Any, str]:
    """A MODEL compiled as wished for, and how that is called today, or the same and why it is not compiled."""
    return _compiled("SkipstepCompileModel", model, wish)


def compile_vae(vae: Any, wish: Wish) -> tuple[Any, str]:
    """The same of a VAE."""
    return _compiled("SkipstepCompileVAE", vae, wish)


def compile_control_net(control_net: Any, wish: Wish) -> tuple[Any, str]:
    """The same of a ControlNet."""
    return _compiled("SkipstepCompileControlNet", control_net, wish)


def compute_device() -> str:
    """The kind of device that ComfyUI computes on."""
    from comfy.model_management import get_torch_device

    return str(get_torch_device().type)


def _compiled(node_id: str, given: Any, wish: Wish) -> tuple[Any, str]:
    """By our own node; what it cannot compile passes, which costs time and changes no picture."""
    from nodes import NODE_CLASS_MAPPINGS

    if not wish.compiles:
        return given, "not compiled, as asked"
    device = compute_device()
    if device != "cuda":
        return given, f"not compiled: OneDiff compiled for NVIDIA GPUs, and this is {device}"
    node = NODE_CLASS_MAPPINGS.get(node_id)
    if node is None:
        return given, "not compiled: this release of skipstep has no nodes that compile yet"
    try:
        made = node.execute(given, backend=_BACKEND, mode=wish.mode, shapes=wish.shapes, verify=False)
    except (BackendError, UnsupportedModelError) as error:
        logging.getLogger(__name__).warning("skipstep: not compiled: %s", error)
        return given, f"not compiled: {error}"
    name = node.GET_SCHEMA().display_name
    return made.result[0], f"{name} with backend {_BACKEND}, mode {wish.mode}, shapes {wish.shapes}"
