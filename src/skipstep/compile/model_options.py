"""Attention, fused projections and memory format: options of the UNet itself, set by diffusers' own switches."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Any

import torch

from ..errors import BackendError, OptionError
from .backend import CompileOptions
from .placement import with_gradients, without_gradients

Undo = Callable[[], None]


def set_model_options(unet: Any, options: CompileOptions) -> list[Undo]:
    """Switch a UNet to what the options ask for; what undoes it, to be called latest first.

    Raises:
        OptionError: if this UNet has no such switch.
        BackendError: if xformers is not here or cannot serve this UNet, with the reason.
    """
    if hasattr(unet, "output_blocks"):
        return _set_ldm_options(unet, options)
    if options.fused_qkv and not hasattr(unet, "fuse_qkv_projections"):
        raise OptionError(f"fused_qkv is not for {type(unet).__name__}, which cannot fuse; leave it out")
    undo: list[Undo] = []
    try:
        if options.attention != "auto":
            undo.append(_set_attention(unet, options.attention))
        if options.fused_qkv:
            undo.append(_fuse_projections(unet))
        if options.channels_last:
            undo.append(_set_channels_last(unet))
    except (OptionError, BackendError):
        while undo:
            undo.pop()()
        raise
    return undo


def _set_ldm_options(unet: Any, options: CompileOptions) -> list[Undo]:
    default = CompileOptions()
    for name in ("attention", "channels_last", "fused_qkv"):
        if getattr(options, name) != getattr(default, name):
            raise OptionError(f"{name} is not for {type(unet).__name__}, whose host chooses it; leave it out")
    asking = without_gradients(unet)
    return [lambda: with_gradients(asking)]


def _fuse_projections(unet: Any) -> Undo:
    """`unfuse_qkv_projections` leaves the fused weights and its own notes on the modules; this does not."""
    before = [(module, dict(vars(module)), set(module._modules)) for module in unet.modules()]
    unet.fuse_qkv_projections()

    def unfuse() -> None:
        unet.unfuse_qkv_projections()
        for module, attributes, children in before:
            for name in set(module._modules) - children:
                del module._modules[name]
            for name in set(vars(module)) - set(attributes):
                del module.__dict__[name]
            if "fused_projections" in attributes:
                module.fused_projections = attributes["fused_projections"]

    if all(set(module._modules) == children for module, _, children in before):  # of a video UNet diffusers fuses none
        unfuse()
        raise OptionError(f"fused_qkv is not for {type(unet).__name__}, of which diffusers fuses nothing; leave it out")
    return unfuse


def _set_channels_last(unet: Any) -> Undo:
    """Of images only: the temporal layers of a video UNet have kernels of five dimensions."""
    form = torch.channels_last
    tensors = [tensor for tensor in chain(unet.parameters(), unet.buffers()) if tensor.ndim == 4]
    changed = [(tensor, tensor.stride()) for tensor in tensors if not tensor.is_contiguous(memory_format=form)]
    for tensor, _ in changed:
        tensor.data = tensor.data.contiguous(memory_format=form)

    def put_back() -> None:
        for tensor, strides in changed:
            own = torch.empty_strided(tensor.shape, strides, dtype=tensor.dtype, device=tensor.device)
            tensor.data = own.copy_(tensor.data)

    return put_back


def _set_attention(unet: Any, name: str) -> Undo:
    before = dict(unet.attn_processors)
    if name == "xformers":
        try:
            unet.enable_xformers_memory_efficient_attention()
        except (ImportError, ValueError, NotImplementedError) as error:
            reason = (str(error).strip().splitlines() or ["no message"])[0]
            raise BackendError(f"attention xformers cannot be used here: {reason}; sdpa is torch's own") from error
    else:
        from diffusers.models.attention_processor import AttnProcessor2_0

        unet.set_attn_processor(AttnProcessor2_0())
    return lambda: unet.set_attn_processor(dict(before))
