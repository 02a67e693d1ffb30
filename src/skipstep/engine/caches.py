"""From what a request calls its cache to the options of the run: presets, shipped plans, plan files, options."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..deepcache import DeepCache
from ..deepcache._noise import log_sigmas
from ..deepcache.pipeline import FEW_STEPS
from ..demo import nearest_plan
from ..errors import AdaptedPlanWarning, OptionError, PlanError
from ..plan import Plan, fingerprint, is_exact, load_plan, plan_options
from ..plan.presets import LOSSLESS, STRETCHABLE, preset
from .models import LoadedModel

SUFFIX = ".json"
Cache = str | DeepCache | Plan


@dataclass(frozen=True, kw_only=True)
class ResolvedCache:
    """The options of a run and, for people, where they are from."""

    options: DeepCache
    source: str
    is_stretched: bool = False  # from a plan for other noise levels


def resolve_cache(
    cache: Cache, model: LoadedModel, *, sampler: str, steps: int, scheduler: Any, skipped: int = 0
) -> ResolvedCache:
    """The options for one run of `model`; `scheduler` is the run's own, its steps not yet set.

    Of the steps, `skipped` are left out at the beginning: such a run takes plans for whole ones as near to its own
    noise levels as they can be stretched.

    A preset is the plan that ships for the model, this sampler and these steps if there is one, else the nearest
    shipped plan that can be stretched to them, else the model family's general setting.

    Raises:
        OptionError: if there is no such preset.
        PlanError: if a plan file cannot be read or is for something else.
    """
    if isinstance(cache, DeepCache):
        return ResolvedCache(options=cache, source="options")
    if isinstance(cache, str) and not is_plan_path(cache):
        general = preset(cache, model.family)
        if general == LOSSLESS:
            return ResolvedCache(options=general, source=cache)
        shipped = _shipped_plan(cache, model, sampler, steps, scheduler, skipped)
        return shipped or ResolvedCache(options=general, source=f"{cache} (general setting; no plan for this run)")
    plan = load_plan(Path(cache)) if isinstance(cache, str) else cache
    name = "plan" if isinstance(cache, Plan) else Path(cache).name
    resolved = _from_plan(plan, model, scheduler, steps, skipped, name=name)
    if resolved.is_stretched:
        warnings.warn(
            f"the plan was measured with {plan.sampler} at {plan.steps} steps and is stretched to {sampler} at {steps} "
            "steps; what it measured does not hold there. `skipstep plan` makes one for this run",
            AdaptedPlanWarning,
            stacklevel=3,
        )
    return resolved


def is_plan_path(cache: str) -> bool:
    """Whether a cache is named by a plan file."""
    return cache.lower().endswith(SUFFIX)


def check_cache(cache: object) -> None:
    """Refuse what cannot name a cache at all.

    Raises:
        OptionError: naming what can.
    """
    if not isinstance(cache, (str, DeepCache, Plan)):
        raise OptionError(f"cache must be the name of a preset, a plan file, a Plan or a DeepCache, got {cache!r}")


def plain_name(cache: Cache) -> str | None:
    """A short name for reports; None for options."""
    if isinstance(cache, Plan):
        return f"plan {cache.sampler} {cache.steps}"
    return cache if isinstance(cache, str) else None


def _from_plan(plan: Plan, model: LoadedModel, scheduler: Any, steps: int, skipped: int, *, name: str) -> ResolvedCache:
    scheduler.set_timesteps(steps)
    levels = log_sigmas(scheduler)
    if levels is None:
        raise PlanError(f"{type(scheduler).__name__} does not tell its noise levels, which plans go by; use a preset")
    levels = levels[skipped * scheduler.order :]
    options = plan_options(plan, model=fingerprint(model.pipe.unet), log_sigmas=levels)
    figure = plan.measured.get("latent_psnr_db")
    measured = f", measured {figure} dB" if figure is not None else ""
    if is_exact(plan, levels):
        return ResolvedCache(options=options, source=f"{name}: plan for {plan.sampler}, {plan.steps} steps{measured}")
    return ResolvedCache(
        options=options,
        source=f"{name}: plan for {plan.sampler}, {plan.steps} steps{measured} there, stretched to this run",
        is_stretched=True,
    )


def _shipped_plan(
    name: str, model: LoadedModel, sampler: str, steps: int, scheduler: Any, skipped: int
) -> ResolvedCache | None:
    """The options of the shipped plan that fits best, or None."""
    if not model.is_demo or steps - skipped < FEW_STEPS:  # a folder may have a demo's name
        return None  # with too few steps to share features, the general setting warns of it
    file = nearest_plan(model.name, preset=name, sampler=sampler, steps=steps)
    if file is None:
        return None
    try:
        found = _from_plan(load_plan(file), model, scheduler, steps, skipped, name=name)
    except PlanError:  # too few or too many steps, or a sampler that visits a noise level twice
        return None
    return found if not found.is_stretched or preset(name, model.family).spacing in STRETCHABLE else None
