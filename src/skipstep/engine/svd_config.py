"""Configurations of Stable Video Diffusion's parts: from the shapes in an original file, or from a diffusers folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import isqrt
from pathlib import Path
from typing import Any

from ..errors import OptionError
from .svd_layout import UNET, VAE, VISION
from .svd_names import count, their_levels

Shapes = Mapping[str, tuple[int, ...]]
Configs = dict[str, dict[str, Any]]  # by component

PIPELINE = "StableVideoDiffusionPipeline"
TIME_IDS, TIME_CHANNELS = 3, 256  # frames a second, motion, noise; channels each is told in
_HEAD, _VISION_HEAD = 64, 80  # channels of a head, which no shape tells: VideoUNet's and ViT-H's
SCHEDULER = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
    "timestep_spacing": "leading",
    "timestep_type": "continuous",
    "steps_offset": 1,
    "use_karras_sigmas": True,
    "sigma_min": 0.002,
    "sigma_max": 700.0,
}
_FILES = {
    "unet": "unet/config.json",
    "vae": "vae/config.json",
    "image_encoder": "image_encoder/config.json",
    "scheduler": "scheduler/scheduler_config.json",
    "feature_extractor": "feature_extractor/preprocessor_config.json",
}


def configs_from_shapes(shapes: Shapes, *, frames: int) -> Configs:
    """Configurations by the shapes of an original file; what shapes cannot tell is as Stability AI published it.

    Raises:
        KeyError: if a weight is missing; its name.
        OptionError: if a width does not divide into heads of the published size.
    """
    return {
        "unet": _unet(_cut(shapes, UNET), frames),
        "vae": _vae(_cut(shapes, VAE)),
        "image_encoder": _vision(_cut(shapes, VISION)),
        "scheduler": SCHEDULER,
        "feature_extractor": {},
    }


def configs_from_folder(folder: Path) -> Configs:
    """The configurations in a diffusers folder, whose weights are not needed.

    Raises:
        OptionError: if it is no folder of a `StableVideoDiffusionPipeline`, or lacks a configuration.
    """
    pipeline = _json(folder, "model_index.json").get("_class_name")
    if pipeline != PIPELINE:
        raise OptionError(f"config must be a diffusers folder of a {PIPELINE}, and {folder} is of a {pipeline}")
    return {name: _json(folder, file) for name, file in _FILES.items()}


def _json(folder: Path, file: str) -> dict[str, Any]:
    try:
        return dict(json.loads((folder / file).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise OptionError(
            f"config must be a diffusers folder of a {PIPELINE}; no {file} in {folder}: {error}"
        ) from error


class _Shapes(dict[str, tuple[int, ...]]):
    """Shapes of what is under `place`, whose missing names are reported whole."""

    place: str

    def __missing__(self, name: str) -> tuple[int, ...]:
        raise KeyError(self.place + name)


def _cut(shapes: Shapes, place: str) -> _Shapes:
    cut = _Shapes({name[len(place) :]: shape for name, shape in shapes.items() if name.startswith(place)})
    cut.place = place
    return cut


def _heads(width: int, channels: int, what: str) -> int:
    if width % channels:
        raise OptionError(
            f"cannot tell the heads of the {what}: the published ones have {channels} channels each, which does not "
            f"divide {width}; give --config FOLDER, a diffusers folder with its configuration"
        )
    return width // channels


def _one(numbers: list[int]) -> int | list[int]:
    return numbers[0] if len(set(numbers)) == 1 else numbers


def _unet(shapes: _Shapes, frames: int) -> dict[str, Any]:
    levels = their_levels(shapes)
    widths = [shapes[f"input_blocks.{level.first}.0.out_layers.3.weight"][0] for level in levels]
    places = [f"input_blocks.{level.first}.1" if level.attention else "middle_block.1" for level in levels]
    kinds = ["CrossAttn" if level.attention else "" for level in levels]
    return {
        "sample_size": 96,
        "in_channels": shapes["input_blocks.0.0.weight"][1],
        "out_channels": shapes["out.2.weight"][0],
        "down_block_types": [f"{kind}DownBlockSpatioTemporal" for kind in kinds],
        "up_block_types": [f"{kind}UpBlockSpatioTemporal" for kind in reversed(kinds)],
        "block_out_channels": widths,
        "layers_per_block": _one([level.layers for level in levels]),
        "transformer_layers_per_block": _one([count(shapes, f"{place}.transformer_blocks") for place in places]),
        "num_attention_heads": [_heads(width, _HEAD, "UNet") for width in widths],
        "cross_attention_dim": shapes["middle_block.1.transformer_blocks.0.attn2.to_k.weight"][1],
        "addition_time_embed_dim": TIME_CHANNELS,
        "projection_class_embeddings_input_dim": shapes["label_emb.0.0.weight"][1],
        "num_frames": frames,
    }


def _vae(shapes: _Shapes) -> dict[str, Any]:
    levels = range(count(shapes, "decoder.up"))
    return {
        "in_channels": shapes["decoder.conv_out.weight"][0],
        "out_channels": shapes["decoder.conv_out.weight"][0],
        "down_block_types": ["DownEncoderBlock2D" for _ in levels],
        "block_out_channels": [shapes[f"decoder.up.{at}.block.0.conv1.weight"][0] for at in levels],
        "layers_per_block": count(shapes, "decoder.up.0.block") - 1,
        "latent_channels": shapes["decoder.conv_in.weight"][1],
        "sample_size": 768,
        "scaling_factor": 0.18215,
        "force_upcast": True,
    }


def _vision(shapes: _Shapes) -> dict[str, Any]:
    width, patch = shapes["ln_pre.weight"][0], shapes["conv1.weight"][-1]
    return {
        "hidden_size": width,
        "intermediate_size": shapes["transformer.resblocks.0.mlp.c_fc.weight"][0],
        "projection_dim": shapes["proj"][1],
        "num_hidden_layers": count(shapes, "transformer.resblocks"),
        "num_attention_heads": _heads(width, _VISION_HEAD, "image encoder"),
        "image_size": patch * isqrt(shapes["positional_embedding"][0] - 1),
        "patch_size": patch,
        "hidden_act": "gelu",
    }
