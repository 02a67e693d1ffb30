"""`attach` and `speed_up`: what they refuse, what the pipeline sees meanwhile, and how it is found afterwards."""

from __future__ import annotations

import copy
import pickle
from types import SimpleNamespace
from typing import Any

import diffusers
import pytest
import torch
from models import sd15_pipeline, sd15_unet, sdxl_pipeline, tiny_unet
from runs import record_passes, sample
from torch import nn

from skipstep import DeepCache, attach, speed_up
from skipstep.errors import AttachError, BranchError, FewStepsWarning, OptionError, UnsupportedModelError


def test_afterwards_the_pipeline_is_as_it_was() -> None:
    pipe = sdxl_pipeline()
    plain = sample(pipe, steps=10)
    unet, config, attributes = pipe.unet, dict(pipe.config), set(pipe.__dict__)
    parts = [(set(m.__dict__), set(m._modules), len(m._forward_hooks)) for m in unet.modules()]
    with speed_up(pipe, DeepCache(interval=3)):
        assert pipe.unet is not unet
        sample(pipe, steps=10)
    assert pipe.unet is unet
    assert dict(pipe.config) == config
    assert set(pipe.__dict__) == attributes
    assert [(set(m.__dict__), set(m._modules), len(m._forward_hooks)) for m in unet.modules()] == parts
    assert torch.equal(sample(pipe, steps=10), plain)


def test_inside_the_block_the_unet_passes_for_itself() -> None:
    pipe = sdxl_pipeline()
    unet, config = pipe.unet, dict(pipe.config)
    with speed_up(pipe):
        assert isinstance(pipe.unet, diffusers.UNet2DConditionModel)
        assert isinstance(pipe.unet, nn.Module)
        assert pipe.unet.config is unet.config
        assert repr(pipe.unet) == repr(unet)
        assert pipe.unet.dtype == torch.float32
        assert dict(pipe.config) == config  # diffusers notes the class of each component
        pipe.unet.note = 1
        assert unet.note == 1
        del pipe.unet.note
        assert not hasattr(unet, "note")
        pipe.to(torch.float64)
    assert unet.dtype == torch.float64


def test_an_error_inside_the_block_still_detaches() -> None:
    pipe = sd15_pipeline()
    unet = pipe.unet
    with pytest.raises(KeyError), speed_up(pipe) as run:
        raise KeyError
    assert pipe.unet is unet
    with pytest.raises(AttachError, match="no run has finished yet; call the pipeline first"):
        _ = run.report


