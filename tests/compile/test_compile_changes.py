"""What is put on the UNet later: graphs that hold all of the model for constants must be made anew, and only then."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor
from fakes import Fake, Frozen, Refreshable, raising, small_unet
from models import Call, TinyUNet, sd15_pipeline, sd15_unet, tiny_unet
from peft import LoraConfig
from runs import record_passes, sample
from torch import Tensor, nn

from skipstep import DeepCache, speed_up
from skipstep.compile import CompiledSplit, CompileOptions, Compiler
from skipstep.compile.passes import FullPass
from skipstep.errors import CompileFallbackWarning

pytestmark = pytest.mark.usefixtures("no_grad")


@pytest.fixture(scope="module")
def small() -> TinyUNet:
    """Shared, so not to be changed."""
    return small_unet()


def add_lora(unet: Any, name: str = "toy", **options: Any) -> None:
    torch.manual_seed(5)
    targets = ["to_q", "to_v", "conv_in", "conv1"]
    unet.add_adapter(LoraConfig(r=2, target_modules=targets, init_lora_weights=False, **options), adapter_name=name)


def enable_freeu(unet: Any) -> None:
    unet.enable_freeu(s1=0.6, s2=0.4, b1=1.1, b2=1.2)


class Louder(AttnProcessor):
    """An attention whose result is scaled."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        output: Tensor = super().__call__(*args, **kwargs) * self.scale
        return output


CHANGES: dict[str, Callable[[Any], object]] = {
    "LoRA": add_lora,
    "FreeU": enable_freeu,
    "processor": lambda unet: unet.set_attn_processor(Louder(2.0)),
    "child": lambda unet: setattr(unet, "conv_in", small_unet(5).unet.conv_in),
    "deep child": lambda unet: unet.mid_block.resnets.__setitem__(0, small_unet(5).unet.mid_block.resnets[0]),
    "hook": lambda unet: unet.conv_in.register_forward_hook(lambda _, __, output: output * 1.5),
}


def run_both(split: CompiledSplit, tiny: TinyUNet) -> list[Tensor]:
    """A full and a reuse pass on one input, which the plain UNet answers alike."""
    args, kwargs = tiny.inputs(0)
    output, features = split.full(*args, **kwargs)
    return [output[0], split.reuse(features, *args, **kwargs)[0]]


@pytest.mark.parametrize("change", CHANGES)
def test_both_passes_are_compiled_anew_once_and_are_those_of_the_changed_model(change: str) -> None:
    tiny = small_unet()
    split = Compiler(Fake(Frozen))(tiny.unet, (2,))
    before = tiny(0)
    assert all(torch.equal(output, before) for output in run_both(split, tiny))
    CHANGES[change](tiny.unet)
    after = tiny(0)
    assert not torch.equal(after, before)
    for _ in range(2):
        assert all(torch.equal(output, after) for output in run_both(split, tiny))
    assert split.counters.compiles == 4


def test_a_run_ends_with_the_graphs_that_it_began_the_gap_with() -> None:
    tiny = small_unet()
    split = Compiler(Fake(Frozen))(tiny.unet, (2,))
    args, kwargs = tiny.inputs(0)
    before = run_both(split, tiny)[0]
    _, features = split.full(*args, **kwargs)
    enable_freeu(tiny.unet)
    assert torch.equal(split.reuse(features, *args, **kwargs)[0], before)
    assert torch.equal(split.full(*args, **kwargs)[0][0], tiny(0))
    assert not torch.equal(before, tiny(0))


def test_the_scale_of_an_adapter_is_followed() -> None:
    tiny = small_unet()
    add_lora(tiny.unet)
    split = Compiler(Fake(Frozen))(tiny.unet, (2,))
    seen = []
    for weight in (1.0, 0.25):
        tiny.unet.set_adapters("toy", weights=weight)
        seen.append(tiny(0))
        assert all(torch.equal(output, seen[-1]) for output in run_both(split, tiny))
    tiny.unet.disable_adapters()
    seen.append(tiny(0))
    assert all(torch.equal(output, seen[-1]) for output in run_both(split, tiny))
    assert not any(torch.equal(seen[i], seen[i - 1]) for i in range(3))
    assert split.counters.compiles == 6


