"""Where a MODEL's sampling asks for its cache: ComfyUI's own wrappers, of which nothing stays on the model."""

from __future__ import annotations

from functools import cache
from itertools import chain
from typing import Any

from .begin import begin_run
from .control import follow_passes
from .speedup import KEY, speedup_of


def around_run(
    executor: Any, noise: Any, latent_image: Any, sampler: Any, sigmas: Any, *args: Any, **kwargs: Any
) -> Any:
    """OUTER_SAMPLE: a run begins, and ends however it may; its features are gone then."""
    guider = executor.class_obj
    speedup = speedup_of(guider.model_patcher)
    if speedup is None:
        return executor(noise, latent_image, sampler, sigmas, *args, **kwargs)
    options = guider.model_options.setdefault("transformer_options", {})  # ComfyUI made them for this run
    run = options[KEY] = begin_run(speedup, guider, sampler, sigmas)
    follow_passes(chain.from_iterable(guider.conds.values()), run.reuse_branch)
    try:
        output = executor(noise, latent_image, sampler, sigmas, *args, **kwargs)
        run.finish()
        return output
    finally:
        options.pop(KEY, None)
        run.close()


def around_evaluation(executor: Any, *args: Any, **kwargs: Any) -> Any:
    """PREDICT_NOISE: the sampler asks for one prediction."""
    options = executor.class_obj.model_options.get("transformer_options", {})
    run = options.get(KEY)
    if run is None:
        return executor(*args, **kwargs)
    run.calls.begin()
    try:
        return executor(*args, **kwargs)
    finally:
        run.calls.end()


def around_unet(
    executor: Any, x: Any, timesteps: Any, context: Any, y: Any, control: Any, transformer_options: Any, **kwargs: Any
) -> Any:
    """DIFFUSION_MODEL: one call of the UNet, in full or around stored features.

    Wrappers of other nodes that come after this one run around either pass, once for each call.
    """
    run = transformer_options.get(KEY)
    if run is None:
        return executor(x, timesteps, context, y, control, transformer_options, **kwargs)
    unet = executor.class_obj

    def evaluate(*args: Any, **named: Any) -> Any:
        return run(unet, *args, **named)

    inner = type(executor)(evaluate, unet, executor.wrappers, executor.idx)
    return inner(x, timesteps, context, y, control, transformer_options, **kwargs)


@cache
def untraced() -> Any:
    """`around_unet` such that torch.compile of a whole model cannot trace it, and freeze it at its first branch."""
    import torch

    return torch.compiler.disable(around_unet)
