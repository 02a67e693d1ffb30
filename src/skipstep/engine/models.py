"""Finds and loads a model: a demo, a diffusers folder, or a single SDXL safetensors file. Never a pickle."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..errors import MissingExtraError, ModelLoadError, OptionError, UnsupportedModelError

DEMO, DEMO_SD15 = "demo", "demo-sd15"
PICKLES = {".ckpt", ".pt", ".pth", ".bin", ".pkl", ".pickle"}
FAMILIES = {"StableDiffusionXLPipeline": "sdxl", "StableDiffusionPipeline": "sd15"}
GUIDANCE = {"sdxl": 5.0, "sd15": 7.5}
DEMO_GUIDANCE = 3.0


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
    source: str = DEMO, *, config: Path | None = None, device: str = "auto", dtype: str = "auto"
) -> LoadedModel:
    """Load a text-to-image model.

    `source` is "demo", "demo-sd15", a diffusers folder, or an SDXL single file in safetensors format; `config` is a
    diffusers folder with configuration and tokenizers for a single file (without it diffusers asks the Hugging Face
    hub).
    `device` is "auto" or a torch device; `dtype` is "auto" (float16 on CUDA, else float32), "float32", "float16"
    or "bfloat16".

    Raises:
        OptionError: if the path does not exist, is a pickle, or device or dtype is not to be had.
        ModelLoadError: if the files are damaged or incomplete.
        UnsupportedModelError: if it is not a Stable Diffusion text-to-image model.
        MissingExtraError: if diffusers is not installed.
    """
    target = choose_device(device)
    kind = choose_dtype(dtype, target)
    if config is not None and not Path(source).is_file():
        raise OptionError(f"config is for a single file, and the model is {source!r}; leave it out")
    is_demo = source in (DEMO, DEMO_SD15)
    pipe = _load_demo(source, kind) if is_demo else _load_path(Path(source), config, kind)
    family = FAMILIES.get(type(pipe).__name__)
    if family is None:
        raise UnsupportedModelError(
            f"{source} is a {type(pipe).__name__}; this command runs {' and '.join(FAMILIES)}. "
            "Use skipstep.speed_up(pipe) from Python for other UNet pipelines"
        )
    side = pipe.unet.config.sample_size * pipe.vae_scale_factor
    return LoadedModel(
        name=source if is_demo else Path(source).name,
        family=family,
        pipe=pipe.to(target),
        size=(side, side),
        guidance_scale=DEMO_GUIDANCE if is_demo else GUIDANCE[family],
        is_demo=is_demo,
    )


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


def _load_demo(name: str, dtype: torch.dtype) -> Any:
    from ..demo import load_demo_sd15, load_demo_sdxl

    return load_demo_sdxl(dtype) if name == DEMO else load_demo_sd15(dtype)


def _load_path(path: Path, config: Path | None, dtype: torch.dtype) -> Any:
    if not path.exists() or path == Path():
        raise OptionError(f"no model at {path}; give demo, demo-sd15, a diffusers folder or an SDXL .safetensors file")
    try:
        import diffusers
        from diffusers.loaders.single_file_utils import SingleFileComponentError
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise MissingExtraError(f"loading models needs {error.name}: pip install 'skipstep[cli]'") from error

    def check(file: Path) -> None:
        try:
            with safe_open(file, "pt"):
                pass
        except (SafetensorError, OSError) as error:
            raise ModelLoadError(f"{file} is not a whole safetensors file ({error}); download it again") from error

    if path.is_dir():
        files = list(_weights(path))
        for file in files:
            check(file)
        in_unet = [file.name for file in files if file.parent.name == "unet"]
        variant = "fp16" if in_unet and all(".fp16." in name for name in in_unet) else None

        def load() -> Any:
            return diffusers.DiffusionPipeline.from_pretrained(
                path, dtype=dtype, use_safetensors=True, local_files_only=True, variant=variant
            )

        return _loaded(load, path, "it must be a folder that save_pretrained wrote, with safetensors weights")
    _refuse_pickle(path)
    check(path)
    if config is not None and not (config / "model_index.json").is_file():
        raise OptionError(f"config must be a diffusers folder with a model_index.json, got {config}")
    options = {} if config is None else {"config": str(config), "local_files_only": True}

    def load_file() -> Any:
        try:
            return diffusers.StableDiffusionXLPipeline.from_single_file(str(path), dtype=dtype, **options)
        except SingleFileComponentError as error:  # derives from Exception alone
            raise ValueError(str(error)) from error

    return _loaded(load_file, path, "it must be an SDXL checkpoint; give --config FOLDER where there is no internet")


def _weights(folder: Path) -> Iterator[Path]:
    """The safetensors files of a diffusers folder.

    Raises:
        OptionError: if a component has only pickles.
        ModelLoadError: if it is no diffusers folder, or a part of it is missing.
    """
    index = folder / "model_index.json"
    if not index.is_file():
        raise ModelLoadError(f"{folder} has no model_index.json; give a folder that save_pretrained wrote")
    try:
        parts = dict(json.loads(index.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ModelLoadError(f"{index} is not a whole model index ({error}); copy it again") from error
    for name, origin in parts.items():
        if isinstance(origin, list) and any(origin) and not (folder / name).is_dir():
            raise ModelLoadError(f"{folder} lacks the folder {name} that its model_index.json names; copy it again")
    for part in sorted(child for child in folder.iterdir() if child.is_dir()):
        safe = sorted(part.glob("*.safetensors"))
        pickles = sorted(file for file in part.iterdir() if file.suffix in PICKLES)
        if pickles and not safe:
            _refuse_pickle(pickles[0])
        yield from safe


def _refuse_pickle(path: Path) -> None:
    with path.open("rb") as file:
        head = file.read(2)
    if path.suffix in PICKLES or head == b"PK" or head[:1] == b"\x80":
        raise OptionError(f"{path} is a pickle, which can run any program when it is loaded; convert it to safetensors")


def _loaded(load: Callable[[], Any], path: Path, remedy: str) -> Any:
    try:
        pipe = load()
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError) as error:  # diffusers raises all
        reason = f"{type(error).__name__}: {str(error).strip() or 'no message'}".splitlines()[0]
        raise ModelLoadError(f"cannot load {path}: {reason} — {remedy}") from error
    for name, part in pipe.components.items():
        if isinstance(part, torch.nn.Module) and any(parameter.is_meta for parameter in part.parameters()):
            raise ModelLoadError(f"cannot load {path}: it has no weights for the {name} — {remedy}")
    return pipe