def test_a_scale_of_a_single_call_is_another_graph_and_no_change_of_the_model() -> None:
    """diffusers multiplies it into every layer and divides it out again; 0.9 * 0.3 / 0.3 is not 0.9."""
    tiny = small_unet()
    add_lora(tiny.unet, lora_alpha=2)
    tiny.unet.set_adapters("toy", weights=0.9)
    split = Compiler(Fake())(tiny.unet, (2,))
    args, kwargs = tiny.inputs(0)
    for _ in range(2):
        for scale in (0.3, 0.8):
            more = {**kwargs, "cross_attention_kwargs": {"scale": scale}}
            output, features = split.full(*args, **more)
            assert torch.equal(output[0], tiny.unet(*args, **more)[0])
            assert torch.equal(split.reuse(features, *args, **more)[0], output[0])
    assert split.counters.compiles == 4


def test_a_number_of_a_processor_is_followed() -> None:
    tiny, processor = small_unet(), Louder(1.0)
    tiny.unet.set_attn_processor(processor)
    split = Compiler(Fake(Frozen))(tiny.unet, (2,))
    before = run_both(split, tiny)[0]
    processor.scale = 1.5
    assert not torch.equal(tiny(0), before)
    assert all(torch.equal(output, tiny(0)) for output in run_both(split, tiny))


@pytest.mark.parametrize("branches", [(2,), (0, 3)])
def test_weights_that_were_written_to_are_handed_to_the_graphs_that_hold_them(branches: tuple[int, ...]) -> None:
    tiny, graphs = small_unet(), list[Refreshable]()

    def make(module: nn.Module) -> Refreshable:
        graphs.append(Refreshable(module))
        return graphs[-1]

    split: Any = Compiler(Fake(make))(tiny.unet, branches)
    args, kwargs = tiny.inputs(0)
    counters = split.counters

    def outputs() -> list[Tensor]:
        output, _ = split.full(*args, **kwargs)
        made = [split.at(branch).full(*args, **kwargs) for branch in branches]
        reused = [split.at(at).reuse(made[n][1], *args, **kwargs)[0] for n, at in enumerate(branches)]
        return [output[0], *reused]

    before = tiny(0)
    assert all(torch.equal(output, before) for output in outputs())
    passes = 1 + len(branches)
    for times, change in enumerate((lambda: tiny.unet.conv_in.weight.add_(0.1), replace_weights(tiny.unet)), 1):
        change()
        after = tiny(0)
        assert not torch.equal(after, before)
        for _ in range(2):
            assert all(torch.equal(output, after) for output in outputs())
        assert counters.refreshes == times * passes
        before = after
    assert counters.compiles == len(graphs) == passes
    for graph in graphs:
        assert len(graph.modules) == 3
        assert len({id(module) for module in graph.modules}) == 1
    assert len({id(graph.modules[0]) for graph in graphs}) == passes


def replace_weights(unet: Any) -> Callable[[], Any]:
    return lambda: unet.load_state_dict(small_unet(7).unet.state_dict())


def test_graphs_that_share_the_weights_of_the_model_are_left_alone() -> None:
    tiny = small_unet()
    split = Compiler(Fake())(tiny.unet, (2,))
    run_both(split, tiny)
    tiny.unet.conv_in.weight.add_(0.1)
    assert all(torch.equal(output, tiny(0)) for output in run_both(split, tiny))
    assert (split.counters.compiles, split.counters.refreshes) == (2, 0)


class Unwilling(Refreshable):
    """A graph that cannot take other weights."""

    def refresh(self, module: nn.Module) -> None:
        raise ValueError("other weights")


