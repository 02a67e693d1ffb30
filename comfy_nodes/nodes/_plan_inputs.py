"""Inputs of the planner: how it samples, and what."""

from __future__ import annotations

from typing import Any

import comfy.samplers
from comfy_api.latest import io

PROMPTS = """a red apple on a blue background
a fox on a green background
a sailing boat on a yellow background
a cat on a red background
a house on a purple background
a tree on a white background
a car on an orange background
a star on a black background"""


def sampling_inputs() -> list[Any]:
    """Those of KSampler and of an empty latent."""
    sampler = comfy.samplers.KSampler
    return [
        io.Int.Input("width", default=1024, min=16, max=16384, step=8, tooltip="Of the pictures that are sampled."),
        io.Int.Input("height", default=1024, min=16, max=16384, step=8, tooltip="Of the pictures that are sampled."),
        io.Int.Input("steps", default=30, min=5, max=1000, tooltip="As you draw: a plan is for a number of steps."),
        io.Float.Input("cfg", default=7.0, min=0.0, max=100.0, step=0.1, tooltip="As you draw."),
        io.Combo.Input(
            "sampler_name",
            options=list(sampler.SAMPLERS),
            tooltip="As you draw; those with several evaluations a step (heun, dpm_2, dpmpp_sde ...) have no plans.",
        ),
        io.Combo.Input("scheduler", options=list(sampler.SCHEDULERS), tooltip="As you draw."),
        io.Int.Input(
            "seed",
            default=0,
            min=0,
            max=0xFFFFFFFFFFFF0000,
            control_after_generate=False,
            tooltip="Of the first prompt; the others count up.",
        ),
    ]


def subject_inputs() -> list[Any]:
    """What is sampled."""
    return [
        io.Clip.Input("clip", optional=True, tooltip="Encodes the prompts."),
        io.String.Input(
            "prompts",
            default=PROMPTS,
            multiline=True,
            dynamic_prompts=False,
            optional=True,
            tooltip=(
                "With clip: one prompt a line, like those that you will use; 8 to 16 are good, 2 the least. The last "
                "quarter is held out to verify the plan."
            ),
        ),
        io.String.Input("negative_prompt", default="", optional=True, tooltip="With clip: the same for all prompts."),
        io.Conditioning.Input(
            "positive", optional=True, tooltip="Instead of clip, as for video: a conditioning, on several seeds."
        ),
        io.Conditioning.Input("negative", optional=True, tooltip="Together with positive."),
        io.Int.Input(
            "seeds",
            default=8,
            min=2,
            max=1000,
            optional=True,
            tooltip="With positive and negative: how many seeds are sampled; the last quarter is held out.",
        ),
        io.Latent.Input(
            "latent",
            optional=True,
            tooltip="What sampling starts from, instead of width and height: for video, that of SVD_img2vid.",
        ),
    ]
