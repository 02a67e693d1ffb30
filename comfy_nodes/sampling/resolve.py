"""From what a MODEL's cache is called to the options of one run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from skipstep.deepcache import DeepCache
from skipstep.deepcache.pipeline import FEW_STEPS
from skipstep.demo import nearest_plan
from skipstep.errors import PlanError
from skipstep.plan import LOSSLESS, Plan, is_exact, load_plan, plan_options, preset
from skipstep.plan.presets import STRETCHABLE

from .fingerprints import model_fingerprint
from .samplers import SamplerRun

DEMO = "skipstep.demo"  # the attachment that names a demo model


@dataclass(frozen=True, slots=True)
class Resolved:
    """The options of a run and, for people, where they are from."""

    options: DeepCache
    source: str
    is_stretched: bool = False  # from a plan for other noise levels


def resolve_cache(cache: DeepCache | Plan | str | None, model: Any, sampler: SamplerRun) -> Resolved:
    """The options for one run of a ModelPatcher.

    Raises:
        OptionError: if there is no such preset.
        PlanError: if a plan is for something else.
    """
    if cache is None:
        return Resolved(LOSSLESS, "no cache")
    if isinstance(cache, DeepCache):
        return Resolved(cache, "options")
    if isinstance(cache, Plan):
        return _from_plan(cache, model, sampler)
    options = preset(cache, family_of(model))
    shipped = None if options == LOSSLESS else _shipped_plan(cache, model, sampler)
    if shipped is not None:
        return shipped
    if sampler.evaluations is None and options.spacing != "uniform":  # nobody knows where its last evaluation is
        return Resolved(
            replace(options, spacing="uniform"), f"{cache}, evenly: {sampler.name} does not tell its length"
        )
    return Resolved(options, cache)


def _shipped_plan(name: str, model: Any, sampler: SamplerRun) -> Resolved | None:
    """What a preset means for a demo model, which plans ship for, where one can be stretched to the run."""
    demo = model.get_attachment(DEMO)
    if demo is None or sampler.steps < FEW_STEPS:
        return None
    file = nearest_plan(demo, preset=name, sampler=sampler.name, steps=sampler.steps)
    if file is None:
        return None
    try:
        made = _from_plan(load_plan(file), model, sampler)
    except PlanError:  # a sampler or a number of steps that no plan fits
        return None
    if made.is_stretched and preset(name, family_of(model)).spacing not in STRETCHABLE:
        return None
    return Resolved(made.options, f"{name}: {made.source}")


def family_of(model: Any) -> str:
    """The model family whose presets fit a ModelPatcher: "svd", "sdxl" or "sd15"."""
    config = model.model.model_config.unet_config
    if config.get("use_temporal_resblock") or config.get("use_temporal_attention"):
        return "svd"
    return "sdxl" if config.get("adm_in_channels") and config.get("num_classes") == "sequential" else "sd15"


def _from_plan(plan: Plan, model: Any, sampler: SamplerRun) -> Resolved:
    levels = sampler.log_sigmas
    if levels is None:
        raise PlanError(
            f"plans go by one evaluation a step, and {sampler.name} takes more; choose a sampler like euler or "
            "dpmpp_2m, or a preset"
        )
    options = plan_options(plan, model=model_fingerprint(model), log_sigmas=levels)
    measured = plan.measured.get("latent_psnr_db")
    told = f"plan for {plan.sampler}, {plan.steps} steps" + (f", measured {measured} dB" if measured else "")
    if is_exact(plan, levels):
        return Resolved(options, told)
    return Resolved(options, f"{told}; stretched to this run, where it was not measured", is_stretched=True)
