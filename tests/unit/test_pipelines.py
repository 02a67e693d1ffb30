"""Real diffusers pipelines inside `speed_up`: exact at interval 1, and the passes that were asked for above."""

from __future__ import annotations

from typing import Any

import diffusers
import pytest
import torch
from models import sd15_pipeline, sdxl_pipeline, svd_pipeline
from runs import assert_exact, record_passes, sample, sample_video

from skipstep import DeepCache, speed_up

EVERY_PASS_FULL = DeepCache(interval=1)
SCHEDULERS = {  # with the evaluations that each takes for 10 steps
    "EulerDiscreteScheduler": 10,
    "EulerAncestralDiscreteScheduler": 10,
    "DDIMScheduler": 10,
    "DDPMScheduler": 10,
    "PNDMScheduler": 11,
    "LMSDiscreteScheduler": 10,
    "HeunDiscreteScheduler": 19,
    "KDPM2DiscreteScheduler": 19,
    "KDPM2AncestralDiscreteScheduler": 19,
    "DPMSolverMultistepScheduler": 10,
    "DPMSolverSinglestepScheduler": 10,
    "DPMSolverSDEScheduler": 19,
    "UniPCMultistepScheduler": 10,
    "DEISMultistepScheduler": 10,
}


@pytest.mark.parametrize(("scheduler", "evaluations"), SCHEDULERS.items())
@pytest.mark.filterwarnings("ignore:Should have ta>=t0:UserWarning")  # torchsde's, for a rounded last sigma
def test_interval_1_is_the_plain_pipeline_under_every_sampler(scheduler: str, evaluations: int) -> None:
    pipe = sd15_pipeline()
    own = {"DPMSolverSDEScheduler": {"noise_sampler_seed": 0}, "PNDMScheduler": {"skip_prk_steps": True}}
    pipe.scheduler = getattr(diffusers, scheduler).from_config(pipe.scheduler.config, **own.get(scheduler, {}))
    plain = sample(pipe, steps=10)
    assert torch.isfinite(plain).all()
    with speed_up(pipe, EVERY_PASS_FULL) as run:
        passes = record_passes(run)
        assert torch.equal(sample(pipe, steps=10), plain)
    with speed_up(pipe, DeepCache(interval=3)) as run:
        cached = record_passes(run)
        assert not torch.equal(sample(pipe, steps=10), plain)
    assert passes == ["F" * evaluations]
    assert cached == [("Frr" * evaluations)[:evaluations]]


@pytest.mark.parametrize("build", [sd15_pipeline, sdxl_pipeline])
@pytest.mark.parametrize(("kind", "evaluations"), [("txt2img", 6), ("img2img", 4), ("inpaint", 4), ("controlnet", 6)])
@pytest.mark.filterwarnings("ignore::skipstep.errors.FewStepsWarning")
def test_interval_1_is_the_plain_pipeline_of_every_kind(build: Any, kind: str, evaluations: int) -> None:
    pipe = build(kind)
    plain = sample(pipe)
    with speed_up(pipe, EVERY_PASS_FULL):
        assert torch.equal(sample(pipe), plain)
    with speed_up(pipe, DeepCache(interval=2)) as run:
        passes = record_passes(run)
        assert not torch.equal(sample(pipe), plain)
    assert passes == ["FrFrFr"[:evaluations]]
    assert not torch.equal(sample(pipe, seed=1), plain)


VIDEOS: dict[str, dict[str, Any]] = {  # clips of two frames, guidance rising from 1 to 3
    "as configured": {},
    "longer than configured": {"num_frames": 3},
    "of one frame": {"num_frames": 1, "min_guidance_scale": 2.0},  # from 1 on diffusers itself fails
    "another rise": {"min_guidance_scale": 1.5, "max_guidance_scale": 4.0},
    "one scale": {"min_guidance_scale": 3.0, "max_guidance_scale": 3.0},
    "no guidance": {"max_guidance_scale": 1.0},
    "two clips, other conditions": {"num_videos_per_prompt": 2, "fps": 20, "motion_bucket_id": 200},
}


