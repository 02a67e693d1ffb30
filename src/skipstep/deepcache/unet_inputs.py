"""Shapes of the calls that pipelines make of a UNet, known before any is made."""

from __future__ import annotations

import inspect
from typing import Any

import torch

from ..errors import UnsupportedModelError
from .flops import InputShapes

TEXT_TOKENS = 77
_OWN = "give InputShapes.of(args, kwargs) of a call instead"


def image_inputs(unet: Any, *, batch: int, height: int, width: int, scale: int = 8) -> InputShapes:
    """A call of SD1.5's or SDXL's UNet for pictures of `height` x `width` pixels, `scale` pixels a latent.

    `batch` is that of the call: with guidance, twice the number of pictures.

    Raises:
        UnsupportedModelError: if the UNet takes something else.
    """
    _check(unet, is_video=False)
    config = unet.config
    added: dict[str, Any] = {}
    if config.addition_embed_type == "text_time":  # six numbers of sizes and crops
        pooled = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
        added = {"added_cond_kwargs": {"text_embeds": _empty(batch, pooled), "time_ids": _empty(batch, 6)}}
    elif config.addition_embed_type is not None or config.class_embed_type is not None or config.num_class_embeds:
        raise UnsupportedModelError(f"{type(unet).__name__} takes more than text and sizes; {_OWN}")
    sample = _empty(batch, config.in_channels, height // scale, width // scale)
    text = _empty(batch, TEXT_TOKENS, _width(config.cross_attention_dim))
    return InputShapes.of((sample, _empty(), text), {**added, "return_dict": False})


def video_inputs(unet: Any, *, batch: int, frames: int, height: int, width: int, scale: int = 8) -> InputShapes:
    """A call of SVD's UNet for clips of `frames` pictures; the rest as in `image_inputs`.

    Raises:
        UnsupportedModelError: if the UNet takes something else.
    """
    _check(unet, is_video=True)
    config = unet.config
    ids = config.projection_class_embeddings_input_dim // config.addition_time_embed_dim
    sample = _empty(batch, frames, config.in_channels, height // scale, width // scale)
    picture = _empty(batch, 1, _width(config.cross_attention_dim))
    return InputShapes.of((sample, _empty(), picture), {"added_time_ids": _empty(batch, ids), "return_dict": False})


def _check(unet: Any, *, is_video: bool) -> None:
    takes_frames = "added_time_ids" in inspect.signature(type(unet).forward).parameters
    if not hasattr(unet, "config") or takes_frames is not is_video:
        wanted = "video (UNetSpatioTemporalConditionModel)" if is_video else "pictures (UNet2DConditionModel)"
        raise UnsupportedModelError(f"{type(unet).__name__} is no UNet of diffusers for {wanted}; {_OWN}")


def _width(cross_attention_dim: Any) -> int:
    """Of the conditioning; the configuration may name one per block."""
    return int(cross_attention_dim if isinstance(cross_attention_dim, int) else cross_attention_dim[0])


def _empty(*shape: int) -> torch.Tensor:
    return torch.empty(shape, device="meta")
