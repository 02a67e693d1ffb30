"""What is noticed of a changed model, and what is not a change."""

from __future__ import annotations

import copy
import gc
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0
from fakes import small_unet
from models import TinyUNet, sd15_pipeline
from peft import LoraConfig
from runs import sample
from torch import nn

from skipstep.compile.watch import ModelWatch, traced_state

# peft's, of every second adapter that is put on a model
pytestmark = pytest.mark.filterwarnings("ignore:Already found a `peft_config` attribute:UserWarning")
LORA = LoraConfig(r=2, target_modules=["to_q", "conv_in"], init_lora_weights=False)
FREEU = {"s1": 0.6, "s2": 0.4, "b1": 1.1, "b2": 1.2}


class Scaled(AttnProcessor):
    """A processor with a number of its own, as many of users' own have."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale


@pytest.fixture
def unet() -> Any:
    """One that a test may change."""
    return small_unet().unet


@pytest.fixture
def with_lora(unet: Any) -> Any:
    """One with two LoRAs, of which both are active."""
    for name in ("one", "two"):
        unet.add_adapter(LORA, adapter_name=name)
    unet.set_adapters(["one", "two"], weights=[0.7, 0.9])
    return unet


def states(unet: Any) -> tuple[Any, ...]:
    return tuple(traced_state(unet))


def test_a_model_that_nobody_touched_is_unchanged(tiny: TinyUNet) -> None:
    watch = ModelWatch(tiny.unet)
    for _ in range(2):
        assert not watch.is_changed()
        assert not watch.are_weights_changed()


def test_passes_are_no_change(tiny: TinyUNet) -> None:
    watch, before = ModelWatch(tiny.unet), states(tiny.unet)
    for size in tiny.sizes:
        tiny(0, size)
    with torch.inference_mode():
        tiny.unet(*tiny.inputs(1)[0], **tiny.inputs(1)[1])
    assert not watch.is_changed()
    assert not watch.are_weights_changed()
    assert states(tiny.unet) == before


@pytest.mark.parametrize("scale", [0.3, 0.49, 1.0])
def test_passes_with_a_lora_scale_are_no_change(with_lora: Any, scale: float) -> None:
    """The scale is multiplied into every layer's and divided out again after the pass, which may round."""
    tiny = small_unet()
    args, kwargs = tiny.inputs(0)
    watch, before = ModelWatch(with_lora), states(with_lora)
    with torch.no_grad():
        for _ in range(2):
            with_lora(*args, **kwargs, cross_attention_kwargs={"scale": scale})
    assert not watch.is_changed()
    assert states(with_lora) == before


def test_a_run_of_a_pipeline_is_no_change(unet: Any) -> None:
    pipe = sd15_pipeline(unet=unet)
    watch = ModelWatch(unet)
    sample(pipe, steps=2)
    pipe.set_progress_bar_config(disable=True)
    unet.eval()
    assert not watch.is_changed()
    assert not watch.are_weights_changed()


def replaced_child(unet: Any) -> None:
    unet.conv_in = small_unet(5).unet.conv_in


def replaced_inner_child(unet: Any) -> None:
    unet.down_blocks[1].attentions[0] = small_unet(5).unet.down_blocks[1].attentions[0]


def removed_child(unet: Any) -> None:
    unet.conv_norm_out = None


def one_processor(unet: Any) -> None:
    name, *_ = unet.attn_processors
    unet.set_attn_processor({**unet.attn_processors, name: AttnProcessor()})


