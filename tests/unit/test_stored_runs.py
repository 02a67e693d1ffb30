"""Runs whose features are kept in host memory or rounded: what becomes of the picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from models import sd15_pipeline, sdxl_pipeline, svd_pipeline, tiny_unet
from runs import record_passes, sample, sample_video
from torch import Tensor

from skipstep import DeepCache, speed_up
from skipstep.compile import Compiler
from skipstep.errors import OptionError

HOST: list[dict[str, Any]] = [{"feature_device": "cpu"}, {"feature_device": "cpu", "prefetch": False}]
MIXED = (None, 0, None, 3, 0, 3, None, 3, 3, 0)


def video(pipe: Any) -> Tensor:
    return sample_video(pipe, steps=6)


def picture(pipe: Any) -> Tensor:
    return sample(pipe, steps=10)


@pytest.mark.parametrize("where", HOST)
@pytest.mark.parametrize(
    "options",
    [
        DeepCache(forecast="verbatim"),
        DeepCache(branch=3),
        DeepCache(forecast="quadratic_log_sigma", interval=2),
        DeepCache(passes=MIXED),
        DeepCache(passes=MIXED, forecast="verbatim"),
        DeepCache(tolerance=0.3),
        DeepCache(start_step=2, end_step=7, interval=2),
        DeepCache(spacing="spread"),
        DeepCache(interval=1),
    ],
)
def test_a_picture_is_the_same_from_host_memory(options: DeepCache, where: dict[str, Any]) -> None:
    pipe = sdxl_pipeline()
    plain = picture(pipe)
    with speed_up(pipe, options) as run:
        passes = record_passes(run)
        expected = picture(pipe)
    with speed_up(pipe, replace(options, **where)) as run:
        again = record_passes(run)
        assert torch.equal(picture(pipe), expected)
    assert again == passes
    assert torch.equal(plain, expected) is (options.interval == 1)


@pytest.mark.parametrize("where", HOST)
@pytest.mark.parametrize(("build", "draw"), [(sd15_pipeline, picture), (sdxl_pipeline, picture), (svd_pipeline, video)])
@pytest.mark.filterwarnings("ignore::skipstep.errors.FewStepsWarning")
def test_calibration_is_the_same_from_host_memory(
    build: Callable[[], Any], draw: Callable[[Any], Tensor], where: dict[str, Any]
) -> None:
    made: list[list[Tensor]] = []
    pipe = build()
    for options in (DeepCache(forecast="calibrated"), DeepCache(forecast="calibrated", **where)):
        with speed_up(pipe, options) as run:
            made.append([draw(pipe), draw(pipe)])
    logs = [log for log, _ in run._finished]
    assert all(torch.equal(one, other) for one, other in zip(*made, strict=True))
    assert not torch.equal(made[0][0], made[0][1])
    assert set(logs[0].kinds) == {"F"}
    assert logs[0].host_bytes > logs[1].host_bytes > 0
    if not where.get("prefetch", True):
        assert logs[0].cache_bytes == logs[1].cache_bytes == 0


@pytest.mark.parametrize("where", HOST)
@pytest.mark.parametrize("forecast", ["verbatim", "linear"])
@pytest.mark.filterwarnings("ignore::skipstep.errors.FewStepsWarning")
def test_a_video_is_the_same_from_host_memory(forecast: str, where: dict[str, Any]) -> None:
    pipe = svd_pipeline()
    with speed_up(pipe, DeepCache(forecast=forecast)):
        expected = video(pipe)
    with speed_up(pipe, DeepCache(forecast=forecast, **where)):
        assert torch.equal(video(pipe), expected)
    assert not torch.equal(video(pipe), expected)


@pytest.mark.parametrize(("build", "draw"), [(sdxl_pipeline, picture), (svd_pipeline, video)])
@pytest.mark.parametrize("forecast", ["verbatim", "linear"])
@pytest.mark.filterwarnings("ignore::skipstep.errors.FewStepsWarning")
def test_rounded_features_take_half_and_change_the_picture_by_their_rounding(
    build: Callable[[], Any], draw: Callable[[Any], Tensor], forecast: str
) -> None:
    pipe = build()
    made, held = {}, {}
    for dtype in ("same", "float16", "bfloat16"):
        with speed_up(pipe, DeepCache(forecast=forecast, feature_dtype=dtype)) as run:
            made[dtype] = draw(pipe)
        held[dtype] = run._finished[-1][0].cache_bytes
    assert held["bfloat16"] * 2 == held["same"]
    assert 0 <= held["float16"] * 2 - held["same"] <= 2 * 2 * 4  # and a factor for each of two tensors
    error = {name: float((made[name] - made["same"]).norm() / made["same"].norm()) for name in made}
    assert 0 < error["float16"] < 4 * 2.0**-11  # a few times the rounding of one number
    assert 2 * error["float16"] < error["bfloat16"] < 4 * 2.0**-8


def test_half_types_and_host_memory_go_together() -> None:
    pipe = sdxl_pipeline()
    with speed_up(pipe, DeepCache(feature_dtype="bfloat16")):
        expected = picture(pipe)
    for where in HOST:
        with speed_up(pipe, DeepCache(feature_dtype="bfloat16", **where)):
            assert torch.equal(picture(pipe), expected)


@pytest.mark.parametrize("store", [*HOST, {"feature_dtype": "float16"}])
def test_compiled_passes_take_what_was_stored(store: dict[str, Any]) -> None:
    pipe, compiler = sdxl_pipeline(), Compiler("eager")
    options = DeepCache(passes=MIXED, **store)
    with speed_up(pipe, options):
        expected = picture(pipe)
    with speed_up(pipe, options, split=compiler):
        assert torch.equal(picture(pipe), expected)
    assert compiler.counters.eager == len(MIXED)
    assert not compiler.counters.failures


def test_a_type_that_saves_nothing_is_refused_before_the_picture() -> None:
    pipe = sdxl_pipeline()
    pipe.unet.to(torch.bfloat16)
    refused = DeepCache(feature_dtype="float16")
    with speed_up(pipe, refused), pytest.raises(OptionError, match="save nothing: they are bfloat16; use 'same'"):
        pipe.unet(*_typed(torch.bfloat16))


def _typed(dtype: torch.dtype) -> tuple[Any, ...]:
    (latents, timestep, context), kwargs = tiny_unet("sdxl").inputs(0)
    added = {name: tensor.to(dtype) for name, tensor in kwargs["added_cond_kwargs"].items()}
    return latents.to(dtype), timestep, context.to(dtype), None, None, None, None, added
