"""Stable Video Diffusion's weights in the layout of its original checkpoints, and back.

An original checkpoint holds the VAE's encoder twice: one for the picture that the clip starts from, followed by a
1 x 1 convolution as in diffusers, and one for clips, with that convolution multiplied into its last one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from ..errors import UnsupportedModelError
from .svd_names import Table, count, inverted, our_levels, renamed, their_levels, unet_table, vae_table, vision_table

UNET, VAE = "model.diffusion_model.", "first_stage_model."
PICTURE_VAE = "conditioner.embedders.3.encoder."
VISION = "conditioner.embedders.0.open_clip.model.visual."

Weights = dict[str, Tensor]

_AS_CONVOLUTION = re.compile(r"\.attn_1\.(q|k|v|proj_out)\.weight$")
_FIRST, _SECOND = "decoder.mid.block_1.", "decoder.mid.block_2."
_ATTENTION_OUT = ("decoder.mid.attn_1.proj_out.weight", "decoder.mid.attn_1.proj_out.bias")


def to_original(parts: Mapping[str, Any]) -> Weights:
    """The weights of the modules "unet", "vae" and "image_encoder" (`pipe.components`, say), ready to be one file.

    In the middle of its decoder a diffusers VAE of one layer has an attention that it never calls, and no second
    block. Original ones always run both, so both are written with zeros, with which they add nothing.

    Raises:
        UnsupportedModelError: if a module has weights that SVD does not.
    """
    unet, vae, vision = (parts[name].state_dict() for name in ("unet", "vae", "image_encoder"))
    layers = count(vision, "vision_model.encoder.layers")
    return {
        **_moved(unet, unet_table(our_levels(unet)), add=UNET),
        **_vae_to_original(vae),
        **_moved(_joined(vision, layers), vision_table(layers), add=VISION),
    }


def from_original(weights: Mapping[str, Tensor]) -> dict[str, Weights]:
    """The weights of "unet", "vae" and "image_encoder" as diffusers names them; some share memory with `weights`.

    Raises:
        UnsupportedModelError: if there are weights that SVD does not have.
    """
    unet, vision = _cut(weights, UNET), _cut(weights, VISION)
    layers = count(vision, "transformer.resblocks")
    return {
        "unet": _moved(unet, inverted(unet_table(their_levels(unet)))),
        "vae": _vae_from_original(weights),
        "image_encoder": _split(_moved(vision, inverted(vision_table(layers))), layers),
    }


def read_places(names: Iterable[str]) -> tuple[str, ...]:
    """The beginnings of the names that `from_original` reads; the encoder is the picture's where there is one."""
    return (UNET, VISION, *(root + part for root, part in _vae_places(names)))


def _vae_places(names: Iterable[str]) -> tuple[tuple[str, str], ...]:
    in_picture = any(name.startswith(f"{PICTURE_VAE}encoder.") for name in names)
    encoder = ((PICTURE_VAE, "encoder."), (PICTURE_VAE, "quant_conv.")) if in_picture else ((VAE, "encoder."),)
    return (*encoder, (VAE, "decoder."))


def _cut(weights: Mapping[str, Tensor], place: str) -> Weights:
    return {name[len(place) :]: value for name, value in weights.items() if name.startswith(place)}


def _moved(weights: Mapping[str, Tensor], table: Table, *, add: str = "") -> Weights:
    names = {name: renamed(name, table) for name in weights}
    unknown = [name for name, new in names.items() if new is None]
    if unknown:
        raise UnsupportedModelError(f"{len(unknown)} weights are not SVD's: {', '.join(unknown[:3])}")
    return {f"{add}{names[name]}": value for name, value in weights.items()}


