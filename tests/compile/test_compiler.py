"""The compiler: what it refuses, what its splits share, and pipelines that run through it."""

from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from accelerate.hooks import ModelHook, add_hook_to_module
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from fakes import Fake, Frozen, Refreshable, small_unet
from models import TinyUNet, sd15_pipeline, sd15_unet, sdxl_pipeline, sdxl_unet, svd_pipeline
from peft import LoraConfig, get_peft_model_state_dict
from runs import record_passes, sample, sample_video
from torch import Tensor, nn

from skipstep import DeepCache, attach, speed_up
from skipstep.compile import (
    BACKENDS,
    Availability,
    CompileCounters,
    CompiledUNet,
    CompileOptions,
    Compiler,
    GraphStore,
    new_backend,
)
from skipstep.compile.model_options import set_model_options
from skipstep.errors import AttachError, BackendError, BranchError, OptionError, UnsupportedModelError

# asked for by value that is not the default, and the backends that honour it
OPTIONAL: dict[str, tuple[Any, set[str]]] = {
    "dynamic": (True, {"eager", "inductor"}),
    "cuda_graphs": (True, {"inductor"}),
    "regional": (True, {"inductor"}),
    "max_autotune": (True, {"inductor", "aot"}),
    "precision": ("bfloat16", {"openvino"}),
}
UNIFORM = DeepCache(interval=3, branch=2)
MIXED = DeepCache(passes=(None, 0, 3, None, 0, 0, None, 3, 0, None))
CALIBRATED = DeepCache(interval=3, forecast="calibrated")


class Usable:
    """A backend by the name and the options of another, which can be used everywhere."""

    def __init__(self, name: str, store: GraphStore) -> None:
        self.name = name
        self.supports = new_backend(name, store).supports

    def available(self) -> Availability:
        return Availability(True, "here")

    def compile(self, module: nn.Module, spec: Any) -> Any:
        return module


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("option", OPTIONAL)
def test_an_option_is_taken_by_the_backends_that_honour_it_and_refused_by_the_others(
    tmp_path: Path, name: str, option: str
) -> None:
    value, takers = OPTIONAL[option]
    backend, options = Usable(name, GraphStore(tmp_path)), CompileOptions(**{option: value})
    if name in takers:
        assert Compiler(backend, options).options == options
        return
    with pytest.raises(OptionError, match=f"{option} is not for the {name} backend, which takes") as caught:
        Compiler(backend, options)
    assert option not in str(caught.value).partition("which takes")[2]
    assert "verify" in str(caught.value)


def test_options_of_the_model_and_of_the_cache_are_for_every_backend(tmp_path: Path) -> None:
    options = CompileOptions(channels_last=True, fused_qkv=True, attention="sdpa", verify=True, max_graphs=4)
    for name in BACKENDS:
        Compiler(Usable(name, GraphStore(tmp_path)), options)


def test_the_reference_has_nothing_to_be_verified_against() -> None:
    with pytest.raises(OptionError, match="the eager backend makes none; leave verify out or choose another backend"):
        Compiler("eager", CompileOptions(verify=True))


