"""Runs of a pipeline with the calibrated forecast: the first measures and is exact, those after it go by that."""

from __future__ import annotations

from typing import Any

import diffusers
import pytest
import torch
from models import sd15_pipeline, sdxl_pipeline, svd_pipeline
from runs import record_passes, sample, sample_video

from skipstep import DeepCache, attach, speed_up
from skipstep.deepcache import (
    CalibratedForecast,
    CalibrationMemory,
    PlannedSlopes,
    Responses,
    RunShape,
    Slopes,
    responses,
)

CALIBRATED = DeepCache(interval=3, forecast="calibrated")
FULL, REUSING = "F" * 10, "FrrFrrFrrF"


class Keeping(CalibrationMemory):
    """A memory that notes what was put into it."""

    def __init__(self) -> None:
        super().__init__()
        self.measured: list[tuple[RunShape, Responses]] = []

    def put(self, shape: RunShape, measured: Responses) -> None:
        self.measured.append((shape, measured))
        super().put(shape, measured)

    def exact_slopes(self) -> Slopes:
        """The fit of each three evaluations, without a table between."""
        (shape, measured), *_ = self.measured
        triples = [(i, j, k) for k in range(shape.evaluations) for j in range(k) for i in range(max(k - 12, 0), j)]
        return PlannedSlopes({(shape.branch, i, j, k): measured.reach(k, i, j) for i, j, k in triples})


def with_sampler(pipe: Any, name: str, **options: Any) -> Any:
    pipe.scheduler = getattr(diffusers, name).from_config(pipe.scheduler.config, **options)
    return pipe


@pytest.mark.parametrize("build", [sd15_pipeline, sdxl_pipeline])
def test_the_first_run_is_the_plain_pipeline_and_the_second_reuses(build: Any) -> None:
    pipe = build()
    plain, other = sample(pipe, steps=10), sample(pipe, steps=10, seed=1)
    with speed_up(pipe, CALIBRATED) as run:
        passes = record_passes(run)
        assert torch.equal(sample(pipe, steps=10), plain)
        assert not torch.equal(sample(pipe, steps=10, seed=1), other)
        sample(pipe, steps=10)
    assert passes == [FULL, REUSING, REUSING]
    measuring, reusing, _ = (log for log, _ in run._finished)
    assert (measuring.kinds, reusing.kinds) == (FULL, REUSING)
    assert 2 * measuring.cache_bytes == 9 * reusing.cache_bytes > 0  # all ten but the last, and two
    assert torch.equal(sample(pipe, steps=10), plain)


@pytest.mark.filterwarnings("ignore::skipstep.errors.FewStepsWarning")
def test_a_video_is_measured_too() -> None:
    pipe = svd_pipeline()
    plain = sample_video(pipe, steps=4)
    with speed_up(pipe, CALIBRATED) as run:
        passes = record_passes(run)
        assert torch.equal(sample_video(pipe, steps=4), plain)
        assert not torch.equal(sample_video(pipe, steps=4), plain)
    assert passes == ["FFFF", "FrrF"]


