"""An SDXL-shaped pipeline in the layout of the original SDXL checkpoints: one file, for loaders of single files.

diffusers tells the two text encoders of such a file apart by their width, so it reads those of equal width (the demo
model's) wrongly; ComfyUI reads them by name.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

_RESNET = (
    ("norm1", "in_layers.0"),
    ("conv1", "in_layers.2"),
    ("norm2", "out_layers.0"),
    ("conv2", "out_layers.3"),
    ("time_emb_proj", "emb_layers.1"),
    ("conv_shortcut", "skip_connection"),
)
_UNET_TOP = (
    ("time_embedding.linear_1", "time_embed.0"),
    ("time_embedding.linear_2", "time_embed.2"),
    ("add_embedding.linear_1", "label_emb.0.0"),
    ("add_embedding.linear_2", "label_emb.0.2"),
    ("conv_in", "input_blocks.0.0"),
    ("conv_norm_out", "out.0"),
    ("conv_out", "out.2"),
    ("mid_block.resnets.0", "middle_block.0"),
    ("mid_block.attentions.0", "middle_block.1"),
    ("mid_block.resnets.1", "middle_block.2"),
)
_VAE = (
    ("mid_block.resnets.0", "mid.block_1"),
    ("mid_block.resnets.1", "mid.block_2"),
    ("mid_block.attentions.0", "mid.attn_1"),
    ("group_norm", "norm"),
    ("to_q", "q"),
    ("to_k", "k"),
    ("to_v", "v"),
    ("to_out.0", "proj_out"),
    ("conv_norm_out", "norm_out"),
    ("conv_shortcut", "nin_shortcut"),
)
_OPEN_CLIP = (
    ("text_model.embeddings.token_embedding", "token_embedding"),
    ("text_model.embeddings.position_embedding.weight", "positional_embedding"),
    ("text_model.final_layer_norm", "ln_final"),
    ("text_model.encoder.layers", "transformer.resblocks"),
    ("layer_norm1", "ln_1"),
    ("layer_norm2", "ln_2"),
    ("mlp.fc1", "mlp.c_fc"),
    ("mlp.fc2", "mlp.c_proj"),
    ("self_attn.", "attn."),
)


def write_single_file(pipe: Any, path: Path) -> None:
    """Write `pipe`, an SDXL-shaped pipeline with two layers a block, as one safetensors file."""
    from safetensors.torch import save_file

    tensors = {f"model.diffusion_model.{_unet_name(k)}": v for k, v in pipe.unet.state_dict().items()}
    for key, value in pipe.vae.state_dict().items():
        name = _vae_name(key, len(pipe.vae.config.block_out_channels))
        as_convolution = re.search(r"attn_1\.(q|k|v|proj_out)\.weight", name) is not None
        tensors[f"first_stage_model.{name}"] = value[:, :, None, None] if as_convolution else value
    for key, value in _with_prefix(pipe.text_encoder.state_dict()).items():
        tensors[f"conditioner.embedders.0.transformer.{key}"] = value
    for key, value in _open_clip(_with_prefix(pipe.text_encoder_2.state_dict())).items():
        tensors[f"conditioner.embedders.1.model.{key}"] = value
    if pipe.scheduler.config.prediction_type == "v_prediction":
        tensors["v_pred"] = torch.zeros(1)  # how ComfyUI and others tell such a model
    save_file({key: value.contiguous() for key, value in tensors.items()}, path)


def _renamed(name: str, table: tuple[tuple[str, str], ...]) -> str:
    for ours, theirs in table:
        name = name.replace(ours, theirs)
    return name


def _unet_name(key: str) -> str:
    for ours, theirs in _UNET_TOP:
        if key.startswith(f"{ours}."):
            return _renamed(theirs + key[len(ours) :], _RESNET if "block" in theirs and ".1" not in theirs else ())
    part, block, kind, index, rest = _split(key)
    at = 3 * block + index
    if part == "down_blocks":
        if kind == "downsamplers":
            return f"input_blocks.{3 * (block + 1)}.0.op.{rest.removeprefix('conv.')}"
        place = f"input_blocks.{at + 1}"
    else:
        if kind == "upsamplers":
            return f"output_blocks.{3 * block + 2}.2.{rest}"
        place = f"output_blocks.{at}"
    return f"{place}.0.{_renamed(rest, _RESNET)}" if kind == "resnets" else f"{place}.1.{rest}"


def _split(key: str) -> tuple[str, int, str, int, str]:
    part, block, kind, index, rest = key.split(".", 4)
    return part, int(block), kind, int(index), rest


def _vae_name(key: str, levels: int) -> str:
    match = re.match(r"(encoder|decoder)\.(down|up)_blocks\.(\d+)\.(resnets|downsamplers|upsamplers)\.(\d+)\.(.*)", key)
    if match is None:
        return _renamed(key, _VAE)
    half, way, block, kind, index, rest = match.groups()
    level = int(block) if way == "down" else levels - 1 - int(block)
    place = f"block.{index}" if kind == "resnets" else f"{way}sample"
    return f"{half}.{way}.{level}.{place}.{_renamed(rest, _VAE)}"


def _with_prefix(state: dict[str, Tensor]) -> dict[str, Tensor]:
    kept = ("text_model.", "text_projection.")
    return {key if key.startswith(kept) else f"text_model.{key}": value for key, value in state.items()}


def _open_clip(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Attention's three projections as one, and the text projection transposed, as OpenCLIP has them."""
    named = {_renamed(key, _OPEN_CLIP): value for key, value in state.items()}
    joined = {key: value for key, value in named.items() if not re.search(r"attn\.[qkv]_proj", key)}
    for key in [key for key in named if "attn.q_proj" in key]:
        parts = [named[key.replace("q_proj", f"{letter}_proj")] for letter in "qkv"]
        joined[key.replace("q_proj.", "in_proj_")] = torch.cat(parts)
    joined["text_projection"] = joined.pop("text_projection.weight").T
    return joined
