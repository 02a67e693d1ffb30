"""Measuring, drawing and verifying for plans, against single runs of the engine and of the pipeline."""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import median

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from skipstep import DeepCache
from skipstep.deepcache import speed_up
from skipstep.deepcache.calibrated import CalibratedForecast, PlannedSlopes
from skipstep.engine import ImageEngine, ImageRequest, planning
from skipstep.engine.planning import as_plan, held_out_figures, measure, median_psnr, new_planner
from skipstep.engine.prompt_bench import PromptBench, RunSettings
from skipstep.errors import BranchError, MissingExtraError, OptionError
from skipstep.plan import Measured, Trial, fingerprint

PROMPTS = ("a fox on a blue background", "a cat on a red background", "a dog on a green background")
SETTINGS = RunSettings(sampler="euler", steps=10, guidance_scale=3.0, width=64, height=64)
PASSES = (None, 0, None, 0, 0, None, 0, 0, 0, None)
TRIAL = Trial(passes=PASSES, slopes=PlannedSlopes({(0, 2, 5, 7): 0.3}), work=4.1, psnr=40.0)


@pytest.fixture(autouse=True)
def _no_lpips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "lpips_unavailable", lambda: "not here")


@pytest.fixture
def bench(engine: ImageEngine) -> PromptBench:
    return PromptBench(engine.model, SETTINGS, PROMPTS, first_seed=5, batch=1)


@pytest.fixture(scope="module")
def measured(engine: ImageEngine) -> Measured:
    return measure(PromptBench(engine.model, SETTINGS, PROMPTS, first_seed=5, batch=2), (0, 3), prompts=2)


def _drawn(engine: ImageEngine, index: int, cache: DeepCache, steps: int = 10) -> torch.Tensor:
    request = ImageRequest(prompt=PROMPTS[index], seed=5 + index, width=64, height=64, steps=steps, cache=cache)
    return engine.generate(request).latents


def _latents(engine: ImageEngine, index: int, options: DeepCache, steps: int) -> npt.NDArray[np.float64]:
    """One prompt, by the pipeline itself."""
    with speed_up(engine.model.pipe, options):
        made: torch.Tensor = engine.model.pipe(
            PROMPTS[index],
            width=64,
            height=64,
            num_inference_steps=steps,
            guidance_scale=3.0,
            generator=torch.Generator().manual_seed(5 + index),
            output_type="latent",
        ).images
    return made.double().numpy()


def test_a_bench_draws_what_the_engine_draws(engine: ImageEngine, bench: PromptBench) -> None:
    options = DeepCache(interval=3)
    expected = torch.cat([_drawn(engine, index, options) for index in range(2)])
    assert torch.equal(bench.latents(options, prompts=2), expected)
    batched = replace(bench, batch=8).latents(options)
    assert batched.shape == (3, 4, 8, 8)
    torch.testing.assert_close(batched[:2], expected, rtol=0, atol=1e-3)  # sums in another order
    assert not torch.allclose(expected[0], expected[1], atol=0.1)
    fewer = bench.latents(DeepCache(interval=1), prompts=1, steps=5)
    assert torch.equal(fewer, _drawn(engine, 0, DeepCache(interval=1), steps=5))


def test_a_bench_leaves_the_pipeline_as_it_was(engine: ImageEngine, bench: PromptBench) -> None:
    unet, scheduler = engine.model.pipe.unet, engine.model.pipe.scheduler
    replace(bench, settings=replace(SETTINGS, sampler="ddim")).latents(DeepCache(), prompts=1)
    with pytest.raises(BranchError):
        bench.latents(DeepCache(branch=9), prompts=1)
    assert (engine.model.pipe.unet, engine.model.pipe.scheduler) == (unet, scheduler)


def test_work_is_the_share_of_flops(engine: ImageEngine, measured: Measured) -> None:
    pipe = engine.model.pipe
    for branch, share in measured.work.items():
        with speed_up(pipe, DeepCache(interval=2, branch=branch)) as run:
            pipe("a fox", width=64, height=64, num_inference_steps=10, output_type="latent", guidance_scale=3.0)
            flops = run.report.flops
        assert flops is not None
        assert share == pytest.approx(flops.reuse / flops.full)
    assert 0 < measured.work[0] < measured.work[3] < 1


