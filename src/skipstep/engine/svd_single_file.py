"""Loads Stable Video Diffusion from one file in the layout of Stability AI's checkpoints (svd, svd_xt).

diffusers has no loader of such files.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ..errors import MissingExtraError, ModelLoadError, OptionError
from .svd_config import Configs, Shapes, configs_from_folder, configs_from_shapes
from .svd_file import is_video_unet, read_shapes, read_weights, refuse_others
from .svd_layout import from_original, read_places, to_original

FRAMES, FRAMES_XT = 14, 25


def is_svd_file(path: Path) -> bool:
    """Whether it is a safetensors file with a video UNet in the original layout; reads its header alone."""
    try:
        return is_video_unet(read_shapes(path))
    except (ModelLoadError, OptionError):
        return False


def load_svd_single_file(path: Path, *, config: Path | None, dtype: torch.dtype) -> Any:
    """A `StableVideoDiffusionPipeline` from an original checkpoint, on the CPU. Nothing is downloaded.

    Without `config` all sizes come from the shapes of the weights, and what shapes do not tell is as published: heads
    of 64 channels in the UNet and of 80 in the image encoder, and 25 frames if the file's name has the word "xt",
    else 14. `config` is a diffusers folder (weights are not needed) from which all configurations come instead.

    Raises:
        OptionError: if the file is a pickle, if `config` is no such folder, or if it is needed to tell the heads.
        ModelLoadError: if the file is damaged, lacks weights or has some that SVD does not.
        UnsupportedModelError: if it is of another model; says which, if that can be told.
        MissingExtraError: if diffusers, transformers or safetensors is not installed.
    """
    shapes = read_shapes(path)
    refuse_others(path, shapes)
    configs = _detected(path, shapes) if config is None else configs_from_folder(config)
    parts = _on_meta(path, configs)
    _check(path, shapes, parts)
    weights = from_original(read_weights(path, dtype))
    for name, part in parts.items():
        part.load_state_dict(weights.pop(name), strict=True, assign=True)
        _fill_positions(part)
        part.eval().requires_grad_(False)
    return _pipeline(parts, configs)


def _detected(path: Path, shapes: Shapes) -> Configs:
    frames = FRAMES_XT if re.search(r"(?<![a-z])(svd)?xt(?![a-z])", path.stem.lower()) else FRAMES
    try:
        return configs_from_shapes(shapes, frames=frames)
    except (KeyError, IndexError) as error:
        raise ModelLoadError(f"cannot load {path}: {error} is missing or has another shape than SVD's") from error


def _on_meta(path: Path, configs: Configs) -> dict[str, Any]:
    try:
        from diffusers import AutoencoderKLTemporalDecoder, UNetSpatioTemporalConditionModel
        from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection
    except ImportError as error:
        raise MissingExtraError(f"loading models needs {error.name}: pip install 'skipstep[cli]'") from error
    try:
        with torch.device("meta"):
            return {
                "unet": UNetSpatioTemporalConditionModel.from_config(configs["unet"]),
                "vae": AutoencoderKLTemporalDecoder.from_config(configs["vae"]),
                "image_encoder": CLIPVisionModelWithProjection(CLIPVisionConfig.from_dict(configs["image_encoder"])),
            }
    except (TypeError, ValueError, AttributeError, ArithmeticError) as error:  # diffusers and transformers raise all
        raise ModelLoadError(f"cannot load {path}: no SVD can have these sizes: {error}") from error


def _check(path: Path, shapes: Shapes, parts: Mapping[str, Any]) -> None:
    """Compare the file's names and shapes with those that the parts would be written with.

    Raises:
        ModelLoadError: names the first that differ.
    """
    places = read_places(shapes)
    found = {name: shape for name, shape in shapes.items() if name.startswith(places)}
    wanted = {name: tuple(value.shape) for name, value in to_original(parts).items() if name.startswith(places)}
    missing = [name for name in wanted if name not in found]
    unknown = [name for name in found if name not in wanted]
    other = [
        f"{name} is {shape} and must be {wanted[name]}"
        for name, shape in found.items()
        if name in wanted and wanted[name] != shape
    ]
    for what, names in (("it lacks", missing), ("it has what SVD has not:", unknown), ("wrong shapes:", other)):
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise ModelLoadError(f"cannot load {path}: {what} {', '.join(names[:3])}{more}")


def _fill_positions(part: torch.nn.Module) -> None:
    """Give a module from the meta device the one buffer that no file has: the positions 0, 1, 2 ..."""
    for name, buffer in list(part.named_buffers()):
        place, _, leaf = name.rpartition(".")
        assert leaf == "position_ids", name
        positions = torch.arange(buffer.numel()).view(buffer.shape)
        part.get_submodule(place).register_buffer(leaf, positions, persistent=False)


def _pipeline(parts: Mapping[str, Any], configs: Configs) -> Any:
    from diffusers import EulerDiscreteScheduler, StableVideoDiffusionPipeline
    from transformers import CLIPImageProcessor

    return StableVideoDiffusionPipeline(
        **parts,
        scheduler=EulerDiscreteScheduler.from_config(configs["scheduler"]),
        feature_extractor=CLIPImageProcessor.from_dict(configs["feature_extractor"]),
    )
