"""Plans that ship for the demo models."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

Key = tuple[str, str, int]  # preset, sampler, steps


def shipped_plans(model: str) -> dict[Key, Path]:
    """Files of the plans that ship for a demo model, by preset, sampler and steps."""
    found: dict[Key, Path] = {}
    folder = Path(str(resources.files("skipstep.demo") / "plans"))
    for file in sorted(folder.glob(f"{model}.*.json")):
        _, preset, sampler, steps = file.stem.split(".")
        found[preset, sampler, int(steps)] = file
    return found


def nearest_plan(model: str, *, preset: str, sampler: str, steps: int) -> Path | None:
    """The plan of a preset that fits a run best: of the same sampler if there is one, then of the nearest steps."""
    files = {key: file for key, file in shipped_plans(model).items() if key[0] == preset}
    if not files:
        return None
    return files[min(files, key=lambda key: (key[1] != sampler, abs(key[2] - steps), -key[2], key[1]))]
