"""What a run needs to know before its first evaluation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from skipstep.deepcache.storage import SAME
from skipstep.errors import OptionError

from .core_compile import run_compiler
from .resolve import resolve_cache
from .run import CachedRun, Plot
from .samplers import sampler_run
from .speedup import Speedup


def begin_run(speedup: Speedup, guider: Any, sampler: Any, sigmas: Any) -> CachedRun:
    """The state of a run of `guider` over `sigmas`.

    Raises:
        SkipstepError: if what was asked for does not fit the run: a plan of another model or sampler, say.
    """
    model = guider.model_patcher
    run = sampler_run(sampler, [float(sigma) for sigma in sigmas.tolist()])
    resolved = resolve_cache(speedup.cache, model, run)
    first, end = 0, run.steps
    if not speedup.window.is_whole:
        if run.evaluations is None:  # its evaluations are at noise levels that nobody knows
            raise OptionError(
                f"a part of sampling needs a sampler whose number of evaluations is known, got {run.name}; "
                "choose another sampler, or 0 to 100 %"
            )
        first, end = speedup.window.steps(run.sigmas, model.get_model_object("model_sampling").percent_to_sigma)
    scale = getattr(guider, "cfg", None)
    options = resolved.options
    if speedup.feature_dtype != SAME or speedup.feature_device != SAME:
        options = replace(options, feature_dtype=speedup.feature_dtype, feature_device=speedup.feature_device)
    if options.spacing != "uniform" and run.evaluations is None:
        raise OptionError(
            f"spacing {options.spacing} needs a sampler whose number of evaluations is known, got {run.name}; "
            "choose spacing uniform, or a preset"
        )
    plot = Plot(
        options=options,
        source=resolved.source,
        sampler=run,
        first_step=first,
        end_step=end,
        guidance_scale=float(scale) if isinstance(scale, (int, float)) else None,
    )
    return CachedRun(replace(speedup, compiler=run_compiler(speedup, guider)), plot)