def test_a_graph_that_cannot_take_new_weights_gives_way_to_the_model() -> None:
    tiny = small_unet()
    split = Compiler(Fake(Unwilling))(tiny.unet, (2,))
    run_both(split, tiny)
    tiny.unet.conv_in.weight.add_(0.1)
    with pytest.warns(CompileFallbackWarning, match="eagerly: ValueError: other weights") as record:
        made = run_both(split, tiny)
    assert len(record) == 2
    made += run_both(split, tiny)
    assert all(torch.equal(output, tiny(0)) for output in made)
    counters = split.counters
    assert (counters.compiles, counters.refreshes, counters.hits, counters.eager) == (2, 0, 2, 4)


def test_an_interrupt_while_weights_are_handed_over_leaves_no_graph_with_those_of_before() -> None:
    tiny = small_unet()
    split = Compiler(Fake(Refreshable))(tiny.unet, (2,))
    run_both(split, tiny)
    first: Any = next(iter(split._graphs._entries.values())).graph
    first.refresh = raising(KeyboardInterrupt())
    tiny.unet.conv_in.weight.add_(0.1)
    with pytest.raises(KeyboardInterrupt):
        run_both(split, tiny)
    assert all(torch.equal(output, tiny(0)) for output in run_both(split, tiny))


def fingerprints(unet: Any, inputs: Call, branches: tuple[int, ...] = (2,), **options: Any) -> list[str]:
    """Of a full and a reuse pass, under which backends keep graphs on disk."""
    args, kwargs = inputs
    outputs = (args[0],) * (1 + len(branches))
    backend = Fake(
        lambda module: lambda *_: outputs if isinstance(module, FullPass) else outputs[:1],  # no pass is run
        supports=("dynamic", "max_autotune"),
    )
    split: Any = Compiler(backend, CompileOptions(**options))(unet, branches)
    split.full(*args, **kwargs)
    split.at(branches[-1]).reuse(args[0], *args, **kwargs)
    return [spec.fingerprint for spec in backend.specs]


STATES: dict[str, Callable[[Any], object]] = {
    **CHANGES,
    "LoRA and FreeU": lambda unet: (add_lora(unet), enable_freeu(unet)),
    "weaker LoRA": lambda unet: (add_lora(unet), unet.set_adapters("toy", weights=0.5)),
    "LoRA of another name": lambda unet: add_lora(unet, "other"),
    "disabled LoRA": lambda unet: (add_lora(unet), unet.disable_adapters()),
    "LoRA of another alpha": lambda unet: add_lora(unet, lora_alpha=3),
    "weaker FreeU": lambda unet: unet.enable_freeu(s1=0.7, s2=0.4, b1=1.1, b2=1.2),
    "louder processor": lambda unet: unet.set_attn_processor(Louder(3.0)),
}
SAME = ("child", "deep child")  # other weights only, which a fingerprint leaves out


def test_a_file_name_is_for_one_state_of_the_model(small: TinyUNet) -> None:
    """Else a package made with FreeU would be loaded for the model without it."""
    inputs = small.inputs(0)
    plain = fingerprints(small.unet, inputs)
    seen = {"plain": plain}
    for name, change in STATES.items():
        unet = small_unet().unet
        change(unet)
        seen[name] = fingerprints(unet, inputs)
    assert [name for name, made in seen.items() if made == plain] == ["plain", *SAME]
    others = [name for kind, made in seen.items() if kind not in SAME for name in made]
    assert len(set(others)) == len(others) == 2 * (1 + len(STATES) - len(SAME))


@pytest.mark.parametrize("change", ["LoRA", "FreeU", "processor", "hook"])
def test_a_file_name_is_the_same_for_another_model_made_alike(small: TinyUNet, change: str) -> None:
    made = []
    for seed in (0, 1):  # with other weights, hooks and objects, as in another process
        unet = small_unet(seed).unet
        CHANGES[change](unet)
        made.append(fingerprints(unet, small.inputs(0)))
    assert made[0] == made[1]


