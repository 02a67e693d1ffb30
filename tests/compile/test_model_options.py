"""Options that change the UNet itself: the same picture, or a reason, and the UNet as it was found."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0, FusedAttnProcessor2_0
from models import Call, Size, TinyUNet, tiny_unet
from torch.utils._pytree import tree_map

from skipstep.compile import CompileOptions, Compiler, relative_error
from skipstep.compile.model_options import set_model_options
from skipstep.compile.watch import ModelWatch
from skipstep.errors import BackendError, OptionError

CHANGES = [("sdxl", "fused_qkv"), ("sd15", "fused_qkv"), *((name, "channels_last") for name in ("sdxl", "sd15", "svd"))]


def state(unet: Any) -> list[Any]:
    """Everything on the modules: names, children, processors, plain values, and how the weights lie in memory."""
    found = []
    for name, module in unet.named_modules():
        tensors = [*module._parameters.items(), *module._buffers.items()]
        weights = {key: None if one is None else (one.stride(), one.clone()) for key, one in tensors}
        plain = {key: value for key, value in vars(module).items() if isinstance(value, (bool, int, float, str))}
        found.append((name, type(module), set(vars(module)), set(module._modules), plain, weights))
        found.append(id(getattr(module, "processor", None)))
    return found


def assert_same(one: list[Any], other: list[Any]) -> None:
    assert len(one) == len(other)
    for before, after in zip(one, other, strict=True):
        if isinstance(before, int):
            assert before == after
            continue
        assert before[:-1] == after[:-1]
        assert before[-1].keys() == after[-1].keys()
        for key, value in before[-1].items():
            if value is not None:
                assert value[0] == after[-1][key][0], (before[0], key)
                assert torch.equal(value[1], after[-1][key][1])


def in_double(name: str) -> TinyUNet:
    """The model and its inputs in float64, where rounding is far below any mistake."""
    tiny = tiny_unet(name)
    tiny.unet.double()

    class Double(TinyUNet):
        def inputs(self, seed: int, size: Size | None = None) -> Call:
            def wide(leaf: Any) -> Any:
                return leaf.double() if isinstance(leaf, torch.Tensor) and leaf.is_floating_point() else leaf

            made: Call = tree_map(wide, super().inputs(seed, size))
            return made

    return Double(tiny.name, tiny.unet, tiny.skips, tiny.sizes, tiny.more, tiny.frames)


def both_passes(tiny: TinyUNet, compiler: Compiler) -> list[torch.Tensor]:
    args, kwargs = tiny.inputs(0)
    split = compiler(tiny.unet, (0,))
    output, features = split.full(*args, **kwargs)
    return [output[0], split.reuse(features, *args, **kwargs)[0]]


@pytest.mark.usefixtures("no_grad")
@pytest.mark.parametrize(("name", "option"), CHANGES)
def test_an_option_changes_the_unet_not_the_picture_and_is_undone_exactly(name: str, option: str) -> None:
    tiny = in_double(name)
    plain, before, watch = tiny(0), state(tiny.unet), ModelWatch(tiny.unet)
    compiler = Compiler("eager", CompileOptions(**{option: True}))
    made = both_passes(tiny, compiler)
    if option == "fused_qkv":
        assert {type(one) for one in tiny.unet.attn_processors.values()} == {FusedAttnProcessor2_0}
        assert watch.is_changed()
    else:
        weights = [one for one in tiny.unet.parameters() if one.ndim == 4]
        assert all(one.is_contiguous(memory_format=torch.channels_last) for one in weights)
        assert not all(one.is_contiguous() for one in weights)
    for output in made:
        assert relative_error(plain, output) < 1e-9  # in float32 it is 3e-4 of these random weights
    assert plain.std() > 0.1
    compiler.clear()
    assert_same(before, state(tiny.unet))
    assert not watch.is_changed()
    assert torch.equal(tiny(0), plain)


@pytest.mark.usefixtures("no_grad")
def test_all_of_them_at_once_and_again() -> None:
    tiny = tiny_unet("sdxl")
    tiny.unet.set_attn_processor(AttnProcessor())
    plain, before = tiny(0), state(tiny.unet)
    options = CompileOptions(attention="sdpa", fused_qkv=True, channels_last=True)
    for _ in range(2):
        compiler = Compiler("eager", options)
        for output in both_passes(tiny, compiler):
            assert relative_error(plain, output) < 1e-4
        compiler(tiny.unet, (0, 3))  # another split of the same UNet switches nothing twice
        compiler.clear()
        assert_same(before, state(tiny.unet))
    assert torch.equal(tiny(0), plain)


@pytest.mark.usefixtures("no_grad")
def test_sdpa_is_torchs_own_attention_until_the_compiler_is_cleared() -> None:
    tiny = tiny_unet("sd15")
    tiny.unet.set_attn_processor(AttnProcessor())
    own, plain = tiny.unet.attn_processors, tiny(0)
    compiler = Compiler("eager", CompileOptions(attention="sdpa"))
    for output in both_passes(tiny, compiler):
        assert relative_error(plain, output) < 1e-5
    assert {type(one) for one in tiny.unet.attn_processors.values()} == {AttnProcessor2_0}
    compiler.clear()
    after = tiny.unet.attn_processors
    assert all(after[name] is processor for name, processor in own.items())


def test_a_unet_in_channels_last_stays_so() -> None:
    unet = tiny_unet("sdxl").unet.to(memory_format=torch.channels_last)
    before = state(unet)
    compiler = Compiler("eager", CompileOptions(channels_last=True))
    compiler(unet, (0,))
    compiler.clear()
    assert_same(before, state(unet))


def test_xformers_that_is_not_here_is_refused_with_the_reason() -> None:
    if torch.cuda.is_available():
        pytest.skip("xformers may be usable here")
    unet = tiny_unet("sdxl").unet
    before = state(unet)
    compiler = Compiler("eager", CompileOptions(attention="xformers", fused_qkv=True))
    with pytest.raises(BackendError, match="attention xformers cannot be used here: .*xformers.*; sdpa is torch's own"):
        compiler(unet, (0,))
    compiler.clear()
    assert_same(before, state(unet))


def test_a_unet_that_cannot_fuse_is_refused_and_left_as_it_was() -> None:
    unet = tiny_unet("svd").unet  # diffusers has the switch there, and it does nothing
    before = state(unet)
    with pytest.raises(OptionError, match="fused_qkv is not for UNetSpatioTemporalConditionModel, .*; leave it out"):
        Compiler("eager", CompileOptions(attention="sdpa", fused_qkv=True))(unet, (0,))
    assert_same(before, state(unet))
    with pytest.raises(OptionError, match="fused_qkv is not for Linear, which cannot fuse; leave it out"):
        set_model_options(torch.nn.Linear(2, 2), CompileOptions(fused_qkv=True))
