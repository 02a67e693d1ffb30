"""What a MODEL, a sampler and a number of steps are like."""

from __future__ import annotations

from statistics import median
from typing import Any

from skipstep.deepcache import DeepCache
from skipstep.deepcache.options import CALIBRATED
from skipstep.deepcache.storage import CPU
from skipstep.errors import PlanError
from skipstep.plan import Measured, ResponseCollector

from ..sampling.samplers import SamplerRun
from .gains import sampler_gains
from .runs import SubjectBench

MEASURED_ON = 4  # subjects
PAIRS = 12  # of a full and a reuse pass, at least, where there are enough subjects
LEAST_GAIN = 0.9  # a reuse pass that takes more of a full one gains nothing
_BRANCH = 0


def measure(bench: SubjectBench, run: SamplerRun) -> Measured:
    """Responses on the first subjects of a bench, the sampler's gains, and what a reuse pass at branch 0 costs.

    Features wait in host memory, because a measuring run keeps far more of them than a cached one.

    Raises:
        PlanError: if the run cannot be measured, or a reuse pass is no faster here.
        UnsupportedModelError: if the sampler cannot be run on numbers.
    """
    gains = sampler_gains(bench.model, bench.settings)
    collector = ResponseCollector(len(gains))
    options = DeepCache(branch=_BRANCH, forecast=CALIBRATED, interval=2)
    changes: dict[str, Any] = {"calibrations": collector, "feature_device": CPU}
    bench.run(options, prompts=MEASURED_ON, **changes)
    if collector.responses is None or len(gains) != run.evaluations:
        raise PlanError(
            f"{run.name} was to call the UNet {run.evaluations} times and did not, so that nothing can be planned; "
            "take off what else changes this model's sampling, or use a preset of DeepCache Speedup"
        )
    return Measured(
        responses={_BRANCH: collector.responses}, gains=gains, work={_BRANCH: reuse_share(bench, len(gains))}
    )


def reuse_share(bench: SubjectBench, evaluations: int) -> float:
    """Time of a reuse pass at branch 0 over that of a full one: median over pairs that follow each other.

    By the clock of the device, because no count of FLOPs knows quantised weights, compiled blocks and every kind of
    attention that ComfyUI may run. Warmed up by the measuring runs.

    Raises:
        PlanError: if a reuse pass takes about as long.
    """
    runs = -(-PAIRS // max(1, evaluations // 2))
    finished = bench.run(DeepCache(branch=_BRANCH, interval=2), prompts=runs)
    reports = [passes.report() for _, passes in finished]
    pairs = [pair for report in reports for pair in zip(report.full_s, report.reuse_s, strict=False)]
    share = median(reuse / full for full, reuse in pairs)
    if share > LEAST_GAIN:
        raise PlanError(
            f"a reuse pass takes {100 * share:.0f} % of the time of a full one here, so that no plan gains anything; "
            "plan at the size that you draw, and while nothing else runs"
        )
    return share