@pytest.mark.parametrize(
    ("kind", "sampler"),
    [
        ("txt2img", "EulerDiscreteScheduler"),
        ("img2img", "EulerDiscreteScheduler"),  # begins late in the sampler's list
        ("img2img", "DDIMScheduler"),
        ("txt2img", "HeunDiscreteScheduler"),  # visits levels twice
        ("txt2img", "KDPM2DiscreteScheduler"),  # does not tell its levels
    ],
)
@pytest.mark.filterwarnings("ignore::skipstep.errors.FewStepsWarning")
def test_the_slopes_are_those_of_the_same_evaluations(kind: str, sampler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(responses, "TRUSTED", (-9.0, -8.0))  # a random UNet's features go by no line
    pipe, memory = with_sampler(sd15_pipeline(kind), sampler), Keeping()
    with speed_up(pipe, CALIBRATED, calibrations=memory):
        sample(pipe, steps=9)
        calibrated = sample(pipe, steps=9)
    assert len(memory.measured) == 1
    exact = DeepCache(interval=3, forecast=CalibratedForecast(memory.exact_slopes()))
    with speed_up(pipe, exact):
        expected = sample(pipe, steps=9)
    with speed_up(pipe, DeepCache(interval=3, forecast="linear")):
        linear = sample(pipe, steps=9)
    scale = float(expected.std())
    assert torch.allclose(calibrated, expected, rtol=0, atol=1e-3 * scale)  # one divides by the line's reach
    assert (linear - expected).abs().max() > 1e-2 * scale


def test_another_number_of_steps_or_sampler_is_measured_anew_and_the_same_levels_are_not() -> None:
    pipe, memory = with_sampler(sd15_pipeline(), "DPMSolverMultistepScheduler"), Keeping()
    with speed_up(pipe, CALIBRATED, calibrations=memory) as run:
        passes = record_passes(run)
        for steps in (10, 11, 10):
            sample(pipe, steps=steps)
        with_sampler(pipe, "UniPCMultistepScheduler")  # visits the same
        sample(pipe, steps=10)
        with_sampler(pipe, "DDIMScheduler")
        sample(pipe, steps=10)
    assert passes == [FULL, "F" * 11, REUSING, REUSING, FULL]
    assert len({shape for shape, _ in memory.measured}) == 3


def test_calibrations_that_are_handed_in_outlive_the_attachment() -> None:
    memory = CalibrationMemory()
    taken = []
    for pipe, calibrations in ((sd15_pipeline(), memory), (sd15_pipeline(), memory), (sd15_pipeline(), None)):
        run = attach(pipe, CALIBRATED, calibrations=calibrations)
        passes = record_passes(run)
        sample(pipe, steps=10)
        run.detach()
        taken += passes
    assert taken == [FULL, REUSING, FULL]


@pytest.mark.parametrize("step", [0, 4, 8])
def test_a_run_that_is_broken_off_half_way_leaves_nothing(step: int) -> None:
    def stop(_: Any, at: int, __: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        if at == step:
            raise KeyboardInterrupt
        return tensors

    pipe, memory = sd15_pipeline(), Keeping()
    plain = sample(pipe, steps=10)
    with speed_up(pipe, CALIBRATED, calibrations=memory) as run:
        passes = record_passes(run)
        with pytest.raises(KeyboardInterrupt):
            sample(pipe, steps=10, callback_on_step_end=stop)
        assert torch.equal(sample(pipe, steps=10), plain)
        sample(pipe, steps=10)
    assert passes == ["F" * (step + 1), FULL, REUSING]
    assert len(memory.measured) == 1


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (DeepCache(interval=1, forecast="calibrated"), [FULL, FULL]),
        (DeepCache(interval=1, forecast="calibrated", full_evaluations=(0, 1, 5)), [FULL, "FFrrrFrrrr"]),
        (DeepCache(forecast="calibrated", spacing="spread"), [FULL, "FrrFrrFrrF"]),
        (DeepCache(forecast="calibrated", passes=(None, None, *(2,) * 8)), [FULL, "FFrrrrrrrr"]),
        (DeepCache(forecast="calibrated", tolerance=1e-9), [FULL, "FrFrFFFFFF"]),
    ],
)
def test_it_measures_whatever_says_when_to_reuse_and_only_if_something_does(
    options: DeepCache, expected: list[str]
) -> None:
    pipe, memory = sd15_pipeline(), Keeping()
    with speed_up(pipe, options, calibrations=memory) as run:
        passes = record_passes(run)
        for _ in expected:
            sample(pipe, steps=10)
    assert passes == expected
    assert [shape.branch for shape, _ in memory.measured] == (
        [] if expected == [FULL, FULL] else list(options.branches)
    )


def test_a_pipeline_that_does_not_tell_its_length_is_not_measured() -> None:
    pipe = sd15_pipeline()

    class Silent(type(pipe)):  # type: ignore[misc]
        num_timesteps = property()

    pipe.__class__ = Silent
    with speed_up(pipe, CALIBRATED) as run:
        passes = record_passes(run)
        calibrated = sample(pipe, steps=10)
    with speed_up(pipe, DeepCache(interval=3, forecast="linear")):
        assert torch.equal(sample(pipe, steps=10), calibrated)
    assert passes == [REUSING]
