"""The planner as a node."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io, ui

from skipstep.errors import OptionError
from skipstep.plan import LOSSLESS

from ..planning import PlanJob, RunSettings, Subjects, plan_place, prompt_subjects, seed_subjects, target_of
from ..planning.target import SPEED, TARGETS
from ..sampling import Window, speed_up
from ..sampling.resolve import family_of
from ._plan_inputs import sampling_inputs, subject_inputs
from ._schema import CATEGORY, new_schema

_LATENT = 8  # pixels


class SkipstepPlanCache(io.ComfyNode):
    """Searches where the full passes of a run go."""

    @classmethod
    def define_schema(cls) -> Any:
        """Inputs and outputs."""
        return new_schema(
            node_id="SkipstepPlanCache",
            display_name="Plan Cache",
            category=CATEGORY,
            description=(
                "Measures the connected model, searches the best schedule of full passes for this sampler and number "
                "of steps, verifies it on prompts that the search did not see, and keeps it in models/skipstep for "
                "Apply Cache Plan. Samples some hundred times: 8 prompts of 30 steps take about as long as 100 "
                "pictures. Shows speed against quality of everything that was tried."
            ),
            search_aliases=["DeepCache plan", "Pareto", "calibrate", "optimize", "search"],
            is_output_node=True,
            inputs=[
                io.Model.Input("model", tooltip="The model to plan for, with its LoRA and other patches."),
                io.String.Input("name", default="my-plan", tooltip="Of the plan file in models/skipstep."),
                io.Combo.Input(
                    "target",
                    options=list(TARGETS),
                    default=SPEED,
                    tooltip="speed: the best quality at that speed. psnr: the greatest speed at that quality.",
                ),
                io.Float.Input(
                    "speed",
                    default=3.0,
                    min=1.05,
                    max=100.0,
                    step=0.05,
                    tooltip="With speed: how many times as fast the UNet is to be, by pass times on this machine.",
                ),
                io.Float.Input(
                    "psnr",
                    default=40.0,
                    min=10.0,
                    max=100.0,
                    step=0.5,
                    tooltip="With psnr: dB of the latents against the uncached run; at 40 differences are hard to see.",
                ),
                *sampling_inputs(),
                io.Boolean.Input(
                    "overwrite", default=False, tooltip="Replace a plan of that name; other files are never replaced."
                ),
                *subject_inputs(),
            ],
            outputs=[
                io.Model.Output(tooltip="The model with the plan, as Apply Cache Plan gives it."),
                io.String.Output("report", display_name="report", tooltip="The plan and its figures as text."),
            ],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        name: str,
        target: str,
        speed: float,
        psnr: float,
        width: int,
        height: int,
        steps: int,
        cfg: float,
        sampler_name: str,
        scheduler: str,
        seed: int,
        overwrite: bool,
        prompts: str = "",
        negative_prompt: str = "",
        seeds: int = 8,
        clip: Any = None,
        positive: Any = None,
        negative: Any = None,
        latent: Any = None,
    ) -> Any:
        """Plan, and put the plan on a clone of the model."""
        speed_up(model, cache=LOSSLESS)  # refuses what is no UNet
        settings = RunSettings(sampler=sampler_name, scheduler=scheduler, steps=steps, cfg=cfg)
        aim = target_of(target, speed=speed, psnr=psnr)
        run = settings.run(model)
        starts = _start(model, latent, width=width, height=height)
        place = plan_place(name, overwrite=overwrite)
        if clip is not None and positive is None and negative is None:
            subjects = _prompts(model, clip, prompts, negative_prompt, seed)
        elif clip is None and positive is not None and negative is not None:
            subjects = seed_subjects(positive, negative, first_seed=seed, count=seeds)
        else:
            raise OptionError("connect either clip, for the prompts, or both positive and negative")
        job = PlanJob(
            model=model, settings=settings, run=run, latent=starts, subjects=subjects, target=aim, place=place
        )
        made = job.make()
        shown = {} if made.picture is None else ui.PreviewImage(made.picture).as_dict()
        planned = speed_up(model, cache=made.plan, window=Window())
        return io.NodeOutput(planned, made.text, ui={**shown, "text": (made.text,)})


def _prompts(model: Any, clip: Any, prompts: str, negative: str, seed: int) -> Subjects:
    if family_of(model) == "svd":
        raise OptionError(
            "Stable Video Diffusion starts from a picture: leave clip out, and connect positive, negative and latent "
            "of SVD_img2vid_Conditioning"
        )
    return prompt_subjects(clip, prompts, negative, first_seed=seed)


def _start(model: Any, latent: Any, *, width: int, height: int) -> torch.Tensor:
    """What sampling starts from."""
    if latent is None:
        if family_of(model) == "svd":
            raise OptionError("connect the latent of SVD_img2vid_Conditioning, which says how many frames a clip has")
        return torch.zeros(1, 4, height // _LATENT, width // _LATENT)
    if latent.get("noise_mask") is not None:
        raise OptionError("a plan is made for whole pictures; connect a latent without a noise mask")
    samples: torch.Tensor = latent["samples"]
    return samples
