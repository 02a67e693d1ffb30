"""The full model with trained outer layers, as a folder of transformers."""

from __future__ import annotations

from pathlib import Path

from ..model_folder import load_model_folder, save_model_folder
from .outer_file import read_outer_layers
from .plugging import plug


def write_plugged(layers: Path, out: Path, *, base: Path) -> None:
    """Write the model in the folder `base` with the layers of a file in the place of its own.

    Values take the types of the base's files. Nothing of the base is changed.

    Raises:
        AdapterError: if the file or the folder is damaged, or the layers are not the model's.
        OutputError: if `out` is there and not empty, or cannot be written.
        MissingExtraError: without transformers or safetensors.
    """
    outer = read_outer_layers(layers)
    model = load_model_folder(base)
    plug(model, outer)
    save_model_folder(model, base, out)
