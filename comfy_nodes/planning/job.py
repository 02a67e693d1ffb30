"""One planning: measure, search, verify on held-out subjects, write, and tell."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from skipstep.deepcache.calibrated import PlannedSlopes
from skipstep.plan import Measured, Plan, Planner, Trial, median_psnr
from skipstep.plan.targets import Outcome, with_way_out
from skipstep.plan.verification import latent_figures

from ..sampling.fingerprints import model_fingerprint
from ..sampling.resolve import family_of
from ..sampling.samplers import SamplerRun
from .measuring import measure
from .place import PlanPlace
from .plot import MISSING, can_plot, frontier_picture
from .progress import StepProgress, expected_steps
from .runs import RunSettings, SubjectBench
from .subjects import Subjects
from .target import WORDS, Speed, Target, reach

_PIXELS = 8  # a latent


@dataclass(frozen=True, kw_only=True)
class MadePlan:
    """A plan that was written, what to tell of it, and the plot (1, height, width, 3) where it could be drawn."""

    plan: Plan
    text: str
    picture: Tensor | None


@dataclass(frozen=True, kw_only=True)
class PlanJob:
    """What is planned and where it is written."""

    model: Any  # ModelPatcher
    settings: RunSettings
    run: SamplerRun  # of these settings
    latent: Tensor  # that sampling starts from
    subjects: Subjects
    target: Target
    place: PlanPlace

    def make(self) -> MadePlan:
        """Measure, search, verify and write.

        Raises:
            PlanError: if the target cannot be reached; the message says what can.
            OutputError: if a file cannot be written.
            InterruptProcessingException: if the user cancels; a plan that was found by then is kept.
        """
        plots = can_plot()
        expected = expected_steps(self.subjects, self.target, evaluations=self.run.steps, plots=plots)
        progress = StepProgress(expected)
        search = SubjectBench(
            model=self.model,
            settings=self.settings,
            latent=self.latent,
            subjects=self.subjects.search,
            on_step=progress.step,
        )
        held_out = replace(search, subjects=self.subjects.held_out)
        measured = measure(search, self.run)
        planner = Planner(search, measured, median_psnr)

        def figures(trial: Trial) -> dict[str, Any]:
            return latent_figures(held_out, trial, steps=self.settings.steps)

        outcome = reach(planner, self.target, figures)
        plan = self.place.write(self._plan(measured, outcome))
        if isinstance(self.target, Speed):
            outcome = with_way_out(planner, outcome, figures, WORDS)
        picture = frontier_picture(search, planner, outcome, title=self._title()) if plots else None
        progress.finish()
        return MadePlan(plan=plan, text=self._told(plan, outcome), picture=picture)

    def _plan(self, measured: Measured, outcome: Outcome) -> Plan:
        levels = self.run.log_sigmas
        assert levels is not None
        return Plan(
            model=_name(self.model),
            fingerprint=model_fingerprint(self.model),
            family=family_of(self.model),
            sampler=self.settings.plan_sampler,
            steps=self.settings.steps,
            passes=outcome.trial.passes,
            log_sigmas=levels,
            slopes=outcome.trial.slopes or PlannedSlopes({}),
            measured=self._figures(measured, outcome),
        )

    def _figures(self, measured: Measured, outcome: Outcome) -> dict[str, Any]:
        height, width = (side * _PIXELS for side in self.latent.shape[-2:])
        (share,) = measured.work.values()
        return {
            "time_speedup": round(outcome.trial.speedup, 3),
            "reuse_share": round(share, 4),
            "work": f"median pass times, {self.model.load_device.type}",
            **outcome.figures,
            self.subjects.kind: len(self.subjects.held_out),
            "guidance_scale": self.settings.cfg,
            "size": [width, height],
            **({"frames": len(self.latent)} if family_of(self.model) == "svd" else {}),
            "scheduler": self.settings.scheduler,
        }

    def _title(self) -> str:
        settings = self.settings
        name = _name(self.model)
        return f"{name}, {settings.sampler}, {settings.scheduler}, {settings.steps} steps, search {self.subjects.kind}"

    def _told(self, plan: Plan, outcome: Outcome) -> str:
        known, settings = plan.measured, self.settings
        lines = [
            f"plan: {self.place.text.name}, for {settings.sampler}, {settings.scheduler}, {settings.steps} steps",
            f"full passes: {', '.join(map(str, plan.full_evaluations))} of {len(plan.passes)} evaluations",
            f"UNet: {known['time_speedup']:.2f} times as fast, by median times of passes on this machine (a reuse pass "
            f"takes {100 * known['reuse_share']:.1f} % of a full one)",
            f"quality: {known['latent_psnr_db']:.1f} dB latent PSNR to the uncached run, median of "
            f"{len(self.subjects.held_out)} held-out {self.subjects.kind}",
            f"as many full passes, evenly spaced: {known['uniform_linear_db']:.1f} dB linear, "
            f"{known['uniform_verbatim_db']:.1f} dB verbatim; {known['fewer_steps']} steps uncached: "
            f"{known['fewer_steps_db']:.1f} dB",
            *(f"advice: {line}" for line in outcome.advice),
        ]
        return "\n".join(lines if can_plot() else [*lines, MISSING])


def _name(model: Any) -> str:
    """What kind of model it is; ComfyUI does not know its file, and has no class of its own for SD1.5."""
    name = type(model.model).__name__
    return "SD1.5" if name == "BaseModel" else name