def _vae_to_original(vae: Weights) -> Weights:
    layers = count(vae, "encoder.down_blocks.0.resnets")
    idle = tuple(f"decoder.mid_block.resnets.{at}." for at in range(2, layers))  # diffusers never calls these
    kept = {name: value for name, value in vae.items() if not name.startswith(idle)}
    named = _moved(kept, vae_table(count(vae, "encoder.down_blocks"), layers))
    named = {k: v[:, :, None, None] if _AS_CONVOLUTION.search(k) else v for k, v in named.items()}
    if layers == 1:
        first = _cut(named, _FIRST)
        named |= {_SECOND + name: torch.zeros_like(value) for name, value in first.items()}
        named |= {name: torch.zeros_like(named[name]) for name in _ATTENTION_OUT}
    pictures = {PICTURE_VAE + name: value for name, value in named.items() if not name.startswith("decoder.")}
    clips = {name: value.clone() for name, value in named.items() if not name.startswith("quant_conv.")}
    clips |= _merged(named)
    return pictures | {VAE + name: value for name, value in clips.items()}


def _merged(named: Weights) -> Weights:
    """The encoder's last convolution and the 1 x 1 convolution after it as one."""
    (mix, shift), (weight, bias) = (
        (named[f"{name}.weight"].double(), named[f"{name}.bias"].double())
        for name in ("quant_conv", "encoder.conv_out")
    )
    mix = mix.flatten(1)
    merged = {"weight": (mix @ weight.flatten(1)).view_as(weight), "bias": mix @ bias + shift}
    dtype = named["encoder.conv_out.weight"].dtype
    return {f"encoder.conv_out.{kind}": value.to(dtype) for kind, value in merged.items()}


def _vae_from_original(weights: Mapping[str, Tensor]) -> Weights:
    named: Weights = {}
    for root, part in _vae_places(weights):
        named |= {part + name: value for name, value in _cut(weights, root + part).items()}
    if "quant_conv.weight" not in named:
        channels = named["encoder.conv_out.bias"]
        named["quant_conv.weight"] = torch.eye(len(channels)).to(channels)[:, :, None, None]
        named["quant_conv.bias"] = torch.zeros_like(channels)
    layers = count(named, "encoder.down.0.block")
    if layers == 1:
        second = [named.pop(name) for name in list(named) if name.startswith(_SECOND)]
        if any(value.any() for value in (*second, *(named[name] for name in _ATTENTION_OUT))):
            raise UnsupportedModelError(
                "a VAE of one layer has neither attention nor a second block in the middle of diffusers' decoder; "
                "this file's has"
            )
    named = {k: v.flatten(1) if _AS_CONVOLUTION.search(k) else v for k, v in named.items()}
    ours = _moved(named, inverted(vae_table(count(named, "encoder.down"), layers)))
    first = _cut(ours, "decoder.mid_block.resnets.0.")
    for at in range(2, layers):
        ours |= {f"decoder.mid_block.resnets.{at}.{name}": torch.zeros_like(value) for name, value in first.items()}
    return ours


def _joined(vision: Weights, layers: int) -> Weights:
    """With attention's three projections as one, and the last projection transposed."""
    joined = dict(vision)
    for place in (f"vision_model.encoder.layers.{at}.self_attn." for at in range(layers)):
        for kind in ("weight", "bias"):
            joined[f"{place}in_proj_{kind}"] = torch.cat([joined.pop(f"{place}{part}_proj.{kind}") for part in "qkv"])
    joined["visual_projection.weight"] = joined["visual_projection.weight"].T.contiguous()
    return joined


def _split(joined: Weights, layers: int) -> Weights:
    vision = dict(joined)
    for place in (f"vision_model.encoder.layers.{at}.self_attn." for at in range(layers)):
        for kind in ("weight", "bias"):
            three = vision.pop(f"{place}in_proj_{kind}").chunk(3)
            vision |= {f"{place}{part}_proj.{kind}": value for part, value in zip("qkv", three, strict=True)}
    vision["visual_projection.weight"] = vision["visual_projection.weight"].T.contiguous()
    return vision