CHANGES: dict[str, Callable[[Any], object]] = {
    "LoRA": lambda unet: unet.add_adapter(LORA),
    "FreeU": lambda unet: unet.enable_freeu(**FREEU),
    "all processors": lambda unet: unet.set_attn_processor(AttnProcessor()),
    "one processor": one_processor,
    "forward hook": lambda unet: unet.mid_block.register_forward_hook(lambda *_: None),
    "forward pre-hook": lambda unet: unet.mid_block.register_forward_pre_hook(lambda *_: None),
    "child": replaced_child,
    "inner child": replaced_inner_child,
    "removed child": removed_child,
    "activation": lambda unet: setattr(unet, "conv_act", nn.GELU()),
    "class": lambda unet: setattr(unet.conv_act, "__class__", nn.Mish),  # as torch's parametrizations do
    "plain attribute": lambda unet: setattr(unet.mid_block.resnets[0], "output_scale_factor", 2.0),
    "forward": lambda unet: setattr(unet.mid_block, "forward", unet.mid_block.forward),
    "memory format": lambda unet: unet.to(memory_format=torch.channels_last),
    "precision": lambda unet: unet.to(torch.bfloat16),
    "fused projections": lambda unet: unet.fuse_qkv_projections(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_noticed_until_the_watch_is_made_anew(unet: Any, change: str) -> None:
    watch = ModelWatch(unet)
    CHANGES[change](unet)
    assert watch.is_changed()
    assert watch.is_changed()
    assert not ModelWatch(unet).is_changed()


LORA_CHANGES: dict[str, Callable[[Any], object]] = {
    "weights": lambda unet: unet.set_adapters(["one", "two"], weights=[0.7, 0.8]),
    "fewer": lambda unet: unet.set_adapters("one", weights=0.7),
    "disabled": lambda unet: unet.disable_lora(),
    "disabled adapters": lambda unet: unet.disable_adapters(),
    "fused": lambda unet: unet.fuse_lora(),
    "deleted": lambda unet: unet.delete_adapters("two"),
    "a third": lambda unet: unet.add_adapter(LORA, adapter_name="three"),
}


@pytest.mark.parametrize("change", LORA_CHANGES)
def test_a_change_of_adapters_is_noticed(with_lora: Any, change: str) -> None:
    watch, before = ModelWatch(with_lora), states(with_lora)
    LORA_CHANGES[change](with_lora)
    assert watch.is_changed()
    assert states(with_lora) != before


def test_a_number_that_a_processor_has_is_noticed(unet: Any) -> None:
    processor = Scaled(0.5)
    unet.set_attn_processor(processor)
    watch, before = ModelWatch(unet), states(unet)
    assert not watch.is_changed()
    processor.scale = 0.25
    assert watch.is_changed()
    assert states(unet) != before


def test_an_equal_processor_in_place_of_another_is_a_change(unet: Any) -> None:
    watch = ModelWatch(unet)
    unet.set_attn_processor(AttnProcessor2_0())
    assert watch.is_changed()


@pytest.mark.parametrize("register", ["register_forward_hook", "register_forward_pre_hook"])
def test_a_hook_in_place_of_another_is_noticed(unet: Any, register: str) -> None:
    handle = getattr(unet.conv_in, register)(lambda *_: None)
    watch = ModelWatch(unet)
    handle.remove()
    getattr(unet.conv_in, register)(lambda *_: torch.zeros(1))
    assert watch.is_changed()


def test_taking_it_off_again_is_the_model_of_before(unet: Any) -> None:
    watch = ModelWatch(unet)
    unet.enable_freeu(**FREEU)
    handle = unet.conv_in.register_forward_hook(lambda *_: None)
    assert watch.is_changed()
    handle.remove()
    for block in unet.up_blocks:
        for name in FREEU:
            delattr(block, name)
    assert not watch.is_changed()


def test_a_model_that_nobody_touched_is_not_walked_through(
    with_lora: Any, tiny_sdxl: TinyUNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Walking through SDXL takes as long as a reuse pass on a GPU."""

    def walk(_: Any) -> Any:
        raise AssertionError("walked")

    for unet, tiny in ((tiny_sdxl.unet, tiny_sdxl), (with_lora, small_unet())):
        watch = ModelWatch(unet)
        args, kwargs = tiny.inputs(0)
        with torch.no_grad(), monkeypatch.context() as patch:
            patch.setattr("skipstep.compile.watch._state", walk)
            for _ in range(2):
                unet(*args, **kwargs)
                assert not watch.is_changed()
            unet.conv_in.register_forward_hook(print)
            with pytest.raises(AssertionError, match="walked"):
                watch.is_changed()


def test_a_touch_that_makes_no_difference_is_walked_through_once(unet: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = ModelWatch(unet)
    unet.train()
    unet.conv_in.weight = nn.Parameter(unet.conv_in.weight.clone())
    assert not watch.is_changed()
    monkeypatch.setattr("skipstep.compile.watch._state", None)
    assert not watch.is_changed()


class Attached(nn.Module):
    """A module with what adapters put on theirs."""

    def __init__(self) -> None:
        super().__init__()
        self.active, self.scaling = ["one"], {"one": 0.5}
        self.factor = 0.5
        self.processor = Scaled(0.5)
        self.processor.weights = [1.0, 2.0]
        self.register_buffer("mean", torch.zeros(3))


def equal_list(module: Any) -> None:
    module.active = ["one"]


def equal_dictionary(module: Any) -> None:
    module.scaling = {"one": 0.5}


def other_hooks(module: Any) -> None:
    module._forward_hooks = OrderedDict()


def other_tensors(module: Any) -> None:
    module._buffers = dict(module._buffers)


LATER: dict[str, tuple[Callable[[Any], object] | None, Callable[[Any], object]]] = {
    "list": (None, lambda module: module.active.append("two")),
    "equal list": (equal_list, lambda module: module.active.append("two")),
    "dictionary": (None, lambda module: module.scaling.update(one=0.75)),
    "equal dictionary": (equal_dictionary, lambda module: module.scaling.update(one=0.75)),
    "key": (None, lambda module: module.scaling.update(two=module.scaling.pop("one"))),
    "list of a processor": (None, lambda module: module.processor.weights.reverse()),
    "number of a processor": (None, lambda module: setattr(module.processor, "scale", 0.75)),
    "attributes of a processor": (None, lambda module: vars(module.processor).update(scale=0.75)),
    "other hooks": (other_hooks, lambda module: module.register_forward_hook(print)),
    "other tensors": (other_tensors, lambda module: module.register_buffer("mean", torch.zeros(3).double())),
    "new attribute": (None, lambda module: setattr(module, "other", 1)),
    "no attribute": (None, lambda module: delattr(module, "factor")),
    "tensor instead": (None, lambda module: setattr(module, "factor", torch.zeros(3))),
    "strides": (None, lambda module: setattr(module.mean, "data", torch.zeros(6)[::2])),
}


@pytest.mark.parametrize("kind", LATER)
def test_what_is_in_an_attribute_is_watched_also_if_an_equal_one_took_its_place(kind: str) -> None:
    before, after = LATER[kind]
    model = nn.Sequential(nn.Linear(2, 2), Attached())
    watch = ModelWatch(model)
    if before is not None:
        before(model[1])
        assert not watch.is_changed()
    after(model[1])
    assert watch.is_changed()


def test_the_order_of_children_is_watched() -> None:
    model = nn.Sequential(nn.ReLU(), nn.SiLU())
    watch = ModelWatch(model)
    model._modules["0"] = model._modules.pop("0")
    assert watch.is_changed()


def test_tensors_in_attributes_can_be_replaced_by_others() -> None:
    """A comparison of such has many answers, or none."""
    model = nn.Sequential(nn.Linear(2, 2))
    model[0].table, model[0].grid = torch.arange(3.0), np.arange(3)
    watch = ModelWatch(model)
    model[0].table, model[0].grid = torch.ones(3), np.ones(4)
    assert not watch.is_changed()


def test_replaced_weights_are_not_kept_in_memory(unet: Any) -> None:
    watch = ModelWatch(unet)
    old = weakref.ref(unet.conv_in.weight)
    unet.conv_in.weight = nn.Parameter(unet.conv_in.weight.clone())
    gc.collect()
    assert old() is None
    assert watch.are_weights_changed()


def in_place(unet: Any) -> None:
    with torch.no_grad():
        unet.mid_block.resnets[0].conv1.bias.add_(1)


def in_place_while_inferring(unet: Any) -> None:
    with torch.inference_mode():
        unet.mid_block.resnets[0].conv1.bias.add_(1)


def replaced_data(unet: Any) -> None:
    unet.conv_in.weight.data = unet.conv_in.weight.data.clone()


def replaced_parameter(unet: Any) -> None:
    unet.conv_in.weight = nn.Parameter(unet.conv_in.weight.clone(), requires_grad=False)


WEIGHTS: dict[str, Callable[[Any], object]] = {
    "in place": in_place,
    "in place while inferring": in_place_while_inferring,
    "replaced data": replaced_data,
    "replaced parameter": replaced_parameter,
    "load_state_dict": lambda unet: unet.load_state_dict(small_unet(5).unet.state_dict()),
}


@pytest.mark.parametrize("change", WEIGHTS)
def test_new_weights_are_told_of_once_and_are_no_other_model(unet: Any, change: str) -> None:
    watch = ModelWatch(unet)
    WEIGHTS[change](unet)
    assert not watch.is_changed()
    assert watch.are_weights_changed()
    assert not watch.are_weights_changed()


def test_a_replaced_buffer_is_told_of() -> None:
    module = nn.Sequential(nn.BatchNorm1d(3))
    watch = ModelWatch(module)
    module[0].running_mean = torch.ones(3)
    assert watch.are_weights_changed()
    module[0].running_mean.add_(1)
    assert watch.are_weights_changed()
    assert not watch.are_weights_changed()


def test_weights_made_while_inferring_can_be_watched() -> None:
    with torch.inference_mode():
        unet = small_unet().unet
    watch = ModelWatch(unet)
    assert not watch.is_changed()
    assert not watch.are_weights_changed()
    unet.conv_in = small_unet().unet.conv_in
    assert watch.are_weights_changed()


def test_the_state_is_that_of_another_model_made_alike_and_of_no_other(unet: Any) -> None:
    def made(*changes: str) -> Iterator[Any]:
        other = small_unet(1).unet
        for change in changes:
            CHANGES[change](other)
        return traced_state(other)

    seen = [states(unet), *(tuple(made(change)) for change in ("LoRA", "FreeU", "all processors", "forward hook"))]
    assert len(set(seen)) == 5
    assert seen == [
        tuple(made()),
        *(tuple(made(change)) for change in ("LoRA", "FreeU", "all processors", "forward hook")),
    ]
    assert states(copy.deepcopy(unet)) == seen[0]
    assert states(unet.to(torch.bfloat16)) != seen[0]


def test_the_rank_of_a_lora_is_part_of_the_state(unet: Any) -> None:
    other = small_unet().unet
    unet.add_adapter(LORA)
    other.add_adapter(LoraConfig(r=4, lora_alpha=16, target_modules=["to_q", "conv_in"]))
    assert states(unet) != states(other)
