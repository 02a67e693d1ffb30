"""Rows of a batch draw what they draw alone, whenever they come and go."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from models import sd15_pipeline, sdxl_pipeline, svd_pipeline
from runs import sample, sample_video
from torch import Tensor

from skipstep import DeepCache, speed_up
from skipstep.batching import ContinuousBatch, Row, RowCancelledError
from skipstep.deepcache import CalibrationMemory, SplitMaker, live_split
from skipstep.errors import OptionError

pytestmark = pytest.mark.filterwarnings("ignore::skipstep.errors.FewStepsWarning")

Draw = Callable[[SplitMaker | None], Tensor]
TOLERANCE = 1e-4  # relative to the norm
CACHES = (
    DeepCache(interval=3),
    DeepCache(interval=3, forecast="linear"),
    DeepCache(interval=2, branch=2, forecast="quadratic"),
    DeepCache(interval=4, forecast="linear_log_sigma"),
    DeepCache(passes=(None, 0, 3, None, 3, 0, 0, None)),
    DeepCache(interval=1),
)


def own(pipe: Any) -> Any:
    """A pipeline of the same modules with a state of its own."""
    made = copy.copy(pipe)
    made.scheduler = copy.deepcopy(pipe.scheduler)
    return made


def drawing(pipe: Any, cache: DeepCache, calibrations: Any = None, **call: Any) -> Draw:
    """One call of the pipeline."""

    def draw(split: SplitMaker | None) -> Tensor:
        mine = own(pipe)
        run = sample_video if "Video" in type(pipe).__name__ else sample
        with speed_up(mine, cache, split=split, calibrations=calibrations):
            return run(mine, **call)

    return draw


def difference(one: Tensor | None, other: Tensor) -> float:
    assert one is not None
    return float((one - other).norm() / other.norm())


def finish(batch: ContinuousBatch) -> list[str]:
    """The passes until nothing is left, as "F3" for a full pass of three rows."""
    passes = []
    while (tick := batch.step()) is not None:
        passes.append(f"{tick.kind}{len(tick.rows)}")
    return passes


@pytest.fixture(scope="module")
def pipe() -> Any:
    return sdxl_pipeline()


def test_rows_share_every_pass(pipe: Any) -> None:
    draws = [drawing(pipe, CACHES[0], seed=seed, steps=6) for seed in range(3)]
    batch = ContinuousBatch(pipe.unet)
    rows = [batch.start(draw) for draw in draws]
    assert finish(batch) == ["F3", "r3", "r3", "F3", "r3", "r3"]
    for row, draw in zip(rows, draws, strict=True):
        assert difference(row.result, draw(None)) < TOLERANCE
    assert batch.rows == []


def test_who_comes_later_waits_for_a_full_pass(pipe: Any) -> None:
    batch = ContinuousBatch(pipe.unet)
    first = batch.start(drawing(pipe, CACHES[0], seed=1, steps=6))
    passes = []
    for _ in range(2):
        tick = batch.step()
        assert tick is not None
        passes.append(tick.kind)
    assert passes == ["F", "r"]
    assert not batch.is_joinable
    second = batch.start(drawing(pipe, CACHES[0], seed=2, steps=3))
    assert finish(batch) == ["r1", "F2", "r2", "r2"]
    assert first.is_done
    assert second.is_done


@pytest.mark.parametrize("schedule", [*range(20), *(pytest.param(s, marks=pytest.mark.slow) for s in range(20, 200))])
def test_random_schedules(pipe: Any, schedule: int) -> None:
    chance = random.Random(schedule)
    draws, arrivals, leaves = [], [], {}
    for index in range(chance.randint(2, 5)):
        guidance = chance.choice([1.0, 3.0, 7.5])
        steps = chance.randint(2, 8)
        cache = chance.choice(CACHES if steps == 8 else [one for one in CACHES if one.passes is None])
        draws.append(drawing(pipe, cache, seed=schedule * 10 + index, steps=steps, guidance_scale=guidance))
        arrivals.append(chance.randint(0, 12))
        if chance.random() < 0.25:
            leaves[index] = arrivals[-1] + chance.randint(1, 6)
    batch = ContinuousBatch(pipe.unet, max_rows=chance.choice([2, 8]))
    rows: dict[int, Row[Tensor]] = {}
    for tick in range(400):
        for index, at in enumerate(arrivals):
            if tick == at:
                rows[index] = batch.start(draws[index])
        for index, at in leaves.items():
            if tick == at and not rows[index].is_done:
                batch.cancel(rows[index])
        if batch.step() is None and tick > 12:
            break
    for index, row in rows.items():
        if isinstance(row.error, RowCancelledError):
            assert index in leaves
        else:
            assert difference(row.result, draws[index](None)) < TOLERANCE
    assert len(rows) == len(draws)


@pytest.mark.parametrize("make", [sd15_pipeline, svd_pipeline])
def test_other_families(make: Callable[[], Any]) -> None:
    pipe = make()
    draws = [drawing(pipe, CACHES[1], seed=seed, steps=4 + seed) for seed in range(3)]
    batch = ContinuousBatch(pipe.unet)
    rows = [batch.start(draw) for draw in draws]
    assert finish(batch)[0] == "F3"
    for row, draw in zip(rows, draws, strict=True):
        assert difference(row.result, draw(None)) < TOLERANCE


def test_calibrated_forecasts(pipe: Any) -> None:
    cache, known = DeepCache(interval=3, forecast="calibrated"), CalibrationMemory()
    drawing(pipe, cache, known, seed=9, steps=6)(None)  # measures
    draws = [drawing(pipe, cache, known, seed=seed, steps=6) for seed in range(2)]
    batch = ContinuousBatch(pipe.unet)
    rows = [batch.start(draw) for draw in draws]
    assert finish(batch) == ["F2", "r2", "r2", "F2", "r2", "r2"]
    for row, draw in zip(rows, draws, strict=True):
        assert difference(row.result, draw(None)) < TOLERANCE


def test_a_run_that_measures_runs_by_itself(pipe: Any) -> None:
    cache, known = DeepCache(interval=3, forecast="calibrated"), CalibrationMemory()
    batch = ContinuousBatch(pipe.unet)
    row = batch.start(drawing(pipe, cache, known, seed=1, steps=6))
    assert row.is_done
    assert difference(row.result, drawing(pipe, DeepCache(interval=1), seed=1, steps=6)(None)) < TOLERANCE


def test_sizes_take_turns(pipe: Any) -> None:
    small, large = {"height": 32, "width": 32}, {"height": 48, "width": 32}
    draws = [drawing(pipe, CACHES[0], seed=s, steps=6, **size) for s in range(2) for size in (small, large)]
    batch = ContinuousBatch(pipe.unet)
    rows = [batch.start(draw) for draw in draws]
    assert finish(batch) == ["F2", "r2", "r2"] * 4
    for row, draw in zip(rows, draws, strict=True):
        assert difference(row.result, draw(None)) < TOLERANCE


def test_more_rows_than_fit_take_turns(pipe: Any) -> None:
    draws = [drawing(pipe, CACHES[0], seed=seed, steps=6) for seed in range(5)]
    batch = ContinuousBatch(pipe.unet, max_rows=2)
    rows = [batch.start(draw) for draw in draws]
    passes = finish(batch)
    assert max(int(one[1:]) for one in passes) == 2
    for row, draw in zip(rows, draws, strict=True):
        assert difference(row.result, draw(None)) < TOLERANCE


class Failing:
    """A split maker whose full passes of more than so many samples fail."""

    def __init__(self, most: int, error: type[Exception]) -> None:
        self.most = most
        self.error = error
        self.sizes: list[int] = []

    def __call__(self, unet: Any, branches: tuple[int, ...]) -> Any:
        split, outer = live_split(unet, branches), self

        class Split:
            def full(self, **kwargs: Any) -> Any:
                outer.sizes.append(len(kwargs["sample"]))
                if len(kwargs["sample"]) > outer.most:
                    raise outer.error("too many")
                return split.full(**kwargs)

            def __getattr__(self, name: str) -> Any:
                return getattr(split, name)

        return Split()


def test_a_pass_that_does_not_fit_is_halved_and_that_is_remembered(pipe: Any) -> None:
    draws = [drawing(pipe, CACHES[0], seed=seed, steps=6) for seed in range(4)]
    failing = Failing(4, torch.OutOfMemoryError)
    batch = ContinuousBatch(pipe.unet, failing)
    rows = [batch.start(draw) for draw in draws]
    finish(batch)
    assert failing.sizes[:2] == [8, 4]
    assert failing.sizes.count(8) == 1
    for row, draw in zip(rows, draws, strict=True):
        assert difference(row.result, draw(None)) < TOLERANCE


def test_a_row_that_never_fits_fails_alone(pipe: Any) -> None:
    batch = ContinuousBatch(pipe.unet, Failing(1, torch.OutOfMemoryError))
    rows = [batch.start(drawing(pipe, CACHES[0], seed=s, steps=3, guidance_scale=g)) for s, g in ((0, 5.0), (1, 1.0))]
    finish(batch)
    assert isinstance(rows[0].error, torch.OutOfMemoryError)
    assert rows[1].error is None
    assert rows[1].result is not None


def test_an_error_reaches_the_row_that_causes_it(pipe: Any) -> None:
    def broken(split: SplitMaker) -> Tensor:
        mine = own(pipe)
        mine.unet = pipe.unet
        with speed_up(mine, CACHES[0], split=split):
            bad = torch.zeros(1, 5, 24)
            return sample(mine, steps=3, prompt_embeds=bad, pooled_prompt_embeds=torch.zeros(1, 7))

    batch = ContinuousBatch(pipe.unet)
    bad = batch.start(broken)
    good = batch.start(drawing(pipe, CACHES[0], seed=3, steps=3))
    finish(batch)
    assert bad.error is not None
    assert good.error is None


def test_cancelling_ends_one_row(pipe: Any) -> None:
    draws = [drawing(pipe, CACHES[1], seed=seed, steps=8) for seed in range(3)]
    batch = ContinuousBatch(pipe.unet)
    rows = [batch.start(draw) for draw in draws]
    for _ in range(3):
        batch.step()
    batch.cancel(rows[1])
    assert isinstance(rows[1].error, RowCancelledError)
    finish(batch)
    for index in (0, 2):
        assert difference(rows[index].result, draws[index](None)) < TOLERANCE


def test_passes_are_filled_up_to_sizes_with_graphs(pipe: Any) -> None:
    failing = Failing(99, ValueError)
    draws = [drawing(pipe, CACHES[0], seed=seed, steps=3) for seed in range(3)]
    batch = ContinuousBatch(pipe.unet, failing, samples=(2, 4, 8))
    rows = [batch.start(draw) for draw in draws]
    finish(batch)
    assert failing.sizes == [8]
    for row, draw in zip(rows, draws, strict=True):
        assert difference(row.result, draw(None)) < TOLERANCE


def test_gradients_are_as_they_were(pipe: Any) -> None:
    batch = ContinuousBatch(pipe.unet)
    rows = [batch.start(drawing(pipe, CACHES[0], seed=seed, steps=3 + seed)) for seed in range(3)]
    finish(batch)
    assert torch.is_grad_enabled()
    assert not any(row.result is not None and row.result.requires_grad for row in rows)


def test_another_unet_is_refused(pipe: Any) -> None:
    batch = ContinuousBatch(sdxl_pipeline().unet)
    row = batch.start(drawing(pipe, CACHES[0], seed=0, steps=3))
    assert isinstance(row.error, ValueError)


def test_a_batch_of_nothing_is_refused(pipe: Any) -> None:
    with pytest.raises(OptionError, match="max_rows must be 1 or more, got 0"):
        ContinuousBatch(pipe.unet, max_rows=0)
