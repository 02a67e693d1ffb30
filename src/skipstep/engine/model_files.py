"""Reads a model's files: a diffusers folder, or a single safetensors file. Never a pickle, never a download."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from ..errors import MissingExtraError, ModelLoadError, OptionError
from .svd_single_file import is_svd_file, load_svd_single_file

PICKLES = {".ckpt", ".pt", ".pth", ".bin", ".pkl", ".pickle"}


def load_path(path: Path, config: Path | None, dtype: torch.dtype) -> Any:
    """The pipeline of a diffusers folder, or of an SDXL or SVD single file; `config` is for single files.

    Raises:
        OptionError: if the path does not exist or is a pickle.
        ModelLoadError: if the files are damaged or incomplete.
        UnsupportedModelError: if a single file is of no family that is known.
        MissingExtraError: if diffusers is not installed.
    """
    if not path.exists() or path == Path():
        raise OptionError(
            f"no model at {path}; give demo, demo-sd15 or demo-svd, a diffusers folder, or an SDXL or SVD .safetensors "
            "file"
        )
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
    if is_svd_file(path):
        return load_svd_single_file(path, config=config, dtype=dtype)
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
