"""One planning: search, verification on held-out prompts, and the files that come of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..errors import MissingExtraError, OptionError, OutputError
from ..plan import Planner, Trial, plan_bytes
from ..plan.file import holds_slopes
from ..plan.targets import Outcome
from .media import write_whole
from .plan_plot import Frontier, plot_frontier
from .plan_progress import PlanProgress
from .plan_targets import Target, reach_target
from .planning import as_plan, held_out_figures, new_planner, search_settings, yardsticks
from .prompt_bench import RunBench


@dataclass(frozen=True, kw_only=True)
class PlanJob:
    """What is planned, on which prompts, and where it is written."""

    search: RunBench
    held_out: RunBench
    branches: tuple[int, ...]
    out: Path

    @cached_property
    def progress(self) -> PlanProgress:
        """What an interrupted search of the same settings left."""
        return PlanProgress(self.out.with_suffix(".progress.json"), search_settings(self.search, self.branches))

    def run(self, target: Target, note: Callable[[str], None]) -> Outcome:
        """Search, verify and write; `note` is told of every step.

        Raises:
            PlanError: if the target cannot be reached; the message says what can.
            OutputError: if a file cannot be written.
        """
        planner = new_planner(self.search, self.branches, note, self.progress)

        def figures(trial: Trial) -> dict[str, Any]:
            note("held-out prompts")
            return held_out_figures(self.held_out, trial)

        outcome = reach_target(planner, target, figures)
        note("drawing the plot")
        self._write(planner, outcome)
        self.progress.finish()
        return outcome

    def _write(self, planner: Planner, outcome: Outcome) -> None:
        verbatim, fewer = yardsticks(self.search, planner)
        settings = self.search.settings
        png, svg = plot_frontier(
            Frontier(
                title=f"{self.search.model.name}, {settings.sampler}, {settings.steps} steps, search prompts",
                trials=[(trial.speedup, trial.psnr) for trial in planner.trials],
                chosen=(outcome.trial.speedup, outcome.trial.psnr),
                verbatim=verbatim,
                fewer_steps=fewer,
            )
        )
        coefficients = self.out.with_suffix(".safetensors")
        plan = as_plan(self.search, planner, outcome.trial, outcome.figures)
        text, slopes = plan_bytes(plan, coefficients.name)
        write_whole(self.out.with_suffix(".png"), png)
        write_whole(self.out.with_suffix(".svg"), svg)
        write_whole(coefficients, slopes)
        write_whole(self.out, text)


def check_plan_output(path: Path) -> None:
    """Refuse a place that a plan cannot be written to, before any work is done.

    Raises:
        OptionError: if the name does not end in .json, or the slopes would replace weights beside it.
        OutputError: if the folder is missing or not writable, or `path` is a folder.
        MissingExtraError: if the plot's package is not installed.
    """
    if find_spec("matplotlib") is None:
        raise MissingExtraError("the plot needs matplotlib: pip install 'skipstep[plot]'")
    if path.suffix.lower() != ".json":
        raise OptionError(f"a plan must end in .json, got {path}")
    if path.is_dir():
        raise OutputError(f"{path} is a folder; give the name of a file")
    slopes = path.with_suffix(".safetensors")
    if slopes.exists() and not holds_slopes(slopes):
        raise OptionError(f"the plan's slopes would replace {slopes}, which is not of a plan; choose another --out")
    write_whole(path, None)
