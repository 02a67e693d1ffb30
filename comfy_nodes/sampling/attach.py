"""Puts a speed-up on a clone of a MODEL."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from skipstep.deepcache import CalibrationMemory, DeepCache, count_ldm_skips
from skipstep.errors import BranchError, UnsupportedModelError
from skipstep.plan import Plan

from .speedup import KEY, Record, Speedup, speedup_of
from .wrappers import around_evaluation, around_run, untraced


def speed_up(model: Any, **changes: Any) -> Any:
    """A clone of a ModelPatcher with these fields of its `Speedup` changed; the model given stays as it is.

    Raises:
        UnsupportedModelError: if the model is no UNet that can be cut.
        BranchError: if it has no such branch.
    """
    from comfy.patcher_extension import WrappersMP

    speedup = replace(speedup_of(model) or Speedup(calibrations=CalibrationMemory()), **changes, record=Record())
    _check(model, speedup)
    model = model.clone()
    model.set_attachments(KEY, speedup)
    for kind, wrapper in _wrappers().items():
        model.remove_wrappers_with_key(kind, KEY)
        model.add_wrapper_with_key(kind, KEY, wrapper)
    asked = model.wrappers[WrappersMP.PREDICT_NOISE]
    # ahead of all others, so that an evaluation which another cache leaves out is counted
    model.wrappers[WrappersMP.PREDICT_NOISE] = {KEY: asked.pop(KEY), **asked}
    return model


def without_speedup(model: Any) -> Any:
    """A clone of a ModelPatcher that is sampled from as if it had never been sped up."""
    model = model.clone()
    model.attachments.pop(KEY, None)
    for kind in _wrappers():
        model.remove_wrappers_with_key(kind, KEY)
    return model


def unet_of(model: Any) -> Any:
    """The UNet of a ModelPatcher.

    Raises:
        UnsupportedModelError: if it is no UNet that can be cut, naming it.
    """
    unet = model.get_model_object("diffusion_model")
    unet = getattr(unet, "_orig_mod", unet)  # of a node that compiles the whole model; ComfyUI calls what is inside
    try:
        count_ldm_skips(unet)
    except UnsupportedModelError as error:
        raise UnsupportedModelError(f"{type(model.model).__name__} cannot be cached: {error}") from error
    return unet


def _wrappers() -> dict[str, Any]:
    """By ComfyUI's name for where they go."""
    from comfy.patcher_extension import WrappersMP

    return {
        WrappersMP.OUTER_SAMPLE: around_run,
        WrappersMP.PREDICT_NOISE: around_evaluation,
        WrappersMP.DIFFUSION_MODEL: untraced(),
    }


def _check(model: Any, speedup: Speedup) -> None:
    skips = count_ldm_skips(unet_of(model))
    cache = speedup.cache
    branches = cache.branches if isinstance(cache, DeepCache) else ()
    if isinstance(cache, Plan):
        branches = tuple({branch for branch in cache.passes if branch is not None})
    for branch in branches:
        if branch >= skips:
            raise BranchError(
                f"branch must be 0..{skips - 1} for this UNet ({skips} skips), got {branch}; 0 is fastest"
            )