def test_an_older_feature_errs_more(measured: Measured) -> None:
    assert [response.runs for response in measured.responses.values()] == [1, 1]  # both prompts in one batch
    assert len(measured.gains) == 10
    for branch, responses in measured.responses.items():
        assert [len(inner) for inner in responses.inner] == list(range(10)), branch
        assert responses.log_sigmas is not None
        errors = [responses.error(9, None, last, 0.0) for last in range(9)]
        assert errors[0] > errors[4] > errors[8] > 0


def test_a_sampler_without_noise_levels_is_refused_before_the_search(bench: PromptBench) -> None:
    heard: list[str] = []
    dpm2 = replace(bench, settings=replace(SETTINGS, sampler="dpm2"), prompts=PROMPTS[:1])
    with pytest.raises(OptionError, match="dpm2 does not tell its noise levels"):
        new_planner(dpm2, (0,), heard.append)
    assert heard == ["measuring the model"]


def test_held_out_figures_are_those_of_single_runs(engine: ImageEngine, bench: PromptBench) -> None:
    figures = held_out_figures(replace(bench, batch=8), TRIAL)
    assert (figures["full_passes"], figures["prompts"], figures["size"]) == (4, 3, [64, 64])
    assert figures["flop_speedup"] == round(10 / 4.1, 3)
    assert figures["fewer_steps"] == 4
    assert "lpips" not in figures
    forecast = CalibratedForecast(PlannedSlopes({(0, 2, 5, 7): 0.3}))
    every_so_often = (0, 2, 5, 7)
    runs = {
        "latent_psnr_db": (DeepCache(passes=PASSES, forecast=forecast), 10),
        "uniform_linear_db": (DeepCache(full_evaluations=every_so_often), 10),
        "fewer_steps_db": (DeepCache(interval=1), 4),
    }
    full = [_latents(engine, index, DeepCache(interval=1), 10) for index in range(3)]
    for name, (options, steps) in runs.items():
        made = [_latents(engine, index, options, steps) for index in range(3)]
        errors = [np.sqrt(((one - other) ** 2).mean()) / np.ptp(one) for one, other in zip(full, made, strict=True)]
        assert figures[name] == pytest.approx(-20 * math.log10(median(errors)), abs=0.02), name
    assert len({figures[name] for name in runs}) == len(runs)


def test_lpips_is_the_median_over_the_held_out_pictures(
    engine: ImageEngine, bench: PromptBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[tuple[Image.Image, Image.Image]] = []

    def distance(one: Image.Image, other: Image.Image) -> float:
        compared.append((one, other))
        return (0.5, 0.01, 0.2)[len(compared) - 1]

    monkeypatch.setattr(planning, "lpips_unavailable", lambda: None)
    monkeypatch.setattr(planning, "load_lpips", lambda: distance)
    assert held_out_figures(bench, TRIAL)["lpips"] == 0.2  # 0.5, 0.01 and 0.2
    request = ImageRequest(prompt=PROMPTS[1], seed=6, width=64, height=64, steps=10, cache="lossless")
    assert np.array_equal(np.asarray(compared[1][0]), np.asarray(engine.generate(request).image))
    assert not np.array_equal(np.asarray(compared[1][0]), np.asarray(compared[1][1]))


def test_a_missing_lpips_is_said_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    from skipstep.engine import lpips
    from skipstep.engine.plan_targets import Target

    monkeypatch.setattr(lpips, "lpips_unavailable", lambda: "LPIPS needs its weights")
    with pytest.raises(MissingExtraError, match="LPIPS needs its weights"):
        Target(lpips=0.05)


def test_the_median_is_over_prompts() -> None:
    reference = torch.rand(3, 2, 2, generator=torch.Generator().manual_seed(0))
    reference[:, 0, 0], reference[:, 1, 1] = 0, 1  # a peak of 1
    assert median_psnr(reference, reference + torch.tensor([0.1, 0.01, 0.001])[:, None, None]) == pytest.approx(
        40, abs=1e-3
    )


def test_a_plan_says_what_it_is_for(bench: PromptBench, measured: Measured) -> None:
    class Planner:
        def __init__(self) -> None:
            self.measured = measured

    plan = as_plan(bench, Planner(), replace(TRIAL, slopes=None), {"x": 1})  # type: ignore[arg-type]
    assert (plan.model, plan.family, plan.sampler, plan.steps) == ("demo", "sdxl", "euler", 10)
    assert (plan.passes, plan.slopes.reaches, plan.measured) == (PASSES, {}, {"x": 1})
    assert plan.fingerprint.matches(fingerprint(bench.model.pipe.unet))
    assert list(plan.log_sigmas) == sorted(plan.log_sigmas, reverse=True)