def test_every_option_is_checked_somewhere() -> None:
    shared = {"channels_last", "fused_qkv", "attention", "verify", "max_graphs"}
    assert set(vars(CompileOptions())) == shared | set(OPTIONAL)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attention": "flash"}, "attention must be auto or sdpa or xformers, got 'flash'"),
        ({"precision": "float16"}, "precision must be float32 or bfloat16, got 'float16'"),
        ({"max_graphs": 1}, "max_graphs must be 2 or more, a full and a reuse pass, got 1"),
        ({"max_graphs": 2.5}, "max_graphs must be a whole number, got 2.5"),
        ({"max_graphs": True}, "max_graphs must be a whole number, got True"),
        ({"max_graphs": None}, "max_graphs must be"),
        ({"verify": "yes"}, "verify must be True or False, got 'yes'"),
        ({"dynamic": 1}, "dynamic must be True or False, got 1"),
        ({"cuda_graphs": None}, "cuda_graphs must be True or False, got None"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        CompileOptions(**options)


def test_a_backend_that_is_not_there_is_refused_with_the_names_of_those_that_are() -> None:
    with pytest.raises(OptionError, match="backend must be one of eager, inductor, aot, .*, got 'tensorrt'"):
        Compiler("tensorrt")
    for wrong in (None, 3, ["aot"]):
        with pytest.raises(OptionError, match="backend must be one of eager, "):
            Compiler(wrong)  # type: ignore[arg-type]


def test_options_of_another_kind_are_refused() -> None:
    with pytest.raises(OptionError, match="options must be CompileOptions, got {'verify': True}"):
        Compiler(Fake(), {"verify": True})  # type: ignore[arg-type]


def test_a_backend_that_cannot_be_used_here_is_refused_with_the_reason() -> None:
    reason = "it needs a quantum computer: pip install qubits"
    with pytest.raises(BackendError, match=f"the shor backend cannot be used here: {reason}"):
        Compiler(Fake(name="shor", missing=reason))


@pytest.mark.parametrize("name", BACKENDS)
def test_a_backend_has_the_name_that_it_is_asked_for_by(tmp_path: Path, name: str) -> None:
    backend = new_backend(name, GraphStore(tmp_path / "graphs"))
    assert backend.name == name
    assert not (tmp_path / "graphs").exists()


def test_availability_reads_as_a_sentence() -> None:
    assert str(Availability(True, "torch 2")) == "torch 2"
    assert str(Availability(False, "no compiler")) == "not available: no compiler"


def test_counters_are_plain_data() -> None:
    counters = CompileCounters(compiles=2, seconds=0.5)
    counters.failures.append("full pass: why")
    assert counters.as_dict() == {
        "compiles": 2, "cached": 0, "loads": 0, "hits": 0, "eager": 0, "refreshes": 0, "seconds": 0.5,
        "weight_bytes": 0, "failures": ["full pass: why"],
    }  # fmt: skip
    assert CompileCounters().failures == []


def test_splits_are_one_for_each_unet_and_set_of_branches() -> None:
    compiler, one, other = Compiler("eager"), sdxl_unet(), sdxl_unet()
    assert compiler(one, (0,)) is compiler(one, (0,))
    assert compiler(one, (0, 3)) is compiler(one, (0, 3)) is compiler(one, (3, 0, 3))
    different = [compiler(one, (0,)), compiler(one, (0, 3)), compiler(other, (0,)), Compiler("eager")(one, (0,))]
    assert len({id(split) for split in different}) == 4
    assert compiler(other, (0,)).unet is other
    before = compiler(one, (0,))
    compiler.clear()
    assert compiler(one, (0,)) is not before


def test_runs_and_attachments_of_one_unet_share_graphs_and_other_unets_do_not() -> None:
    compiler, unet = Compiler(Fake(Frozen)), small_unet().unet
    compiles = []
    for pipe in (sd15_pipeline(unet=unet), sd15_pipeline(unet=unet), sd15_pipeline(unet=small_unet(1).unet)):
        for _ in range(2):
            with speed_up(pipe, UNIFORM):
                expected = sample(pipe, steps=10)
            with speed_up(pipe, UNIFORM, split=compiler):
                assert torch.equal(sample(pipe, steps=10), expected)
            compiles.append(compiler.counters.compiles)
    assert compiles == [2, 2, 2, 2, 4, 4]
    assert compiler.counters.hits == 6 * 10
    assert compiler.counters.eager == 0


PIPELINES: dict[str, tuple[Callable[[], Any], Callable[..., Tensor]]] = {
    "sd15": (sd15_pipeline, sample),
    "sdxl": (sdxl_pipeline, sample),
    "svd": (svd_pipeline, sample_video),
    "controlnet": (lambda: sd15_pipeline("controlnet"), sample),
}


def pictures(pipe: Any, run: Callable[..., Tensor], options: DeepCache, split: Any) -> tuple[list[Tensor], list[str]]:
    """What a pipeline draws, and with which passes; the calibrated forecast measures in a run of its own."""
    with speed_up(pipe, options, split=split) as attached:
        passes = record_passes(attached)
        made = [run(pipe, steps=10, seed=seed) for seed in range(1 + (options is CALIBRATED))]
    return made, passes


CASES = [("sd15", CALIBRATED), ("sdxl", UNIFORM), ("sdxl", MIXED), ("svd", MIXED), ("controlnet", UNIFORM)]


@pytest.mark.parametrize(
    ("name", "options"),
    CASES,
    ids=lambda value: value if isinstance(value, str) else "mixed" if value is MIXED else value.forecast,
)
def test_pictures_are_those_without_a_compiler_bit_for_bit(name: str, options: DeepCache) -> None:
    build, run = PIPELINES[name]
    pipe, compiler = build(), Compiler("eager")
    expected, expected_passes = pictures(pipe, run, options, None)
    made, passes = pictures(pipe, run, options, compiler)
    assert all(map(torch.equal, made, expected))
    assert passes == expected_passes
    assert "r" in passes[-1]
    assert not torch.equal(made[-1], run(pipe, steps=10, seed=len(made) - 1))
    counters = compiler.counters
    assert counters.eager == len(passes[-1])  # the run that measures is not counted
    assert (counters.compiles, counters.hits, counters.failures) == (0, 0, [])


def test_other_steps_and_seeds_need_no_other_graphs() -> None:
    pipe, compiler = sd15_pipeline(unet=small_unet().unet), Compiler(Fake(Frozen))
    for steps, seed in ((10, 0), (12, 5)):
        with speed_up(pipe, UNIFORM):
            expected = sample(pipe, steps=steps, seed=seed)
        with speed_up(pipe, UNIFORM, split=compiler):
            assert torch.equal(sample(pipe, steps=steps, seed=seed), expected)
    assert compiler.counters.compiles == 2


def test_what_cannot_be_cut_is_refused_before_anything_changes() -> None:
    pipe, compiler = sdxl_pipeline(), Compiler("eager", CompileOptions(fused_qkv=True))
    unet, before = pipe.unet, dict(pipe.unet.attn_processors)
    with pytest.raises(BranchError, match=r"0\.\.8"):
        attach(pipe, DeepCache(branch=9), split=compiler)
    assert pipe.unet is unet
    assert pipe.unet.attn_processors == before
    with pytest.raises(UnsupportedModelError, match="Identity has no down_blocks"):
        compiler(nn.Identity(), (0,))


def test_options_of_the_model_are_set_once_and_taken_back(tiny_sdxl: TinyUNet) -> None:
    unet = sdxl_unet()
    unet.set_attn_processor(AttnProcessor())
    before = dict(unet.attn_processors)
    compiler = Compiler("eager", CompileOptions(attention="sdpa", fused_qkv=True, channels_last=True))
    args, kwargs = tiny_sdxl.inputs(0)
    with torch.no_grad():
        expected = unet(*args, **kwargs)[0]
        for branches in ((0,), (0, 3)):
            output = compiler(unet, branches).full(*args, **kwargs)[0][0]
            assert torch.allclose(output, expected, rtol=0, atol=1e-4)  # other kernels, other rounding
        assert {type(processor).__name__ for processor in unet.attn_processors.values()} == {"FusedAttnProcessor2_0"}
        assert unet.conv_in.weight.is_contiguous(memory_format=torch.channels_last)
        assert compiler.counters.failures == []
        compiler.clear()
        assert unet.attn_processors == before
        assert unet.conv_in.weight.is_contiguous()
        assert torch.equal(unet(*args, **kwargs)[0], expected)


class Unswitchable:
    """A UNet of another library, with attention processors and little else."""

    attn_processors: ClassVar[dict[str, Any]] = {"attn.processor": "its own"}

    def set_attn_processor(self, processor: Any) -> None:
        raise AssertionError("changed")

    def enable_xformers_memory_efficient_attention(self) -> None:
        raise ModuleNotFoundError("Refer to its page on how to install xformers\nand more")


def test_a_unet_without_a_switch_is_refused_before_anything_changes() -> None:
    with pytest.raises(OptionError, match="fused_qkv is not for Unswitchable, which cannot fuse; leave it out"):
        set_model_options(Unswitchable(), CompileOptions(attention="sdpa", fused_qkv=True))
    reason = "attention xformers cannot be used here: Refer to its page on how to install xformers; sdpa is torch's own"
    with pytest.raises(BackendError, match=f"^{reason}$"):
        set_model_options(Unswitchable(), CompileOptions(attention="xformers"))
    assert set_model_options(Unswitchable(), CompileOptions()) == []


def test_a_compiled_unet_draws_the_same_picture() -> None:
    pipe, compiler = sdxl_pipeline(), Compiler(Fake())
    plain = sample(pipe)
    pipe.unet = CompiledUNet(pipe.unet, compiler)
    assert torch.equal(sample(pipe), plain)
    assert (compiler.counters.compiles, compiler.counters.hits) == (1, 6)
    assert not torch.equal(sample(pipe, seed=1), plain)


def test_a_compiled_unet_has_the_attributes_of_its_unet() -> None:
    unet = sdxl_unet()
    compiled = CompiledUNet(unet, Compiler("eager"))
    assert compiled.config is unet.config
    assert compiled.add_embedding is unet.add_embedding
    assert compiled.dtype == torch.float32
    assert compiled.uncompiled is unet
    assert [parameter.data_ptr() for parameter in compiled.parameters()] == [p.data_ptr() for p in unet.parameters()]
    with pytest.raises(AttributeError, match="no_such_thing"):
        _ = compiled.no_such_thing
    assert not hasattr(compiled, "no_such_thing")
    compiled.to(torch.float64)
    assert unet.dtype == torch.float64
    compiled.enable_freeu(s1=0.6, s2=0.4, b1=1.1, b2=1.2)
    assert unet.up_blocks[0].s1 == 0.6


def test_what_is_set_on_a_compiled_unet_is_set_on_its_unet() -> None:
    tiny = small_unet()
    unet, before = tiny.unet, tiny(0)
    compiled: Any = CompiledUNet(unet, Compiler(Fake(Refreshable)))
    args, kwargs = tiny.inputs(0)
    with torch.no_grad():
        assert torch.equal(compiled(*args, **kwargs)[0], before)
        compiled.conv_in = small_unet(5).unet.conv_in
        assert unet.conv_in is compiled.conv_in
        assert not torch.equal(tiny(0), before)
        assert torch.equal(compiled(*args, **kwargs)[0], tiny(0))
        compiled.note = "mine"
        assert unet.note == "mine"
        del compiled.note
        assert not hasattr(unet, "note")
        compiled.load_state_dict(small_unet().unet.state_dict())
        assert torch.equal(compiled(*args, **kwargs)[0], before)
    assert list(compiled.state_dict()) == list(unet.state_dict())
    assert [name for name, _ in compiled.named_modules()] == [name for name, _ in unet.named_modules()]
    for name in ("uncompiled", "split_maker"):
        with pytest.raises(AttributeError, match=f"{name} is of CompiledUNet, not of the UNet, and cannot be changed"):
            setattr(compiled, name, None)
        with pytest.raises(AttributeError, match="cannot be changed"):
            delattr(compiled, name)


def test_methods_that_return_the_unet_return_the_compiled_one() -> None:
    unet = small_unet().unet
    compiled: Any = CompiledUNet(unet, Compiler("eager"))
    for made in (compiled.to(torch.float64), compiled.eval(), compiled.requires_grad_(False), compiled.float()):
        assert made is compiled
    assert compiled.get_submodule("conv_in") is unet.conv_in
    assert inspect.signature(compiled.forward) == inspect.signature(unet.forward)


def test_a_hook_on_a_compiled_unet_is_one_on_its_unet() -> None:
    tiny, calls = small_unet(), []
    compiled: Any = CompiledUNet(tiny.unet, Compiler("eager"))
    args, kwargs = tiny.inputs(0)
    handle = compiled.register_forward_hook(lambda module, _, output: calls.append(module) or (output[0] * 2,))
    with torch.no_grad():
        assert torch.equal(compiled(*args, **kwargs)[0], tiny(0))
    assert len(calls) == 2
    handle.remove()
    add_hook_to_module(compiled, ModelHook())  # accelerate's, which replaces the UNet's `forward`
    assert torch.equal(compiled(*args, **kwargs)[0], tiny(0))
    assert tiny.unet._hf_hook is compiled._hf_hook


def test_copies_of_a_compiled_unet_share_its_compiler_and_deep_ones_have_a_unet_of_their_own() -> None:
    tiny, compiler = small_unet(), Compiler(Fake(Frozen))
    compiled: Any = CompiledUNet(tiny.unet, compiler)
    args, kwargs = tiny.inputs(0)
    shallow, deep = copy.copy(compiled), copy.deepcopy({"unet": compiled})["unet"]
    assert [type(one) for one in (shallow, deep)] == [CompiledUNet] * 2
    assert shallow.uncompiled is tiny.unet
    assert deep.uncompiled is not tiny.unet
    assert shallow.split_maker is deep.split_maker is compiler
    with torch.no_grad():
        deep.conv_out.bias.add_(1)
        for one, counted in ((compiled, 1), (shallow, 1), (deep, 2)):
            assert torch.equal(one(*args, **kwargs)[0], one.uncompiled(*args, **kwargs)[0])
            assert compiler.counters.compiles == counted
        assert not torch.equal(deep(*args, **kwargs)[0], tiny(0))
    read = pickle.loads(pickle.dumps(compiled))
    assert type(read) is type(tiny.unet)
    assert torch.equal(read.conv_in.weight, tiny.unet.conv_in.weight)
    with pytest.raises(AttributeError):  # as copies are before they have their state
        _ = CompiledUNet.__new__(CompiledUNet).config


def with_lora(pipe: Any) -> Any:
    pipe.load_lora_weights(lora_weights(), adapter_name="toy")
    pipe.set_adapters("toy", adapter_weights=0.5)
    return pipe


def lora_weights() -> dict[str, Tensor]:
    """A LoRA file's contents for the small UNet."""
    unet = small_unet().unet
    torch.manual_seed(5)
    unet.add_adapter(LoraConfig(r=2, target_modules=["to_q", "conv1"], init_lora_weights=False))
    return {f"unet.{name}": weight for name, weight in get_peft_model_state_dict(unet).items()}


def test_a_compiled_unet_takes_what_a_pipeline_puts_on_its_unet() -> None:
    pipe = sd15_pipeline(unet=small_unet().unet)
    config = dict(pipe.config)
    pipe.unet = CompiledUNet(pipe.unet, Compiler(Fake(Frozen)))
    assert dict(pipe.config) == config  # diffusers notes the class of each component
    assert isinstance(pipe.unet, UNet2DConditionModel)
    assert isinstance(pipe.unet, nn.Module)
    seen = [sample(pipe, steps=2)]
    for put_on in (with_lora, lambda pipe: pipe.enable_freeu(s1=0.6, s2=0.4, b1=1.1, b2=1.2)):
        put_on(pipe)
        seen.append(sample(pipe, steps=2))
    expected = with_lora(sd15_pipeline(unet=small_unet().unet))
    assert torch.equal(seen[1], sample(expected, steps=2))
    expected.enable_freeu(s1=0.6, s2=0.4, b1=1.1, b2=1.2)
    assert torch.equal(seen[2], sample(expected, steps=2))
    pipe.disable_freeu()
    pipe.unload_lora_weights()
    assert torch.equal(sample(pipe, steps=2), seen[0])
    assert not torch.equal(seen[1], seen[0])
    assert not torch.equal(seen[2], seen[1])


def test_attaching_finds_the_unet_inside_and_detaching_puts_the_compiled_one_back() -> None:
    pipe, options = sd15_pipeline(unet=small_unet().unet), MIXED
    with speed_up(pipe, options):
        expected = sample(pipe, steps=10)
    compiler, unet = Compiler(Fake(Frozen)), pipe.unet
    compiled = pipe.unet = CompiledUNet(unet, compiler)
    plain = sample(pipe, steps=10)
    counted = compiler.counters.hits
    with speed_up(pipe, options) as run:
        passes = record_passes(run)
        assert isinstance(pipe.unet, type(unet))
        stand_in = pipe.unet
        assert torch.equal(sample(pipe, steps=10), expected)
        with pytest.raises(AttachError, match="attached to this pipeline"):
            attach(pipe)
    assert passes == ["FrrFrrFrrF"]
    assert compiler.counters.hits == counted + 10
    assert pipe.unet is compiled
    assert torch.equal(sample(pipe, steps=10), plain)
    hits = compiler.counters.hits
    with torch.no_grad():  # a stand-in that somebody kept is what was in its place
        stand_in(torch.zeros(1, 4, 16, 16), 1, torch.zeros(1, 5, 24))
    assert compiler.counters.hits == hits + 1


def test_a_compiler_that_is_given_comes_before_that_of_the_compiled_unet() -> None:
    pipe, own, given = sd15_pipeline(), Compiler(Fake()), Compiler(Fake())
    pipe.unet = CompiledUNet(pipe.unet, own)
    with speed_up(pipe, UNIFORM, split=given):
        sample(pipe, steps=10)
    assert (own.counters.hits, given.counters.hits) == (0, 10)


def test_an_error_inside_the_block_puts_the_compiled_unet_back() -> None:
    pipe = sd15_pipeline(unet=sd15_unet())
    compiled = pipe.unet = CompiledUNet(pipe.unet, Compiler("eager"))
    with pytest.raises(KeyError), speed_up(pipe, UNIFORM):
        raise KeyError
    assert pipe.unet is compiled
