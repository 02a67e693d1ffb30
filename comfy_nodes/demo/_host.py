"""ComfyUI's own steps of loading a checkpoint (`comfy.sd.load_state_dict_guess_config`), without the guessing.

Here, and only here, the releases differ; each switch can go when its older side is no longer supported.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import Any

import comfy.model_management as management
import comfy.model_patcher
import comfy.sd
import comfy.utils
import torch

from .weights import Weights


def new_patcher(model: Any, *, load_device: Any, offload_device: Any, disable_dynamic: bool) -> Any:
    """A patcher of the class that this ComfyUI uses; newer ones have one that loads weights as they are needed."""
    plain = comfy.model_patcher.ModelPatcher
    usual = getattr(comfy.model_patcher, "CoreModelPatcher", plain)  # 0.3.75 has the plain one only
    return (plain if disable_dynamic else usual)(model, load_device=load_device, offload_device=offload_device)


def new_model(config: Any, weights: Weights, *, disable_dynamic: bool) -> Any:
    """A patcher around the model of a `comfy.supported_models` configuration."""
    device = management.get_torch_device()
    dtypes = list(config.supported_inference_dtypes)
    parameters = comfy.utils.calculate_parameters(weights)
    dtype = management.unet_dtype(
        model_params=parameters, supported_dtypes=dtypes, weight_dtype=comfy.utils.weight_dtype(weights)
    )
    config.set_inference_dtype(dtype, management.unet_manual_cast(dtype, device, dtypes))
    first = management.unet_inital_load_device(parameters, dtype)
    model = config.get_model({}, "", device=first)
    patcher = new_patcher(
        model,
        load_device=device,
        offload_device=management.unet_offload_device(),
        disable_dynamic=disable_dynamic,
    )
    assign = {"assign": True} if _is_dynamic(patcher) else {}  # 0.3.75 has neither
    model.load_model_weights(weights, "", **assign)
    if first != torch.device("cpu"):
        management.load_models_gpu([patcher], force_full_load=True)
    return patcher


def new_clip(target: Any, weights: Weights, options: dict[str, Any], *, disable_dynamic: bool) -> Any:
    """A `comfy.sd.CLIP` with its weights, which are named as in its state dictionary."""
    known = signature(comfy.sd.CLIP.__init__).parameters
    late = {"state_dict": weights, "disable_dynamic": disable_dynamic}  # 0.3.75 loads in a second step
    given = {name: value for name, value in late.items() if name in known}
    clip = comfy.sd.CLIP(target, parameters=comfy.utils.calculate_parameters(weights), model_options=options, **given)
    if "state_dict" not in given:
        clip.load_sd(weights, full_model=True)
    return clip


def remember_loader(patcher: Any, load: Callable[..., Any], *arguments: Any) -> None:
    """Tell a patcher how to load its weights anew, which TorchCompileModel and the multi-GPU nodes ask of it.

    `load` also takes `disable_dynamic`. ComfyUI 0.3.75 asks for no such thing.
    """
    patcher.cached_patcher_init = (load, arguments)


def _is_dynamic(patcher: Any) -> bool:
    return hasattr(patcher, "is_dynamic") and bool(patcher.is_dynamic())