@pytest.mark.parametrize("name", VIDEOS)
@pytest.mark.filterwarnings("ignore::skipstep.errors.FewStepsWarning")
def test_interval_1_is_the_plain_video_pipeline(name: str) -> None:
    pipe, call = svd_pipeline(), VIDEOS[name]
    calls: list[Any] = []
    hook = pipe.unet.register_forward_pre_hook(lambda _, *call: calls.append(call), with_kwargs=True)
    plain = sample_video(pipe, steps=4, **call)
    hook.remove()
    (args, kwargs), *_ = calls
    assert len(args[0]) == (1 if name == "no guidance" else 2) * call.get("num_videos_per_prompt", 1)
    with torch.no_grad():
        assert_exact(pipe.unet, (5,), lambda: (args, dict(kwargs)))
    with speed_up(pipe, EVERY_PASS_FULL):
        assert torch.equal(sample_video(pipe, steps=4, **call), plain)
    with speed_up(pipe, DeepCache(interval=2)) as run:
        passes = record_passes(run)
        assert not torch.equal(sample_video(pipe, steps=4, **call), plain)
    assert passes == ["FrFr"]
    if call:
        other = sample_video(pipe, steps=4)
        assert other.shape != plain.shape or not torch.equal(other, plain)


@pytest.mark.parametrize(
    ("options", "passes"),
    [
        (DeepCache(), "FrrFrrFrrF"),
        (DeepCache(interval=4), "FrrrFrrrFr"),
        (DeepCache(interval=4, start_step=2, end_step=6), "FFFrrrFFFF"),
        (DeepCache(interval=4, start_step=3), "FFFFrrrFrr"),
        (DeepCache(interval=3, start_percent=0.2, end_percent=0.7), "FFFrrFrFFF"),
        (DeepCache(interval=3, end_percent=0.4), "FrrFFFFFFF"),
        (DeepCache(full_evaluations=(0, 1, 5)), "FFrrrFrrrr"),
        (DeepCache(interval=3, center=5), "FrrrFFFrrr"),
    ],
)
def test_the_passes_are_those_asked_for(options: DeepCache, passes: str) -> None:
    pipe = sdxl_pipeline()
    with speed_up(pipe, options) as run:
        taken = record_passes(run)
        sample(pipe, steps=10)
    assert taken == [passes]


def test_the_report_is_of_the_latest_run() -> None:
    pipe = sdxl_pipeline()
    tensor = 2 * 8 * 16 * 16 * 4  # guidance, 8 channels, float32
    with speed_up(pipe, DeepCache(forecast="verbatim")) as run:
        sample(pipe, steps=10)
        sample(pipe, steps=12, batch=2)
    assert [report.passes for report in run.reports] == ["FrrFrrFrrF", "FrrFrrFrrFrr"]
    assert run.report == run.reports[-1] != run.reports[0]
    assert [report.cache_bytes for report in run.reports] == [tensor, 2 * tensor]
    one, two = (report.flops for report in run.reports)
    assert one is not None
    assert two is not None
    assert two.full == 2 * one.full
    assert 0 < sum(run.report.full_s) + sum(run.report.reuse_s) < run.report.loop_s


def test_two_evaluations_a_step_count_as_one_step_of_a_window() -> None:
    pipe = sd15_pipeline()
    pipe.scheduler = diffusers.HeunDiscreteScheduler.from_config(pipe.scheduler.config)
    for window in ({"start_step": 2, "end_step": 5}, {"start_percent": 0.2, "end_percent": 0.5}):
        with speed_up(pipe, DeepCache(interval=3, **window)) as run:
            passes = record_passes(run)
            sample(pipe, steps=10)
        assert passes == ["FFFF" + "FrrFrr" + "F" * 9]


def test_on_pass_is_told_of_every_evaluation_in_turn() -> None:
    pipe = sd15_pipeline()
    told: list[tuple[int, str]] = []
    with speed_up(pipe, DeepCache(interval=4)) as run:
        run.on_pass = lambda number, kind: told.append((number, kind))
        sample(pipe, steps=10)
        sample(pipe, steps=11)
    assert told == [*enumerate("FrrrFrrrFr"), *enumerate("FrrrFrrrFrr")]
