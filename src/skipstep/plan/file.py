"""Plans on disk: a JSON for people, with the slopes in a safetensors file beside it."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ..deepcache.calibrated import PlannedSlopes
from ..deepcache.schedule import PlannedSchedule
from ..errors import MissingExtraError, ModelLoadError, PlanError
from .fingerprint import Fingerprint

VERSION = 1
_COLUMNS = ("branch", "previous", "last", "evaluation")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A schedule that was measured on one model, sampler and number of steps, with the slopes of its forecast.

    `passes` has one entry per evaluation: None for a full pass, else the branch of the reuse pass. `measured` is what
    held-out prompts gave, for people to read.

    Raises:
        PlanError: if the passes are not a schedule, the numbers of passes and noise levels differ, or a noise level or
            slope is not finite.
    """

    model: str
    fingerprint: Fingerprint
    family: str
    sampler: str
    steps: int
    passes: tuple[int | None, ...]
    log_sigmas: tuple[float, ...]
    slopes: PlannedSlopes
    measured: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        try:
            PlannedSchedule(self.passes)
        except ValueError as error:
            raise PlanError(f"{error}; make the plan anew with `skipstep plan`") from error
        if len(self.log_sigmas) != len(self.passes):
            raise PlanError(
                f"a plan of {len(self.passes)} passes has {len(self.log_sigmas)} noise levels; make it anew"
            )
        if not all(map(math.isfinite, (*self.log_sigmas, *self.slopes.reaches.values()))):
            raise PlanError("a plan has a noise level or a slope that is not a finite number; make it anew")

    @property
    def full_evaluations(self) -> tuple[int, ...]:
        """The evaluations that run in full."""
        return tuple(index for index, branch in enumerate(self.passes) if branch is None)

    def as_dict(self) -> dict[str, Any]:
        """All but the slopes, plain enough for JSON. Passes are words: F for full, else the branch.

        Figures that are not finite (the PSNR of equal latents) are None.
        """
        return {
            "skipstep_plan": VERSION,
            "model": self.model,
            "family": self.family,
            "sampler": self.sampler,
            "steps": self.steps,
            "passes": " ".join("F" if branch is None else str(branch) for branch in self.passes),
            "full_passes": len(self.full_evaluations),
            "evaluations": len(self.passes),
            "measured": {name: _finite(figure) for name, figure in self.measured.items()},
            "log_sigmas": [round(level, 5) for level in self.log_sigmas],
            "fingerprint": self.fingerprint.as_dict(),
        }


def _finite(figure: Any) -> Any:
    return None if isinstance(figure, float) and not math.isfinite(figure) else figure


def plan_bytes(plan: Plan, coefficients: str) -> tuple[bytes, bytes]:
    """The JSON, which names the file `coefficients`, and that safetensors file."""
    from safetensors.torch import save

    keys = sorted(plan.slopes.reaches)
    tensors = {
        name: torch.tensor([key[column] for key in keys], dtype=torch.int32) for column, name in enumerate(_COLUMNS)
    }
    tensors["reach"] = torch.tensor([plan.slopes.reaches[key] for key in keys], dtype=torch.float32)
    text = json.dumps({**plan.as_dict(), "coefficients": coefficients}, indent=1, allow_nan=False)
    return (text + "\n").encode(), bytes(save(tensors))


def load_plan(path: Path) -> Plan:
    """Read a plan and the slopes beside it.

    Raises:
        PlanError: if a file is missing or damaged, or of a version that is not known.
        MissingExtraError: if safetensors is not installed.
    """
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load
    except ImportError as error:
        raise MissingExtraError("plans need safetensors: pip install 'skipstep[diffusers]'") from error
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        version = data.get("skipstep_plan")
        if version != VERSION:
            raise PlanError(
                f"{path} is a plan of version {version!r}; this skipstep reads version {VERSION}. "
                "Upgrade skipstep, or make it anew with `skipstep plan`"
            )
        tensors = load(_beside(path, str(data["coefficients"])).read_bytes())
        rows = zip(*(tensors[name].tolist() for name in _COLUMNS), strict=True)
        reaches = {(b, p, q, e): float(r) for (b, p, q, e), r in zip(rows, tensors["reach"].tolist(), strict=True)}
        mark = data["fingerprint"]
        return Plan(
            model=str(data["model"]),
            family=str(data["family"]),
            sampler=str(data["sampler"]),
            steps=int(data["steps"]),
            passes=tuple(None if word == "F" else int(word) for word in data["passes"].split()),
            log_sigmas=tuple(float(level) for level in data["log_sigmas"]),
            slopes=PlannedSlopes(reaches),
            measured=dict(data.get("measured", {})),
            fingerprint=Fingerprint(str(mark["topology"]), tuple(map(float, mark["weights"]))),
        )
    except OSError as error:
        raise PlanError(
            f"cannot read the plan {path}: {error.strerror or error}; give the JSON of `skipstep plan`, "
            "with its .safetensors beside it"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, SafetensorError) as error:
        if isinstance(error, (PlanError, ModelLoadError)):
            raise
        raise PlanError(f"{path} is not a whole plan ({type(error).__name__}: {error}); make it anew") from error


def holds_slopes(file: Path) -> bool:
    """Whether a safetensors file is the one beside a plan."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "pt") as tensors:
            return "reach" in set(tensors.keys())
    except (SafetensorError, OSError):
        return False


def _beside(path: Path, name: str) -> Path:
    """The file called `name` in the folder of `path`; a plan from elsewhere must not have others read."""
    if name in ("", ".", "..") or "/" in name or "\\" in name:
        raise PlanError(
            f"{path} names the slopes {name!r}, which must be the plain name of a file beside it; make it anew"
        )
    return path.parent / name
