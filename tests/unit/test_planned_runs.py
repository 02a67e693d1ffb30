"""Runs of a pipeline by a plan that mixes branches, and by the forecast's error."""

from __future__ import annotations

import pytest
import torch
from models import TinyUNet, sd15_pipeline, sdxl_pipeline, sdxl_unet
from runs import record_passes, sample

from skipstep import DeepCache, speed_up
from skipstep.deepcache import PassFlops, flops
from skipstep.deepcache.flops import InputShapes, count_flops, count_plan_flops
from skipstep.errors import BranchError, ScheduleError

PLAN = (None, 0, 3, None, 0, 0, None, 3, 0, None)


def test_a_plan_is_run_and_its_report_counts_what_it_ran() -> None:
    pipe = sdxl_pipeline()
    plain = sample(pipe, steps=10)
    with speed_up(pipe, DeepCache(passes=PLAN)) as run:
        made = sample(pipe, steps=10)
    assert run.report.passes == "FrrFrrFrrF"
    assert not torch.equal(made, plain)
    shapes = run._finished[-1][1]
    shallow, deep = (count_flops(pipe.unet, branch, shapes) for branch in (0, 3))
    assert shallow is not None
    assert deep is not None
    assert shallow.full == deep.full > deep.reuse > shallow.reuse
    spent = 4 * shallow.full + 4 * shallow.reuse + 2 * deep.reuse
    assert run.report.flop_ceiling == pytest.approx(10 * shallow.full / spent, rel=1e-6)
    tensors = 2 * 2 * (8 + 16) * 4  # two of each branch, both halves of guidance, float32
    assert run.report.cache_bytes in {tensors * 16 * 16, tensors // 24 * (8 * 16 * 16 + 16 * 8 * 8)}


def test_a_plan_of_one_branch_is_the_schedule_it_spells_out() -> None:
    pipe = sd15_pipeline()
    with speed_up(pipe, DeepCache(interval=3, branch=2)):
        expected = sample(pipe, steps=10)
    passes = tuple(None if kind == "F" else 2 for kind in "FrrFrrFrrF")
    with speed_up(pipe, DeepCache(passes=passes)):
        assert torch.equal(sample(pipe, steps=10), expected)
    with speed_up(pipe, DeepCache(passes=(*passes[:4], 0, *passes[5:]))):
        assert not torch.equal(sample(pipe, steps=10), expected)


@pytest.mark.parametrize("length", [2, 9, 11])
def test_passes_for_another_number_of_evaluations_are_refused(length: int) -> None:
    pipe = sd15_pipeline()
    expected = f"passes says what each of {length} evaluations is, and this run has 10"
    with speed_up(pipe, DeepCache(passes=(None,) * length)), pytest.raises(ScheduleError, match=expected):
        sample(pipe, steps=10)


def test_a_plan_of_full_passes_is_the_plain_pipeline() -> None:
    pipe = sd15_pipeline()
    plain = sample(pipe, steps=10)
    with speed_up(pipe, DeepCache(passes=(None,) * 10)) as run:
        passes = record_passes(run)
        assert torch.equal(sample(pipe, steps=10), plain)
    assert passes == ["F" * 10]


def test_a_plan_for_branches_that_are_not_there_is_refused_at_once() -> None:
    pipe = sd15_pipeline()
    unet = pipe.unet
    with (
        pytest.raises(BranchError, match=r"branch must be 0\.\.11 for this UNet"),
        speed_up(pipe, DeepCache(passes=(None, 0, 12))),
    ):
        pass
    assert pipe.unet is unet


def test_few_steps_by_a_plan_are_as_they_were_planned() -> None:
    pipe = sd15_pipeline()
    with speed_up(pipe, DeepCache(passes=(None, 0, None, 0))) as run:  # and no warning
        passes = record_passes(run)
        sample(pipe, steps=4)
    assert passes == ["FrFr"]


def test_tolerance_decides_by_the_forecast() -> None:
    pipe = sd15_pipeline()
    taken = {}
    for tolerance in (1e-9, 0.3, 1e9):
        with speed_up(pipe, DeepCache(tolerance=tolerance)) as run:
            passes = record_passes(run)
            sample(pipe, steps=12)
        (taken[tolerance],) = passes
        (log, _) = run._finished[-1]
        assert log.report(None).passes == taken[tolerance]
    assert taken[1e-9] == "FrFrFFFFFFFF"  # the first error is known at the fourth evaluation
    assert taken[1e9] == "FrFrrrFrrrFF"
    assert taken[0.3].count("F") in range(5, 12)


def test_the_flops_of_a_plan_are_the_mean_of_its_reuse_passes(
    tiny_sdxl: TinyUNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flops, "count_flops", lambda _, branch, __: PassFlops(full=100, reuse=10 + branch))
    shapes = InputShapes.of(*tiny_sdxl.inputs(0))
    expected = {
        DeepCache(branch=4): 14,
        DeepCache(passes=(None, None)): 10,  # none is run
        DeepCache(passes=(None, 4)): 14,
        DeepCache(passes=(None, 4, 0, 0, None, 0)): 11,  # of 14 and three times 10
    }
    for options, reuse in expected.items():
        assert count_plan_flops(tiny_sdxl.unet, options, shapes) == PassFlops(full=100, reuse=reuse)


def test_without_weights_in_place_no_plan_is_counted(tiny_sdxl: TinyUNet) -> None:
    shapes = InputShapes.of(*tiny_sdxl.inputs(0))
    assert count_plan_flops(sdxl_unet().to("meta"), DeepCache(passes=(None, 0, 4)), shapes) is None
