"""Presets that clients may name: those of the package, and of the operator's folder."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from skipstep.errors import OptionError
from skipstep.promptllm import Preset, load_preset, shipped_presets

from ..jobs.bodies import NAME


def served_presets(folder: str | None) -> dict[str, Preset]:
    """All presets by name, read once; one of the folder goes before a shipped one of the same name.

    Raises:
        OptionError: if the folder is none, or one of its presets cannot be used.
    """
    found = {name: load_preset(name) for name in shipped_presets()}
    if folder is None:
        return found
    if not Path(folder).is_dir():
        raise OptionError(f"prompt_presets must be a folder with .toml files, got {folder!r}")
    for file in sorted(Path(folder).glob("*.toml")):
        if not re.fullmatch(NAME, file.stem):
            raise OptionError(
                f"prompt_presets has {file.name!r}; names of presets are letters, digits, '.', '_' and '-'"
            )
        found[file.stem] = load_preset(str(file))
    return found


def preset_of(presets: Mapping[str, Preset], name: str) -> Preset:
    """The preset of this name.

    Raises:
        OptionError: if there is none.
    """
    if name not in presets:
        raise OptionError(f"preset must be one of {', '.join(presets)}, got {name!r}")
    return presets[name]
