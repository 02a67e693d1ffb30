"""Random miniature models as files, in the layouts in which the real ones are published.

Needs ComfyUI in this process (`host.process`). Weights keep activations near unit size, so that no part of a
model vanishes: deep blocks, conditionings, a ControlNet and a LoRA all change what comes out.
"""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import comfy.cldm.cldm
import comfy.lora
import comfy.ops
import comfy.taesd.taesd
import comfy.utils
import torch

from .tiny_files import CLIP_VISION, CONTROLNET, LORA, SDXL, SVD
from .tiny_pack import TinySDXL, TinySDXLClip, TinySVD, empty_clip_vision

StateDict = dict[str, torch.Tensor]


def ensure_models(folder: Path) -> Path:
    """A ComfyUI `models` folder with all of them, made unless it is there; 10 to 20 s of one core."""
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(dir=folder.parent))
        with torch.no_grad():
            _write_all(work)
        try:
            os.rename(work, folder)
        except OSError:  # another process was faster
            shutil.rmtree(work)
    return folder


def _write_all(folder: Path) -> None:
    vae = randomised(comfy.taesd.taesd.TAESD(latent_channels=4), seed=3, gain=1.4).state_dict()
    sdxl = _sdxl()
    clip = randomised(TinySDXLClip(dtype=torch.float32), seed=2).state_dict()
    save(_single_file(sdxl, vae=vae, clip=clip), folder / "checkpoints" / SDXL)
    save(_single_file(_svd(), vae=vae), folder / "checkpoints" / SVD)
    save(lora_of(sdxl), folder / "loras" / LORA)
    save(controlnet_of(sdxl), folder / "controlnet" / CONTROLNET)
    save(randomised(empty_clip_vision().model, seed=7).state_dict(), folder / "clip_vision" / CLIP_VISION)


def randomised(module: Any, *, seed: int, gain: float = 1.0) -> Any:
    """The module with seeded weights: variance-preserving matrices, unit scales, no biases."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in module.named_parameters():
        if parameter.ndim > 1:
            fan_in = parameter.shape[1] if "embedding" in name else parameter[0].numel()
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * gain / math.sqrt(fan_in))
        elif name.endswith("bias") or "mix_factor" in name:
            parameter.zero_()
        elif name.endswith("weight"):
            parameter.fill_(1)
        else:
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.02)
    return module


def _sdxl() -> Any:
    model = _model(
        TinySDXL,
        num_res_blocks=[2, 2, 2],
        channel_mult=[1, 2, 4],
        transformer_depth_middle=2,
        transformer_depth_output=[0, 0, 0, 1, 1, 1, 2, 2, 2],
        use_temporal_resblock=False,
    )
    randomised(model.diffusion_model, seed=1).out[2].weight.mul_(0.5)
    return model


def _svd() -> Any:
    model = _model(
        TinySVD,
        num_res_blocks=[2, 2, 2, 2],
        channel_mult=[1, 2, 4, 4],
        transformer_depth_middle=1,
        transformer_depth_output=[1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0],
        extra_ff_mix_layer=True,
        use_spatial_context=True,
        merge_strategy="learned_with_images",
        merge_factor=0.0,
        video_kernel_size=[3, 1, 1],
        disable_temporal_crossattention=False,
    )
    randomised(model.diffusion_model, seed=6)
    return model


def _model(kind: Any, **sizes: Any) -> Any:
    """ComfyUI's own model of that kind, with the entries that it would read out of the weights."""
    common = {
        "use_checkpoint": False,
        "image_size": 32,
        "use_spatial_transformer": True,
        "legacy": False,
        "num_classes": "sequential",
        "out_channels": 4,
        "in_channels": 4,
    }
    config = kind({**common, **kind.unet_config, **sizes, **kind.unet_extra_config})
    config.set_inference_dtype(torch.float32, None)
    config.unet_config["dtype"] = torch.float32
    return config.get_model({}, device="cpu")


def _single_file(model: Any, *, vae: StateDict, clip: StateDict | None = None) -> StateDict:
    """All parts under the names of a published checkpoint; the functions of ComfyUI empty their argument."""
    config = model.model_config
    weights = config.process_unet_state_dict_for_saving(model.diffusion_model.state_dict())
    weights.update(config.process_vae_state_dict_for_saving(dict(vae)))
    if clip is not None:
        weights.update(config.process_clip_state_dict_for_saving(dict(clip)))
    return dict(weights)


def lora_of(model: Any) -> StateDict:
    """Rank 4 on two layers of every attention, under kohya's names."""
    generator = torch.Generator().manual_seed(9)
    weights: StateDict = {}
    for key, target in comfy.lora.model_lora_keys_unet(model, {}).items():
        if key.startswith("lora_unet_") and target.endswith((".attn2.to_k.weight", ".attn1.to_out.0.weight")):
            rows, columns = comfy.utils.get_attr(model, target).shape
            weights[f"{key}.lora_down.weight"] = torch.randn(4, columns, generator=generator) / math.sqrt(columns)
            weights[f"{key}.lora_up.weight"] = torch.randn(rows, 4, generator=generator) / 2
            weights[f"{key}.alpha"] = torch.tensor(4.0)
    return weights


def controlnet_of(model: Any) -> StateDict:
    """A random one for a model of ComfyUI, under the original names."""
    left_out = ("out_channels", "transformer_depth_output", "dtype")
    sizes = {name: value for name, value in model.model_config.unet_config.items() if name not in left_out}
    operations = comfy.ops.disable_weight_init
    network = comfy.cldm.cldm.ControlNet(
        **sizes, hint_channels=3, dtype=torch.float32, device="cpu", operations=operations
    )
    randomised(network, seed=5)
    for convolution in network.zero_convs:
        convolution[0].weight.mul_(0.5)
    return {f"control_model.{name}": value for name, value in network.state_dict().items()}


def save(weights: StateDict, path: Path) -> None:
    """Write a safetensors file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    comfy.utils.save_torch_file({name: value.contiguous().clone() for name, value in weights.items()}, str(path))
