"""From a cache's name to the run: presets, the plans that ship, plan files and plan objects."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import pytest
import torch

from skipstep import DeepCache
from skipstep.deepcache._noise import log_sigmas
from skipstep.deepcache.calibrated import PlannedSlopes
from skipstep.demo import shipped_plans
from skipstep.engine import ImageEngine, ImageRequest
from skipstep.engine.metrics import latent_psnr
from skipstep.engine.prompts import demo_prompts
from skipstep.engine.samplers import new_scheduler
from skipstep.engine.texts import describe
from skipstep.errors import AdaptedPlanWarning, PlanError
from skipstep.plan import Plan, fingerprint, load_plan, plan_bytes

RequestFor = Callable[..., ImageRequest]
HELD_OUT = ("a dog on a yellow background", "a car on a green background", "a fox")
PASSES = (None, 0, None, 0, 0, None, 0, 0, None, None)  # of 10 evaluations
REACHES = {(0, 0, 2, 3): 0.8, (0, 0, 2, 4): 1.3, (0, 2, 5, 6): 0.4, (0, 2, 5, 7): 0.6}


def _levels(engine: ImageEngine, sampler: str, steps: int) -> tuple[float, ...]:
    scheduler = new_scheduler(sampler, engine.model.pipe.scheduler.config)
    scheduler.set_timesteps(steps)
    levels = log_sigmas(scheduler)
    assert levels is not None
    return tuple(levels)


@pytest.fixture
def plan(engine: ImageEngine) -> Plan:
    """For 10 steps of Euler."""
    return Plan(
        model="demo",
        fingerprint=fingerprint(engine.model.pipe.unet),
        family="sdxl",
        sampler="euler",
        steps=10,
        passes=PASSES,
        log_sigmas=_levels(engine, "euler", 10),
        slopes=PlannedSlopes(dict(REACHES)),
        measured={"latent_psnr_db": 41.5},
    )


@pytest.fixture
def plan_file(plan: Plan, tmp_path: Path) -> Path:
    text, slopes = plan_bytes(plan, "mine.safetensors")
    (tmp_path / "mine.safetensors").write_bytes(slopes)
    (tmp_path / "mine.json").write_bytes(text)
    return tmp_path / "mine.json"


def _shipped(name: str, sampler: str, steps: int) -> tuple[Any, str]:
    """The JSON of a shipped plan, and its passes as a report writes them."""
    from skipstep import demo

    file = Path(demo.__file__).parent / "plans" / f"demo.{name}.{sampler}.{steps}.json"
    data = json.loads(file.read_text())
    return data, "".join("F" if word == "F" else "r" for word in data["passes"].split())


@pytest.mark.parametrize("name", ["quality", "balanced", "fast"])
def test_a_preset_is_the_plan_that_ships_for_the_run(engine: ImageEngine, request_for: RequestFor, name: str) -> None:
    data, passes = _shipped(name, "euler", 30)
    made = engine.generate(request_for(cache=name, steps=30))
    assert made.report.passes == passes
    assert made.cache_source == f"{name}: plan for euler, 30 steps, measured {data['measured']['latent_psnr_db']} dB"
    assert made.report.flop_ceiling == pytest.approx(
        data["measured"]["flop_speedup"], rel=0.04
    )  # measured on 128 pixels


def test_lossless_stays_lossless(engine: ImageEngine, request_for: RequestFor) -> None:
    made = engine.generate(request_for(cache="lossless"))
    assert (made.report.passes, made.cache_source) == ("F" * 12, "lossless")


def test_other_steps_take_a_stretched_plan_without_a_warning(engine: ImageEngine, request_for: RequestFor) -> None:
    made = engine.generate(request_for(steps=27))  # warnings are errors
    assert made.cache_source.startswith("balanced: plan for euler, 30 steps, measured ")
    assert made.cache_source.endswith(" dB there, stretched to this run")
    assert made.report.passes[0] == made.report.passes[-1] == "F"
    assert made.report.full_passes == pytest.approx(27 * 10 / 30, abs=1)


@pytest.mark.parametrize(("sampler", "steps"), [("heun", 12), ("dpm2", 12)])
def test_runs_that_no_plan_fits_take_the_general_setting_and_say_so(
    engine: ImageEngine, request_for: RequestFor, sampler: str, steps: int
) -> None:
    made = engine.generate(request_for(sampler=sampler, steps=steps))
    assert made.cache_source == "balanced (general setting; no plan for this run)"
    assert (made.cache.interval, made.cache.spacing, made.cache.passes) == (3, "spread", None)


def test_a_plan_is_used_by_path_and_by_object(
    engine: ImageEngine, request_for: RequestFor, plan: Plan, plan_file: Path
) -> None:
    by_path = engine.generate(request_for(cache=str(plan_file), steps=10))
    by_object = engine.generate(request_for(cache=plan, steps=10))
    straight = engine.generate(request_for(cache=DeepCache(passes=PASSES), steps=10))
    assert by_path.report.passes == by_object.report.passes == straight.report.passes == "FrFrrFrrFF"
    assert by_path.cache_source == "mine.json: plan for euler, 10 steps, measured 41.5 dB"
    assert by_object.cache_source == "plan: plan for euler, 10 steps, measured 41.5 dB"
    torch.testing.assert_close(by_path.latents, by_object.latents, rtol=0, atol=1e-4)  # slopes on disk are float32
    assert not torch.allclose(by_path.latents, straight.latents, rtol=0, atol=1e-2)  # slopes are used


def test_a_stretched_plan_warns(engine: ImageEngine, request_for: RequestFor, plan: Plan) -> None:
    with pytest.warns(AdaptedPlanWarning, match="measured with euler at 10 steps and is stretched to euler at 14"):
        made = engine.generate(request_for(cache=plan, steps=14))
    assert made.cache_source.endswith("measured 41.5 dB there, stretched to this run")
    assert len(made.report.passes) == 14
    engine.generate(request_for(cache=plan, steps=10, sampler="dpmpp_2m"))  # the noise levels of euler


def test_a_stretch_that_keeps_the_passes_warns_too(engine: ImageEngine, request_for: RequestFor, plan: Plan) -> None:
    shifted = replace(plan, log_sigmas=tuple(level + 0.01 for level in plan.log_sigmas))
    with pytest.warns(AdaptedPlanWarning):
        made = engine.generate(request_for(cache=shifted, steps=10))
    assert made.cache.passes == plan.passes


def test_a_plan_for_something_else_is_refused(engine: ImageEngine, request_for: RequestFor, plan: Plan) -> None:
    other = tuple(weight + 0.5 for weight in plan.fingerprint.weights)
    foreign = replace(plan, fingerprint=replace(plan.fingerprint, weights=other))
    with pytest.raises(PlanError, match="measured on another model"):
        engine.generate(request_for(cache=foreign, steps=10))
    with pytest.raises(PlanError, match="needs a plan of its own"):
        engine.generate(request_for(cache=plan, steps=10, sampler="heun"))
    with pytest.raises(PlanError, match=re.escape("a plan can be stretched to 4..25")):
        engine.generate(request_for(cache=plan, steps=26))
    assert type(engine.model.pipe.unet).__name__ == "UNet2DConditionModel"


def test_the_png_of_a_planned_run_is_json_without_the_slopes(
    engine: ImageEngine, request_for: RequestFor, plan: Plan
) -> None:
    made = engine.generate(request_for(cache=plan, steps=10))
    texts = describe(made)
    run = json.loads(texts["skipstep"])
    assert run["request"]["cache"] == "plan euler 10"
    assert run["options"]["passes"] == list(PASSES)
    assert run["options"]["forecast"].startswith("CalibratedForecast(")
    assert "1.3" not in run["options"]["forecast"]
    assert len(texts["skipstep"]) < 4000
    assert "skipstep: plan euler 10, skipstep passes: 5 full + 5 reuse" in texts["parameters"]


def test_options_are_left_as_they_are(engine: ImageEngine, request_for: RequestFor) -> None:
    options = DeepCache(interval=4, forecast="verbatim")
    made = engine.generate(request_for(cache=options))
    assert made.cache is options
    assert (made.cache_source, made.report.passes) == ("options", "FrrrFrrrFrrr")


def test_every_shipped_plan_is_for_the_demo_and_does_what_its_name_says(engine: ImageEngine) -> None:
    files = shipped_plans(engine.model.name)
    assert {(name, "euler", 30) for name in ("quality", "balanced", "fast")} <= set(files)
    demo = fingerprint(engine.model.pipe.unet)
    for (_, sampler, steps), file in files.items():
        plan = load_plan(file)
        assert plan.fingerprint.matches(demo), file.name
        assert (plan.model, plan.family, plan.sampler, plan.steps) == ("demo", "sdxl", sampler, steps)
        assert plan.log_sigmas == pytest.approx(_levels(engine, sampler, steps), abs=1e-4), file.name
        assert len(plan.full_evaluations) == plan.measured["full_passes"], file.name
        assert plan.full_evaluations[0] == 0
        assert steps - plan.full_evaluations[-1] <= steps / 3, file.name  # nothing later mends the last gap
        assert plan.measured["latent_psnr_db"] > plan.measured["fewer_steps_db"], file.name
        assert plan.slopes.reaches, file.name
        full = {*plan.full_evaluations}
        for branch, previous, last, at in plan.slopes.reaches:
            assert {previous, last} <= full, file.name
            assert (plan.passes[at], full & set(range(previous + 1, at + 1))) == (branch, {last}), file.name


def test_balanced_beats_every_third_evaluation(engine: ImageEngine, request_for: RequestFor) -> None:
    assert not {*HELD_OUT} & {*demo_prompts()}
    gains = []
    for seed, prompt in enumerate(HELD_OUT):
        lossless, planned, uniform = (
            engine.generate(request_for(prompt=prompt, seed=77 + seed, steps=30, width=128, height=128, cache=cache))
            for cache in ("lossless", "balanced", DeepCache(interval=3))
        )
        assert planned.report.full_passes == uniform.report.full_passes == 10
        gains.append(latent_psnr(lossless.latents, planned.latents) - latent_psnr(lossless.latents, uniform.latents))
    assert mean(gains) > 2  # dB; 4.4 when this was written
