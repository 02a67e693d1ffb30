"""The VAEs, as ComfyUI's VAE: it builds one of any size if it is told the sizes (`config`)."""

from __future__ import annotations

from functools import partial
from typing import Any

import comfy.sd
import torch
from comfy.diffusers_convert import convert_vae_state_dict
from comfy.ldm.modules.temporal_ae import AE3DConv, VideoResBlock

from .unet_names import RESNET
from .weights import Weights, check_names, settings_of, stored_weights

_TIME_KERNEL = [3, 1, 1]
_USUAL_CHANNELS = 128  # of the decoder that ComfyUI's estimates of memory are for


def load_image_vae() -> Any:
    """A new VAE of the demo SDXL and SD1.5."""
    (weights,) = stored_weights("sdxl", "vae")
    return _new_vae(weights, settings_of("sdxl")["vae"])


def load_video_vae() -> Any:
    """A new VAE of the demo SVD; the frames that it decodes at once are those of one clip.

    `comfy.ldm.modules.temporal_ae.VideoDecoder` is ComfyUI's `Decoder` with other building blocks. `comfy.sd.VAE` makes
    it with SVD's sizes only, but hands what `config` holds to the `Decoder`, building blocks included.
    """
    (weights,) = stored_weights("svd", "vae")
    settings = settings_of("svd")["vae"]
    return _new_vae(
        _image_names(weights, settings),
        settings,
        resnet_op=partial(VideoResBlock, video_kernel_size=_TIME_KERNEL),
        conv_out_op=partial(AE3DConv, video_kernel_size=_TIME_KERNEL),
        attn_op=torch.nn.Identity,
    )


def _new_vae(weights: Weights, settings: dict[str, Any], **decoder: Any) -> Any:
    channels = settings["block_out_channels"]
    sizes = {
        "double_z": True,
        "z_channels": settings["latent_channels"],
        "resolution": settings["sample_size"],
        "in_channels": settings["in_channels"],
        "out_ch": settings["out_channels"],
        "ch": channels[0],
        "ch_mult": [count // channels[0] for count in channels],
        "num_res_blocks": settings["layers_per_block"],
        "attn_resolutions": [],
        **decoder,
    }
    config = {"params": {"ddconfig": sizes, "embed_dim": settings["latent_channels"]}}
    vae = comfy.sd.VAE(sd=weights, config=config)
    check_names("VAE", convert_vae_state_dict(weights), vae.first_stage_model.state_dict())
    _scale_memory(vae, channels[0] / _USUAL_CHANNELS)
    return vae


def _scale_memory(vae: Any, share: float) -> None:
    """Make ComfyUI's estimates those of a narrower VAE, or a clip would be decoded, and look, as if cut to pieces."""
    encode, decode = vae.memory_used_encode, vae.memory_used_decode
    vae.memory_used_encode = lambda *shape_and_dtype: share * encode(*shape_and_dtype)
    vae.memory_used_decode = lambda *shape_and_dtype: share * decode(*shape_and_dtype)


def _image_names(weights: Weights, settings: dict[str, Any]) -> Weights:
    """A temporal decoder's weights, named as those of an image decoder with a stack for time in every block.

    With one layer a block, the middle one of diffusers is a single resnet. ComfyUI's is resnet, attention, resnet: the
    attention is built as an identity, and the second resnet has zeros, which add nothing to what passes it. Latents go
    into diffusers' decoder as they are, so the convolution before it does nothing either.
    """
    assert settings["layers_per_block"] == 1
    named = {_image_name(name): value for name, value in weights.items() if "decoder.mid_block.attentions" not in name}
    middle = "decoder.mid_block.resnets."
    named |= {
        name.replace(f"{middle}0", f"{middle}1"): torch.zeros_like(value)
        for name, value in named.items()
        if name.startswith(f"{middle}0.")
    }
    channels = settings["latent_channels"]
    identity = torch.eye(channels).reshape(channels, channels, 1, 1)
    return {**named, "post_quant_conv.weight": identity, "post_quant_conv.bias": torch.zeros(channels)}


def _image_name(name: str) -> str:
    name = name.replace("spatial_res_block.", "").replace("time_mixer.", "")
    name = name.replace("decoder.time_conv_out", "decoder.conv_out.time_mix_conv")
    place, time, inner = name.partition("temporal_res_block.")
    module, _, parameter = inner.partition(".")
    return f"{place}time_stack.{RESNET[module]}.{parameter}" if time else name
