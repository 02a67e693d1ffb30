"""The UNets, as ComfyUI's models."""

from __future__ import annotations

from typing import Any

from comfy.model_detection import detect_unet_config

from ..sampling.resolve import DEMO
from ._host import new_model, remember_loader
from .model_configs import DemoSD15, DemoSDXL, DemoSVD
from .unet_names import original_unet
from .weights import check_names, stored_weights

_NAMES = {"sdxl": "demo", "sd15": "demo-sd15", "svd": "demo-svd"}
_CONFIGS = {"sdxl": DemoSDXL, "sd15": DemoSD15, "svd": DemoSVD}


def load_unet(model: str, *, disable_dynamic: bool = False) -> Any:
    """A new patcher around the UNet of "sdxl", "sd15" or "svd"."""
    (stored,) = stored_weights(model, "unet")
    weights = original_unet(stored)
    names = set(weights)
    patcher = new_model(_CONFIGS[model](detect_unet_config(weights, "")), weights, disable_dynamic=disable_dynamic)
    check_names("UNet", names, patcher.model.diffusion_model.state_dict())
    remember_loader(patcher, load_unet, model)
    patcher.set_attachments(DEMO, _NAMES[model])  # presets know plans for it
    return patcher
