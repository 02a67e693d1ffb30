"""Caches against the uncached run of the same seed, and against fewer steps at equal cost, over many pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import count, product
from statistics import median

import torch
from PIL import Image

from ..deepcache import RunReport
from ..errors import OptionError
from ..plan.presets import LOSSLESS
from ._contenders import WORST, Contender, contenders_of
from .image import GeneratedImage, ImageEngine
from .metrics import image_psnr, image_ssim, latent_psnr, latent_relative_error
from .quality_rows import Case, PicturePair, QualityResult, Row
from .quality_study import BASELINE, QualityStudy

Distance = Callable[[Image.Image, Image.Image], float]
OnPicture = Callable[[int, int, str], None]  # pictures drawn so far, pictures in all, the row of the latest


class _Counter:
    """Tells `on_picture` how far the work is."""

    def __init__(self, on_picture: OnPicture | None, total: int) -> None:
        self._on_picture, self.total, self._done = on_picture, total, 0

    def drew(self, name: str) -> None:
        self._done += 1
        if self._on_picture is not None:
            self._on_picture(self._done, self.total, name)


def measure_quality(
    engine: ImageEngine,
    study: QualityStudy,
    *,
    lpips: Distance | None = None,
    on_picture: OnPicture | None = None,
) -> QualityResult:
    """Draw every prompt and seed uncached and with every candidate, in turns, and compare them.

    Every candidate draws a picture first, unmeasured and with a seed that is not measured: it warms the model up and
    says what the candidate costs, and so which fewer-steps row stands beside it. Within a case all rows take turns,
    and the order is swapped from case to case. The total that `on_picture` is told may shrink once the costs are
    known.

    Raises:
        OptionError, BranchError, ScheduleError: if a candidate does not fit the model or the run, or draws values
            that are not numbers.
        UnsupportedFeatureError: if the model's FLOPs cannot be counted.
    """
    unseen = next(seed for seed in count() if seed not in study.seeds)  # what calibrates must not be what is measured
    base = replace(engine.complete(study.request), prompt=study.prompts[0], seed=unseen, cache=LOSSLESS)
    cases = list(product(study.prompts, study.seeds))
    candidates = len(study.candidates)
    counter = _Counter(on_picture, candidates + len(cases) * (1 + 2 * candidates))
    contenders = contenders_of(engine, base, study.candidates, counter.drew)
    counter.total = candidates + len(cases) * (1 + len(contenders))
    baseline = Contender(BASELINE, base)
    order = [baseline, *contenders]
    loops: list[float] = []
    for prompt, seed in cases:
        made: dict[str, GeneratedImage] = {}
        for contender in order:
            made[contender.name] = engine.generate(replace(contender.request, prompt=prompt, seed=seed))
            _check_numbers(made[contender.name], contender.name)
            counter.drew(contender.name)
        order.reverse()
        reference = made[BASELINE]
        baseline.passes = baseline.passes or reference.report.passes
        loops.append(reference.report.loop_s)
        for contender in contenders:
            _compare(contender, reference, made[contender.name], lpips)
    unet = engine.model.pipe.unet
    return QualityResult(
        model=engine.model.name,
        device=_device_name(unet.device),
        dtype=str(unet.dtype).removeprefix("torch."),
        request=base,
        prompts=study.prompts,
        seeds=study.seeds,
        baseline_passes=baseline.passes,
        baseline_loop_s=median(loops),
        rows=tuple(_row(contender, len(study.seeds)) for contender in contenders),
        worst=_worst_of(contenders),
    )


def _compare(contender: Contender, reference: GeneratedImage, made: GeneratedImage, lpips: Distance | None) -> None:
    case = Case(
        prompt=made.request.prompt,
        seed=made.request.seed,
        latent_psnr=latent_psnr(reference.latents, made.latents),
        psnr=image_psnr(reference.image, made.image),
        ssim=image_ssim(reference.image, made.image),
        latent_relative_error=latent_relative_error(reference.latents, made.latents),
        lpips=None if lpips is None else lpips(reference.image, made.image),
        flop_ratio=_cost(reference.report) / _cost(made.report),
        time_ratio=reference.report.loop_s / made.report.loop_s,
    )
    contender.passes = contender.passes or made.report.passes
    contender.cases.append(case)
    contender.keep_if_worst(PicturePair(row=contender.name, case=case, reference=reference.image, image=made.image))


def _cost(report: RunReport) -> float:
    """Full passes that take as many FLOPs as the run did."""
    assert report.flop_ceiling is not None  # or there would be no fewer-steps row
    return report.evaluations / report.flop_ceiling


def _check_numbers(made: GeneratedImage, name: str) -> None:
    if not torch.isfinite(made.latents).all():
        raise OptionError(
            f"{name} drew values that are not numbers for {made.request.prompt!r}, seed {made.request.seed}; "
            "load the model with dtype float32"
        )


def _row(contender: Contender, seeds: int) -> Row:
    return Row(
        name=contender.name,
        source=contender.source,
        steps=contender.request.steps,
        passes=contender.passes,
        seeds=seeds,
        cases=tuple(contender.cases),
        equal_cost=contender.equal_cost,
        stands_for=tuple(contender.stands_for),
    )


def _worst_of(contenders: list[Contender]) -> tuple[PicturePair, ...]:
    """The worst case of every candidate first, then the second worst of each, and so on; five in all."""
    ranked = [
        (rank, pair.case.latent_psnr, pair)
        for contender in contenders
        if not contender.stands_for
        for rank, pair in enumerate(contender.worst)
    ]
    ranked.sort(key=lambda entry: entry[:2])
    return tuple(pair for _, _, pair in ranked[:WORST])


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{device}, {torch.cuda.get_device_name(device)}"
    return f"cpu, {torch.get_num_threads()} thread(s)" if device.type == "cpu" else str(device)
