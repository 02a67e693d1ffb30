"""Where the prompt LLM's files are: `models/LLM`, `models/prompt_adapters` and `models/prompt_presets`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePath

from skipstep.adapters.folder import CONFIG
from skipstep.errors import OptionError
from skipstep.promptllm import load_preset, rewriter_folder, shipped_presets
from skipstep.promptllm.preset import Preset

DEFAULT_MODEL = "SmolLM2-135M (default)"
MODELS, ENCODERS, ADAPTERS, PRESETS, LORAS = "LLM", "text_encoders", "prompt_adapters", "prompt_presets", "loras"
REWRITER = "rewriter"
_MODEL_CONFIG = "config.json"


def register_prompt_folders() -> None:
    """Make the folders known to ComfyUI; `models/LLM` is one that other packs use, too."""
    import folder_paths

    for name in (MODELS, ADAPTERS, PRESETS):
        folder_paths.add_model_folder_path(name, str(Path(folder_paths.models_dir) / name))


def model_names() -> list[str]:
    """The default model, GGUF files of LLMs and of text encoders, and transformers folders."""
    return [DEFAULT_MODEL, *_models()]


def model_path(name: str) -> Path | None:
    """The file or folder of a model; None for the default one.

    Raises:
        OptionError: if there is none of that name.
    """
    if name == DEFAULT_MODEL:
        return None
    return _found(name, _models(), f"model {name!r} in models/{MODELS} or models/{ENCODERS}")


def adapter_names() -> list[str]:
    """The adapter that ships with skipstep, and the folders in `models/prompt_adapters`."""
    return list(_adapters())


def adapter_path(name: str) -> Path:
    """The folder of an adapter.

    Raises:
        OptionError: if there is none of that name.
    """
    return _found(name, _adapters(), f"adapter {name!r} in models/{ADAPTERS}")


def inspected_names() -> list[str]:
    """What can be inspected: those adapters, and LoRA files of image models."""
    return list(_inspected())


def inspected_path(name: str) -> Path:
    """The folder or file of something that can be inspected.

    Raises:
        OptionError: if there is none of that name.
    """
    return _found(name, _inspected(), f"adapter {name!r} in models/{ADAPTERS} or models/{LORAS}")


def preset_names() -> list[str]:
    """The presets that ship with skipstep, and TOML files in `models/prompt_presets`."""
    return [*shipped_presets(), *_presets()]


def preset_of(name: str) -> Preset:
    """A preset.

    Raises:
        OptionError: if there is none of that name, or its file is wrong.
    """
    return load_preset(name if name in shipped_presets() else str(preset_file(name)))


def preset_file(name: str) -> Path:
    """The file of a preset.

    Raises:
        OptionError: if there is none of that name.
    """
    return _found(name, {**_presets(), **shipped_presets()}, f"preset {name!r} in models/{PRESETS}")


def stamp(path: Path) -> list[tuple[str, int, int]]:
    """What changes when a file changes, or one in a folder."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    states = [(file.name, file.stat()) for file in files if file.is_file()]
    return [(name, state.st_mtime_ns, state.st_size) for name, state in states]


def _models() -> dict[str, Path]:
    files = {name: path for kind in (ENCODERS, MODELS) for name, path in _files(kind) if path.suffix.lower() == ".gguf"}
    folders = {_parent(name): path.parent for name, path in _files(MODELS) if path.name == _MODEL_CONFIG}
    return {**_sorted(files), **_sorted(folders)}


def _adapters() -> dict[str, Path]:
    own = {_parent(name): path.parent for name, path in _files(ADAPTERS) if path.name == CONFIG}
    shipped = {REWRITER: rewriter_folder()}
    return {**{name: path for name, path in shipped.items() if path.is_dir()}, **_sorted(own)}


def _inspected() -> dict[str, Path]:
    files = {f"{LORAS}/{name}": path for name, path in _files(LORAS) if path.suffix.lower() == ".safetensors"}
    return {**_adapters(), **_sorted(files)}


def _presets() -> dict[str, Path]:
    return _sorted({name: path for name, path in _files(PRESETS) if path.suffix.lower() == ".toml"})


def _files(kind: str) -> Iterator[tuple[str, Path]]:
    """All files by their names in ComfyUI's folders of a kind; where two have one name, the first folder's is last."""
    import folder_paths

    for folder in reversed(folder_paths.get_folder_paths(kind)):
        names, _ = folder_paths.recursive_search(folder, excluded_dir_names=[".git"])
        for name in names:
            yield PurePath(name).as_posix(), Path(folder) / name


def _parent(name: str) -> str:
    return PurePath(name).parent.as_posix()


def _sorted(found: dict[str, Path]) -> dict[str, Path]:
    """By name, without a folder that is the whole of ComfyUI's."""
    return {name: found[name] for name in sorted(found) if name != "."}


def _found(name: str, known: dict[str, Path], what: str) -> Path:
    if name not in known:
        raise OptionError(f"there is no {what}; there are: {', '.join(known) or 'none'}. Press R to look again")
    return known[name]
