"""Finds and loads a model: a demo, a diffusers folder, or a single SDXL or SVD safetensors file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..errors import OptionError, UnsupportedModelError
from .model_files import load_path

DEMO, DEMO_SD15, DEMO_SVD = "demo", "demo-sd15", "demo-svd"
DEMOS = (DEMO, DEMO_SD15, DEMO_SVD)
FAMILIES = {
    "StableDiffusionXLPipeline": "sdxl",
    "StableDiffusionPipeline": "sd15",
    "StableVideoDiffusionPipeline": "svd",
}
IMAGE_FAMILIES, VIDEO_FAMILIES = ("sdxl", "sd15"), ("svd",)
GUIDANCE = {"sdxl": 5.0, "sd15": 7.5, "svd": 3.0}
DEMO_GUIDANCE = {"sdxl": 3.0, "sd15": 3.0, "svd": 2.0}
VIDEO_SIZE = (1024, 576)  # SVD's own, which its configuration does not tell


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A pipeline ready to run. `family` names its presets; `size` is its own (width, height) in pixels."""

    name: str
    family: str
    pipe: Any
    size: tuple[int, int]
    guidance_scale: float
    is_demo: bool = False  # ships with skipstep; the name cannot tell, as a folder may be called demo


def load_model(
    source: str = DEMO,
    *,
    config: Path | None = None,
    device: str = "auto",
    dtype: str = "auto",
    families: tuple[str, ...] = IMAGE_FAMILIES,
) -> LoadedModel:
    """Load a model of one of the `families`: text to image, or `VIDEO_FAMILIES` for image to video.

    `source` is "demo", "demo-sd15" or "demo-svd", a diffusers folder, or an SDXL or SVD single file in safetensors
    format; `config` is a diffusers folder with configuration and tokenizers for a single file (without it diffusers
    asks the Hugging Face hub for SDXL's).
    `device` is "auto" or a torch device; `dtype` is "auto" (float16 on CUDA, else float32), "float32", "float16"
    or "bfloat16".

    Raises:
        OptionError: if the path does not exist, is a pickle, or device or dtype is not to be had.
        ModelLoadError: if the files are damaged or incomplete.
        UnsupportedModelError: if it is of another family.
        MissingExtraError: if diffusers is not installed.
    """
    target = choose_device(device)
    kind = choose_dtype(dtype, target)
    if config is not None and not Path(source).is_file():
        raise OptionError(f"config is for a single file, and the model is {source!r}; leave it out")
    is_demo = source in DEMOS
    pipe = _load_demo(source, kind) if is_demo else load_path(Path(source), config, kind)
    family = FAMILIES.get(type(pipe).__name__)
    if family not in families:
        raise UnsupportedModelError(_wrong_family(source, pipe, families))
    assert family is not None
    side = pipe.unet.config.sample_size * pipe.vae_scale_factor
    return LoadedModel(
        name=source if is_demo else Path(source).name,
        family=family,
        pipe=pipe.to(target),
        size=VIDEO_SIZE if family in VIDEO_FAMILIES and not is_demo else (side, side),
        guidance_scale=(DEMO_GUIDANCE if is_demo else GUIDANCE)[family],
        is_demo=is_demo,
    )


def _wrong_family(source: str, pipe: Any, families: tuple[str, ...]) -> str:
    kind = type(pipe).__name__
    runs = " and ".join(name for name, family in FAMILIES.items() if family in families)
    family = FAMILIES.get(kind)
    if family in VIDEO_FAMILIES:
        remedy = "`skipstep video` runs it"
    elif family in IMAGE_FAMILIES:
        remedy = "`skipstep image` runs it"
    else:
        remedy = "Use skipstep.speed_up(pipe) from Python for other UNet pipelines"
    return f"{source} is a {kind}; this command runs {runs}. {remedy}"


def _load_demo(name: str, dtype: torch.dtype) -> Any:
    from .. import demo

    load = {DEMO: demo.load_demo_sdxl, DEMO_SD15: demo.load_demo_sd15, DEMO_SVD: demo.load_demo_svd}
    return load[name](dtype)


def choose_device(name: str) -> torch.device:
    """The device called `name`; "auto" is the first of CUDA, MPS and CPU that is there.

    Raises:
        OptionError: if torch does not know it or cannot use it here.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise OptionError(f"device must be auto, cpu or one that torch can use here, got {name!r}: {reason}") from error
    return device


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """The floating point type called `name`; "auto" is float16 on CUDA and float32 elsewhere.

    Raises:
        OptionError: if it is not one of auto, float32, float16 and bfloat16.
    """
    known = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
    known["auto"] = torch.float16 if device.type == "cuda" else torch.float32
    if name not in known:
        raise OptionError(f"dtype must be one of auto, float32, float16, bfloat16, got {name!r}")
    return known[name]
