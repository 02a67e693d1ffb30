"""A ComfyUI pack for tests only: lets ComfyUI's own loaders read miniature checkpoints of SDXL and SVD.

ComfyUI reads every size of a UNet out of its weights; only `matches()` of the classes in `comfy.supported_models`
insists on the published sizes. Appending subclasses with miniature ones is all that the core loaders need.
"""

from __future__ import annotations

import json
import tempfile
from typing import Any

import comfy.clip_vision
import comfy.model_management
import comfy.sdxl_clip
import comfy.supported_models
import comfy.supported_models_base
import comfy.utils
import folder_paths
from comfy_api.latest import ComfyExtension, io

HEAD = 16
TEXT = {
    "hidden_size": 32,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_hidden_layers": 3,
    "projection_dim": 32,
}
VISION = {
    "hidden_act": "gelu",
    "hidden_size": 32,
    "image_size": 32,
    "intermediate_size": 64,
    "layer_norm_eps": 1e-5,
    "model_type": "clip_vision_model",
    "num_attention_heads": 4,
    "num_channels": 3,
    "num_hidden_layers": 3,
    "patch_size": 8,
    "projection_dim": 64,
}


class TinySDXLClip(comfy.sdxl_clip.SDXLClipModel):
    """Both text encoders of SDXL, small."""

    def __init__(self, device: Any = "cpu", dtype: Any = None, model_options: dict[str, Any] | None = None) -> None:
        sizes = {"clip_l_model_config": TEXT, "clip_g_model_config": TEXT}
        super().__init__(device, dtype, {**(model_options or {}), **sizes})


class TinySDXL(comfy.supported_models.SDXL):
    """SDXL's blocks with a tenth of its channels."""

    unet_config = {  # noqa: RUF012
        "model_channels": 32,
        "use_linear_in_transformer": True,
        "transformer_depth": [0, 0, 1, 1, 2, 2],
        "context_dim": 2 * TEXT["hidden_size"],
        "adm_in_channels": TEXT["projection_dim"] + 6 * 256,
        "use_temporal_attention": False,
    }
    unet_extra_config = {"num_heads": -1, "num_head_channels": HEAD}  # noqa: RUF012

    def clip_target(self, state_dict: Any = None) -> Any:
        return comfy.supported_models_base.ClipTarget(comfy.sdxl_clip.SDXLTokenizer, TinySDXLClip)


class TinySVD(comfy.supported_models.SVD_img2vid):
    """SVD's blocks with a tenth of its channels."""

    unet_config = {  # noqa: RUF012
        **comfy.supported_models.SVD_img2vid.unet_config,
        "model_channels": 32,
        "context_dim": VISION["projection_dim"],
    }
    unet_extra_config = {"num_heads": -1, "num_head_channels": HEAD, "attn_precision": None}  # noqa: RUF012


def register() -> None:
    """Let the core loaders know the miniature models."""
    known = {model.__name__ for model in comfy.supported_models.models}
    comfy.supported_models.models += [model for model in (TinySDXL, TinySVD) if model.__name__ not in known]


def empty_clip_vision() -> Any:
    """A CLIP vision model that waits for its weights."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:  # 0.3.75 takes a path only
        json.dump(VISION, file)
        file.flush()
        return comfy.clip_vision.ClipVisionModel(file.name)


class TinyCLIPVisionLoader(io.ComfyNode):
    """Core's detection of a CLIP vision model knows the published depths only, so the miniature has a loader."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TinyCLIPVisionLoader",
            category="_tests",
            inputs=[io.Combo.Input("name", options=folder_paths.get_filename_list("clip_vision"))],
            outputs=[io.ClipVision.Output()],
        )

    @classmethod
    def execute(cls, name: str) -> io.NodeOutput:
        clip = empty_clip_vision()
        weights = comfy.utils.load_torch_file(folder_paths.get_full_path_or_raise("clip_vision", name))
        missing, unexpected = clip.load_sd(weights)
        assert not missing, missing
        assert not unexpected, unexpected
        return io.NodeOutput(clip)


class TinyLoadedModels(io.ComfyNode):
    """What ComfyUI counts as loaded, each time anew."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(node_id="TinyLoadedModels", category="_tests", is_output_node=True, inputs=[], outputs=[])

    @classmethod
    def execute(cls) -> io.NodeOutput:
        loaded = [entry.model for entry in comfy.model_management.current_loaded_models]
        return io.NodeOutput(ui={"text": tuple(f"{type(at.model).__name__} {at.loaded_size()}" for at in loaded)})

    @classmethod
    def fingerprint_inputs(cls) -> float:
        return float("nan")  # a new one each time: ComfyUI finds what is the same object


class TinyModels(ComfyExtension):
    """Both nodes."""

    async def get_node_list(self) -> list[Any]:
        return [TinyCLIPVisionLoader, TinyLoadedModels]


async def comfy_entrypoint() -> TinyModels:
    """What ComfyUI asks a pack for; 0.3.75 does not call `on_load`."""
    register()
    return TinyModels()