def _stop_after(step: int) -> Any:
    def stop(_: Any, at: int, __: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        if at == step:
            raise KeyboardInterrupt
        return tensors

    return stop


def test_a_run_that_was_broken_off_leaves_nothing_to_the_next() -> None:
    pipe = sd15_pipeline()
    options = DeepCache(interval=3, end_percent=0.5)
    with speed_up(pipe, options):
        expected = sample(pipe, steps=10)
    with speed_up(pipe, options) as run:
        passes = record_passes(run)
        with pytest.raises(KeyboardInterrupt):
            sample(pipe, steps=20, callback_on_step_end=_stop_after(4))
        assert torch.equal(sample(pipe, steps=10), expected)
        assert passes == ["FrrFr", "FrrFrFFFFF"]
        assert len(run._finished) == 2  # each with a report of its own


def test_attaching_twice_is_refused() -> None:
    pipe = sd15_pipeline()
    with speed_up(pipe), pytest.raises(AttachError, match="attached to this pipeline; detach that first"):
        attach(pipe)
    with speed_up(pipe):  # once detached, it may be attached again
        pass


def test_a_pipeline_made_of_the_parts_of_an_attached_one_is_refused() -> None:
    pipe = sd15_pipeline()
    with speed_up(pipe), pytest.raises(AttachError, match="attached to another pipeline; detach that first"):
        attach(sd15_pipeline(unet=pipe.unet))


def test_a_preset_name_is_not_an_option() -> None:
    options: Any = "balanced"
    with pytest.raises(OptionError, match="options must be a DeepCache, got 'balanced'"):
        attach(sd15_pipeline(), options)


def test_a_copy_of_the_unet_inside_the_block_is_one_of_the_unet() -> None:
    pipe = sd15_pipeline()
    unet = pipe.unet
    with speed_up(pipe):
        copies = [copy.copy(pipe.unet), copy.deepcopy(pipe.unet), pickle.loads(pickle.dumps(pipe.unet))]
        assert set(dir(unet)) == set(dir(pipe.unet))
    for made in copies:
        assert type(made) is type(unet)
        assert torch.equal(made.conv_in.weight, unet.conv_in.weight)
    assert copies[1].conv_in is not unet.conv_in


def test_what_went_wrong_in_the_block_is_what_is_raised() -> None:
    def replace_and_fail(pipe: Any) -> None:
        pipe.unet = tiny_unet("sd15").unet
        raise ZeroDivisionError

    pipe = sd15_pipeline()
    with pytest.raises(ZeroDivisionError), speed_up(pipe):
        replace_and_fail(pipe)


def test_a_report_outlives_a_change_of_precision() -> None:
    pipe = sd15_pipeline()
    with speed_up(pipe, DeepCache(interval=3)) as run:
        sample(pipe, steps=10)
        pipe.unet.to(torch.bfloat16)
        assert run.report.flops is not None
        assert run.report.flops.full > run.report.flops.reuse > 0


def test_detaching_twice_does_nothing_and_the_old_stand_in_is_the_plain_unet() -> None:
    pipe, tiny = sd15_pipeline(), tiny_unet("sd15")
    run = attach(pipe)
    stand_in = pipe.unet
    run.detach()
    run.detach()
    args, kwargs = tiny.inputs(0)
    with torch.no_grad():
        for _ in range(2):
            assert torch.equal(stand_in(*args, **kwargs)[0], tiny(0))
    with pytest.raises(AttachError, match="no run has finished"):
        _ = run.report


def test_a_unet_replaced_meanwhile_is_left_and_told_of() -> None:
    pipe = sd15_pipeline()
    other = sd15_unet(seed=1)
    with (
        pytest.raises(AttachError, match="was replaced after skipstep was attached; it was left as it is"),
        speed_up(pipe),
    ):
        pipe.unet = other
    assert pipe.unet is other


def test_what_has_no_unet_or_no_such_branch_is_refused_before_anything_changes() -> None:
    with pytest.raises(UnsupportedModelError, match="SimpleNamespace has no `unet`; skipstep speeds up UNet pipelines"):
        attach(SimpleNamespace(transformer=nn.Identity()))
    pipe = sd15_pipeline()
    unet = pipe.unet
    with pytest.raises(BranchError, match=r"0\.\.11"), speed_up(pipe, DeepCache(branch=12)):
        raise AssertionError
    assert pipe.unet is unet


def test_few_steps_are_warned_of_and_only_where_features_are_reused() -> None:
    pipe = sd15_pipeline()
    with speed_up(pipe, DeepCache(interval=3)):
        with pytest.warns(FewStepsWarning, match="9 steps: below 10 neighbouring evaluations differ too much"):
            sample(pipe, steps=9)
        sample(pipe, steps=10)
    with speed_up(pipe, DeepCache(interval=1)):
        sample(pipe, steps=4)
    with speed_up(pipe, DeepCache(interval=3, start_step=4)):  # a window past the end
        sample(pipe, steps=4)
    pipe.scheduler = diffusers.HeunDiscreteScheduler.from_config(pipe.scheduler.config)
    with speed_up(pipe), pytest.warns(FewStepsWarning, match="8 steps"):  # 15 evaluations
        sample(pipe, steps=8)


def test_a_pipeline_that_does_not_tell_its_steps_cannot_have_a_window_in_percent() -> None:
    tiny = tiny_unet("sd15")
    pipe = SimpleNamespace(unet=tiny.unet)
    args, kwargs = tiny.inputs(0)
    with speed_up(pipe, DeepCache(end_percent=0.5)), pytest.raises(OptionError, match="does not say how many steps"):
        pipe.unet(*args, **kwargs)
    assert pipe.unet is tiny.unet
