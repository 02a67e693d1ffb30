"""Runs a MODEL on a fixed set of subjects again and again, through ComfyUI's own sampling."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import comfy.sample
import comfy.samplers
import torch
from torch import Tensor

from skipstep.deepcache import DeepCache
from skipstep.errors import OptionError
from skipstep.plan import LOSSLESS

from ..sampling import FinishedRun, Window, speed_up, speedup_of
from ..sampling.samplers import SamplerRun, sampler_run
from .subjects import Subject

# as the command line calls what is the same there; ComfyUI's own uni_pc is UniPC's other variant
_COMMAND_LINE = {"euler_ancestral": "euler_a", "uni_pc_bh2": "unipc"}


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """Widgets of a KSampler that all runs have in common."""

    sampler: str
    scheduler: str
    steps: int
    cfg: float

    def sigmas(self, model: Any) -> Tensor:
        """Noise levels of the steps of a ModelPatcher, and where the last one ends; on the CPU."""
        kinds = {"sampler": self.sampler, "scheduler": self.scheduler}
        sampler = comfy.samplers.KSampler(model, steps=self.steps, device="cpu", denoise=1.0, **kinds)
        levels: Tensor = sampler.sigmas
        return levels

    def run(self, model: Any) -> SamplerRun:
        """How such a run calls the model.

        Raises:
            OptionError: unless it does so once a step, which is what plans go by.
        """
        run = sampler_run(comfy.samplers.sampler_object(self.sampler), self.sigmas(model).tolist())
        if run.log_sigmas is None:
            raise OptionError(
                f"plans go by one evaluation a step, and {self.sampler} takes more or chooses its own; plan for a "
                "sampler like euler, dpmpp_2m, ddim or uni_pc, or use a preset of DeepCache Speedup"
            )
        return run

    @property
    def plan_sampler(self) -> str:
        """The sampler as plans call it."""
        if (self.sampler, self.scheduler) == ("dpmpp_2m", "karras"):
            return "dpmpp_2m_karras"
        return _COMMAND_LINE.get(self.sampler, self.sampler)


@dataclass(frozen=True, kw_only=True)
class SubjectBench:
    """Samples a set of subjects, one after the other, without previews; `on_step` is called after every step."""

    model: Any  # ModelPatcher
    settings: RunSettings
    latent: Tensor  # that sampling starts from: (pictures or frames, 4, height / 8, width / 8)
    subjects: Sequence[Subject]
    on_step: Callable[[], None]

    @cached_property
    def reference(self) -> Tensor:
        """Final latents of the uncached runs, made once."""
        return self._latents(LOSSLESS)

    def latents(self, options: DeepCache, *, prompts: int | None = None, steps: int | None = None) -> Tensor:
        """Final latents (subjects, pictures or frames, 4, height / 8, width / 8) on the CPU in float32."""
        if options == LOSSLESS and prompts is None and steps is None:
            return self.reference
        return self._latents(options, prompts=prompts, steps=steps)

    def run(
        self, options: DeepCache, *, prompts: int | None = None, steps: int | None = None, **changes: Any
    ) -> list[tuple[Tensor, FinishedRun]]:
        """Latents and passes of every run; `changes` are fields of `Speedup`."""
        model = speed_up(self.model, cache=options, window=Window(), **changes)
        made = []
        for subject in self.subjects[:prompts]:
            latents = self._sampled(model, subject, steps or self.settings.steps)
            finished = speedup_of(model).record.latest  # type: ignore[union-attr]
            assert finished is not None
            made.append((latents, finished))
        return made

    def _latents(self, options: DeepCache, *, prompts: int | None = None, steps: int | None = None) -> Tensor:
        return torch.stack([latents for latents, _ in self.run(options, prompts=prompts, steps=steps)])

    def _sampled(self, model: Any, subject: Subject, steps: int) -> Tensor:
        latent = comfy.sample.fix_empty_latent_channels(model, self.latent)
        made: Tensor = comfy.sample.sample(
            model,
            comfy.sample.prepare_noise(latent, subject.seed),
            steps,
            self.settings.cfg,
            self.settings.sampler,
            self.settings.scheduler,
            subject.positive,
            subject.negative,
            latent,
            callback=lambda *_: self.on_step(),
            disable_pbar=True,
            seed=subject.seed,
        )
        return made.float().cpu()
