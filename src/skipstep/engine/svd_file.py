"""Reads an original Stable Video Diffusion checkpoint, header and weights, and tells it from other files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch

from ..errors import MissingExtraError, ModelLoadError, OptionError, UnsupportedModelError
from .svd_config import TIME_CHANNELS, TIME_IDS, Shapes
from .svd_layout import UNET, VAE, read_places

_LOOKS = {  # the beginning of a name, and whose it is
    "conditioner.embedders.1.model.": "SDXL",
    "conditioner.embedders.0.model.": "SDXL's refiner",
    "cond_stage_model.model.": "Stable Diffusion 2",
    "cond_stage_model.transformer.": "Stable Diffusion 1",
    UNET: "another diffusion model",
    "down_blocks.": "a part of a diffusers folder",
    "lora_": "a LoRA",
}


def read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The names and shapes in a safetensors file, by its header.

    Raises:
        OptionError: if it is a pickle.
        ModelLoadError: if it is no safetensors file, or only the beginning of one.
    """
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise MissingExtraError("loading models needs safetensors: pip install 'skipstep[cli]'") from error
    try:
        with safe_open(path, "pt") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        if _is_pickle(path):
            raise OptionError(
                f"{path} is a pickle, which can run any program when it is loaded; convert it to safetensors"
            ) from error
        raise ModelLoadError(f"{path} is not a whole safetensors file ({error}); download it again") from error


def _is_pickle(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(2).startswith((b"PK", b"\x80"))


def read_weights(path: Path, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Copies of the weights that a pipeline needs, made one by one; the file may then go.

    Raises:
        ModelLoadError: if some are whole numbers, as quantised weights are.
    """
    from safetensors import safe_open

    weights = {}
    with safe_open(path, "pt") as file:
        names = list(file.keys())
        places = read_places(names)
        for name in names:
            if name.startswith(places):
                weight = file.get_tensor(name)
                if not weight.is_floating_point():
                    raise ModelLoadError(f"cannot load {path}: {name} is of {weight.dtype}; give a file of floats")
                weights[name] = weight.to(dtype, copy=True)
    return weights


def is_video_unet(names: Iterable[str]) -> bool:
    """Whether there is a UNet of SVD's kind; SV3D's is, too."""
    return any(name.startswith(UNET) and ".time_stack." in name for name in names)


def refuse_others(path: Path, shapes: Shapes) -> None:
    """Pass SVD only.

    Raises:
        UnsupportedModelError: says what it looks like instead.
    """
    if not is_video_unet(shapes):
        looks = next((what for start, what in _LOOKS.items() if any(name.startswith(start) for name in shapes)), None)
        seen = f"it looks like {looks}" if looks else f"it begins with {', '.join(sorted(shapes)[:3]) or 'nothing'}"
        raise UnsupportedModelError(f"{path} is not Stable Video Diffusion: {seen}")
    told = shapes.get(f"{UNET}label_emb.0.0.weight", ())
    if len(told) == 2 and told[1] != TIME_IDS * TIME_CHANNELS:
        raise UnsupportedModelError(
            f"{path} is not Stable Video Diffusion, which tells its UNet frame rate, motion and noise in "
            f"{TIME_IDS * TIME_CHANNELS} channels: this one has {told[1]}, like SV3D"
        )
    decoder = [name for name in shapes if name.startswith(f"{VAE}decoder.")]
    if decoder and not any(".time_stack." in name for name in decoder):
        raise UnsupportedModelError(
            f"{path} has the decoder of single frames (svd_image_decoder); give the file with the video decoder (svd)"
        )
