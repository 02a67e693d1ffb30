"""Seeded calls of the tiny models: which passes they took, and that both passes are exact."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from models import CONTEXT, PIXELS, POOLED, TOKENS, Call
from torch import Tensor

from skipstep import AttachedRun
from skipstep.deepcache import DiffusersUNetSplit


def picture(seed: int, batch: int = 1) -> Tensor:
    """A random image (batch, 3, height, width) with values 0 to 1."""
    return torch.rand(batch, 3, PIXELS, PIXELS, generator=torch.Generator().manual_seed(seed))


def prompt(pipe: Any, seed: int, *, batch: int = 1) -> dict[str, Tensor]:
    """Random prompt embeddings in place of text, negative ones and what SDXL needs included."""
    generator = torch.Generator().manual_seed(1000 + seed)
    names = {"prompt_embeds": (batch, TOKENS, CONTEXT), "negative_prompt_embeds": (batch, TOKENS, CONTEXT)}
    if "XL" in type(pipe).__name__:
        names |= {"pooled_prompt_embeds": (batch, POOLED), "negative_pooled_prompt_embeds": (batch, POOLED)}
    return {name: torch.randn(shape, generator=generator) for name, shape in names.items()}


def sample(pipe: Any, *, steps: int = 6, seed: int = 0, batch: int = 1, **call: Any) -> Tensor:
    """The latents that one seeded call of the pipeline ends with."""
    call = {"height": PIXELS, "width": PIXELS, **prompt(pipe, seed, batch=batch), **call}
    name = type(pipe).__name__
    if "Img2Img" in name:
        del call["height"], call["width"]
    if "Img2Img" in name or "Inpaint" in name:
        call = {"strength": 0.75, **call}
    if "Inpaint" in name:
        call |= {"mask_image": picture(seed + 60, batch)[:, :1].round()}
    if "Img2Img" in name or "Inpaint" in name or "ControlNet" in name:
        call |= {"image": picture(seed + 50, batch)}
    generator = torch.Generator().manual_seed(seed)
    call = {"output_type": "latent", **call}
    output: Tensor = pipe(num_inference_steps=steps, generator=generator, **call).images
    return output


def sample_video(pipe: Any, *, steps: int = 6, seed: int = 0, **call: Any) -> Tensor:
    """The latents (batch, frames, channels, height, width) that one seeded call of the video pipeline ends with."""
    call = {"height": PIXELS, "width": PIXELS, "num_frames": 2, **call}
    generator = torch.Generator().manual_seed(seed)
    output: Tensor = pipe(
        picture(seed), num_inference_steps=steps, generator=generator, output_type="latent", **call
    ).frames
    return output


def record_passes(run: AttachedRun) -> list[str]:
    """One string of pass kinds per run from now on; a report would count FLOPs too, which takes longer than a run."""
    runs: list[str] = []

    def note(number: int, kind: str) -> None:
        if number == 0:
            runs.append("")
        runs[-1] += kind

    run.on_pass = note
    return runs


def assert_exact(unet: Any, branches: Iterable[int], call: Callable[[], Call]) -> Tensor:
    """Both passes equal the plain UNet on arguments made by `call`, which it may consume; returns that output."""
    args, kwargs = call()
    expected: Tensor = unet(*args, **kwargs)[0]
    for branch in branches:
        split = DiffusersUNetSplit(unet, branch)
        args, kwargs = call()
        output, features = split.full(*args, **kwargs)
        assert torch.equal(output[0], expected), branch
        for _ in range(2):  # the first leaves the features as they were, though FreeU writes in place
            args, kwargs = call()
            assert torch.equal(split.reuse(features, *args, **kwargs)[0], expected), branch
    return expected
