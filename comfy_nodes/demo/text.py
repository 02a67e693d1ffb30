"""The text encoders, as ComfyUI's CLIP."""

from __future__ import annotations

from typing import Any

import comfy.sd1_clip
import comfy.sdxl_clip
import torch
from comfy.supported_models_base import ClipTarget

from ._host import new_clip
from .weights import Weights, check_names, settings_of, stored_weights


class DemoSDXLClip(comfy.sdxl_clip.SDXLClipModel):
    """SDXL's pair of text encoders with two layers each, of which the first one's output is the conditioning.

    The base class asks for the layer before the last as -2, which `SDClipModel` refuses of an encoder with two.
    """

    def __init__(self, device: Any = "cpu", dtype: Any = None, model_options: dict[str, Any] | None = None) -> None:
        torch.nn.Module.__init__(self)
        first = {"layer": "hidden", "layer_idx": 0}
        given = {"device": device, "dtype": dtype, "model_options": model_options or {}}
        self.clip_l = comfy.sd1_clip.SDClipModel(**first, **given, layer_norm_hidden_state=False)
        self.clip_g = comfy.sdxl_clip.SDXLClipG(**first, **given)
        self.dtypes = {dtype}


def load_sdxl_text(*, disable_dynamic: bool = False) -> Any:
    """A new CLIP with the two text encoders of the demo SDXL."""
    first, second = stored_weights("sdxl", "text_encoder", "text_encoder_2")
    target = ClipTarget(comfy.sdxl_clip.SDXLTokenizer, DemoSDXLClip)
    settings = settings_of("sdxl")
    options = {"clip_l_model_config": settings["text_encoder"], "clip_g_model_config": settings["text_encoder_2"]}
    named = {**_named("clip_l", first), **_named("clip_g", second)}
    return _checked(new_clip(target, named, options, disable_dynamic=disable_dynamic), named)


def load_sd15_text(*, disable_dynamic: bool = False) -> Any:
    """A new CLIP with the text encoder of the demo SD1.5."""
    (weights,) = stored_weights("sd15", "text_encoder")
    target = ClipTarget(comfy.sd1_clip.SD1Tokenizer, comfy.sd1_clip.SD1ClipModel)
    options = {"clip_l_model_config": settings_of("sd15")["text_encoder"]}
    named = _named("clip_l", weights)
    return _checked(new_clip(target, named, options, disable_dynamic=disable_dynamic), named)


def _named(encoder: str, weights: Weights) -> Weights:
    """As in CLIP's state dictionary; an encoder without a projection gets one that changes nothing."""
    width = weights["text_model.final_layer_norm.weight"].shape[0]
    complete = {"text_projection.weight": torch.eye(width, dtype=torch.float16), **weights}
    named = {f"{encoder}.transformer.{name}": value for name, value in complete.items()}
    return {**named, f"{encoder}.logit_scale": torch.tensor(4.6055)}


def _checked(clip: Any, weights: Weights) -> Any:
    check_names("text encoder", weights, clip.cond_stage_model.state_dict())
    return clip