def test_a_file_name_is_for_one_pass_branch_shape_type_and_set_of_options(small: TinyUNet) -> None:
    unet, inputs = small.unet, small.inputs(0)
    (latents, timestep, context), kwargs = inputs
    seen = [
        fingerprints(unet, inputs),
        fingerprints(unet, inputs, (1,)),
        fingerprints(unet, inputs, (0, 3)),
        fingerprints(unet, inputs, dynamic=True),
        fingerprints(unet, inputs, max_autotune=True),
        fingerprints(unet, small.inputs(0, (8, 8))),
        fingerprints(unet, ((latents, timestep.double(), context), kwargs)),
        fingerprints(unet, ((latents, timestep, context), {**kwargs, "cross_attention_kwargs": {"scale": 0.5}})),
        fingerprints(sd15_unet(), tiny_unet("sd15").inputs(0)),
        fingerprints(small_unet().unet.double(), inputs),
    ]
    names = [name for pair in seen for name in pair]
    assert len(set(names)) == len(names) == 20
    assert fingerprints(unet, small.inputs(1)) == seen[0]


def test_a_file_name_is_the_same_whatever_does_not_change_the_code_of_its_pass(small: TinyUNet) -> None:
    unet, inputs = small.unet, small.inputs(0)
    made = []
    for options in (CompileOptions(), CompileOptions(verify=True), CompileOptions(max_graphs=7)):
        backend = Fake()
        run_both(Compiler(backend, options)(unet, (2,)), small)
        made.append([spec.fingerprint for spec in backend.specs])
    assert made[1] == made[2] == made[0]
    full, reuse = fingerprints(unet, inputs)
    both, of_two = fingerprints(unet, inputs, (0, 2))
    assert of_two == reuse  # that branch 0 is cut too is nothing to the pass at branch 2
    assert both != full  # which has another output


@pytest.mark.parametrize("option", [{"channels_last": True}, {"fused_qkv": True}])
def test_an_option_that_changes_the_unet_changes_its_file_names(small: TinyUNet, option: dict[str, bool]) -> None:
    plain = fingerprints(small.unet, small.inputs(0))
    changed = fingerprints(small_unet().unet, small.inputs(0), **option)
    assert len({*plain, *changed}) == 4


@contextmanager
def coarse_products() -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


AROUND: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "other autocast": lambda: torch.autocast("cpu", dtype=torch.float16),
    "precision of products": coarse_products,
}


def test_code_made_under_autocast_is_not_used_without_it(small: TinyUNet) -> None:
    """A package on disk has the casts in it, or has not; nothing checks that when it runs."""
    split = Compiler(Fake())(small.unet, (2,))
    names, compiles = [fingerprints(small.unet, small.inputs(0))], []
    for around in (nullcontext, *AROUND.values(), nullcontext):
        with around():
            run_both(split, small)
            compiles.append(split.counters.compiles)
            if around is not nullcontext:
                names.append(fingerprints(small.unet, small.inputs(0)))
    assert compiles == [2, 4, 6, 8, 8]
    assert len({name for pair in names for name in pair}) == 8


def test_a_lora_that_a_callback_loads_mid_run_takes_effect_as_without_a_compiler() -> None:
    def run(split: Compiler | None) -> tuple[Tensor, list[str]]:
        def callback(pipe: Any, step: int, _: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            if step == 4:
                add_lora(pipe.unet)
            return tensors

        pipe = sd15_pipeline(unet=small_unet().unet)
        with speed_up(pipe, DeepCache(interval=3), split=split) as attached:
            passes = record_passes(attached)
            latents = sample(pipe, steps=10, callback_on_step_end=callback)
        return latents, passes

    compiler = Compiler(Fake())
    expected, made = run(None), run(compiler)
    assert torch.equal(made[0], expected[0])
    assert made[1] == expected[1] == ["FrrFrrFrrF"]
    assert compiler.counters.compiles == 4
    pipe = sd15_pipeline(unet=small_unet().unet)
    with speed_up(pipe, DeepCache(interval=3)):
        assert not torch.equal(sample(pipe, steps=10), expected[0])


def test_two_unets_of_one_shape_have_graphs_of_their_own() -> None:
    compiler = Compiler(Fake(Frozen))
    for tiny in (small_unet(), small_unet(1)):
        assert all(torch.equal(output, tiny(0)) for output in run_both(compiler(tiny.unet, (2,)), tiny))
    assert compiler.counters.compiles == 4
