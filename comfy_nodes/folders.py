"""Where plans are kept: `models/skipstep`, and wherever `extra_model_paths.yaml` says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from skipstep.errors import OptionError

NAME = "skipstep"
_SUFFIX = ".json"


def register_folder() -> None:
    """Make `models/skipstep` known to ComfyUI."""
    import folder_paths

    folder_paths.add_model_folder_path(NAME, str(plans_folder()))


def plans_folder() -> Path:
    """The folder that new plans are written to."""
    import folder_paths

    return Path(folder_paths.models_dir) / NAME


def plan_names() -> list[str]:
    """The plan files that there are now."""
    import folder_paths

    known: Any = folder_paths.folder_names_and_paths
    if NAME not in known:
        return []
    return sorted(name for name in folder_paths.get_filename_list(NAME) if _is_plan(name))


def plan_file(name: str) -> Path:
    """The file of a plan.

    Raises:
        OptionError: if there is none of that name, naming those that are.
    """
    import folder_paths

    found = folder_paths.get_full_path(NAME, name) if _is_plan(name) else None
    if found is None:
        raise OptionError(
            f"there is no plan {name!r} in models/{NAME}; there are {', '.join(plan_names()) or 'none yet'}. "
            "Plan Cache and `skipstep plan` make them"
        )
    return Path(found)


def _is_plan(name: str) -> bool:
    return name.lower().endswith(_SUFFIX) and not name.lower().endswith(".progress.json")
