"""Passes through graphs: exact, one graph for each pass, branch and shape, and every call counted."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate.hooks import ModelHook, add_hook_to_module
from diffusers.models.attention_processor import AttnProcessor
from fakes import Fake, Frozen, Refreshable, adapter_call, controlnet_call, small_unet
from models import Call, TinyUNet, tiny_unet

from skipstep.compile import CompileCounters, CompiledSplit, CompileOptions, Compiler
from skipstep.deepcache import DiffusersMixedSplit, DiffusersUNetSplit
from skipstep.errors import BranchError, CompileFallbackWarning, UnsupportedFeatureError, UnsupportedModelError

pytestmark = pytest.mark.usefixtures("no_grad")
BRANCHES = {"sdxl": (0, 2, 8), "sd15": (0, 3, 11), "svd": (0, 4)}


def compiled(unet: Any, *branches: int, backend: Any = "eager", **options: Any) -> CompiledSplit:
    return Compiler(backend, CompileOptions(**options))(unet, branches)


def counted(split: CompiledSplit) -> CompileCounters:
    return split.counters


@pytest.fixture(scope="module")
def small() -> TinyUNet:
    """Shared, so not to be changed."""
    return small_unet()


def test_both_passes_are_those_of_the_split_that_compiles_nothing(tiny: TinyUNet) -> None:
    size = tiny.sizes[-1]  # odd where the UNet takes it
    args, kwargs = tiny.inputs(0, size)
    other_args, other_kwargs = tiny.inputs(1, size)
    for branch in BRANCHES[tiny.name]:
        split, eager = compiled(tiny.unet, branch), DiffusersUNetSplit(tiny.unet, branch)
        assert split.branch == branch
        output, features = split.full(*args, **kwargs)
        expected, expected_features = eager.full(*args, **kwargs)
        assert type(output) is tuple
        assert torch.equal(output[0], expected[0])
        assert torch.equal(features, expected_features)
        assert expected[0].std() > 1e-3
        kept = features.clone()
        reused = split.reuse(features, *other_args, **other_kwargs)
        assert torch.equal(reused[0], eager.reuse(features, *other_args, **other_kwargs)[0])
        assert not torch.equal(reused[0], tiny(1, size))  # features are used
        assert torch.equal(features, kept)
        counters = counted(split)
        assert (counters.compiles, counters.hits, counters.eager, counters.failures) == (0, 0, 2, [])


def test_several_branches_are_those_of_the_mixed_split(tiny: TinyUNet) -> None:
    branches = BRANCHES[tiny.name]
    args, kwargs = tiny.inputs(0)
    other_args, other_kwargs = tiny.inputs(1)
    split: Any = compiled(tiny.unet, *reversed(branches))
    eager = DiffusersMixedSplit(tiny.unet, branches)
    output, features = split.full(*args, **kwargs)
    expected, expected_features = eager.full(*args, **kwargs)
    assert torch.equal(output[0], expected[0])
    assert list(features) == list(branches)
    for branch in branches:
        assert torch.equal(features[branch], expected_features[branch])
        reused = split.at(branch).reuse(features[branch], *other_args, **other_kwargs)[0]
        assert torch.equal(reused, eager.at(branch).reuse(features[branch], *other_args, **other_kwargs)[0])
        assert not torch.equal(reused, tiny(1))
        alone, taken = split.at(branch).full(*args, **kwargs)
        assert torch.equal(alone[0], expected[0])
        assert torch.equal(taken, expected_features[branch])


def test_a_single_branch_can_be_asked_for_by_its_number(tiny_sdxl: TinyUNet) -> None:
    split = compiled(tiny_sdxl.unet, 3)
    args, kwargs = tiny_sdxl.inputs(0)
    _, features = split.at(3).full(*args, **kwargs)
    assert torch.equal(features, split.full(*args, **kwargs)[1])
    assert torch.equal(split.at(3).reuse(features, *args, **kwargs)[0], tiny_sdxl(0))


@pytest.mark.parametrize(
    ("name", "return_dict"), [("sdxl", None), ("sdxl", True), ("sdxl", False), ("sd15", None), ("svd", None)]
)
def test_the_output_is_in_what_the_unet_would_put_it(name: str, return_dict: bool | None) -> None:
    tiny = tiny_unet(name)
    args, kwargs = tiny.inputs(0)
    del kwargs["return_dict"]
    if return_dict is not None:
        kwargs["return_dict"] = return_dict
    split = compiled(tiny.unet, 1)
    expected = tiny.unet(*args, **kwargs)
    output, features = split.full(*args, **kwargs)
    for made in (output, split.reuse(features, *args, **kwargs)):
        assert type(made) is type(expected)
        assert torch.equal(made[0], expected[0])
        if return_dict is not False:
            assert torch.equal(made.sample, expected.sample)


TIMESTEPS: dict[str, Callable[[int], Any]] = {
    "int": lambda value: value,
    "float": lambda value: value + 0.25,
    "tensor": lambda value: torch.tensor(value),
    "float tensor": lambda value: torch.tensor(value + 0.25),
    "one": lambda value: torch.tensor([value]),
    "batch": lambda value: torch.tensor([value, value - 300]),
}


@pytest.mark.parametrize(("name", "kind"), [*(("small", kind) for kind in TIMESTEPS), ("svd", "float")])
def test_a_timestep_of_any_kind_is_no_constant_of_the_graph(name: str, kind: str) -> None:
    tiny = small_unet() if name == "small" else tiny_unet(name)
    (latents, _, context), kwargs = tiny.inputs(0)
    split = compiled(tiny.unet, 2, backend=Fake(Frozen))
    eager = DiffusersUNetSplit(tiny.unet, 2)
    seen = []
    for value in (900, 420):
        args = (latents, TIMESTEPS[kind](value), context)
        output, features = split.full(*args, **kwargs)
        reused = split.reuse(features, *args, **kwargs)
        expected = eager.full(*args, **kwargs)[0][0]
        seen.append(expected)
        assert torch.equal(output[0], expected)
        assert torch.equal(reused[0], expected)
    assert not torch.equal(*seen)
    assert counted(split).compiles == 2


def test_samplers_of_whole_and_of_other_timesteps_share_a_graph(small: TinyUNet) -> None:
    (latents, _, context), kwargs = small.inputs(0)
    split = compiled(small.unet, 2, backend=Fake(Frozen))
    for timestep in (901, 901.0, torch.tensor(901), torch.tensor(900.5), torch.tensor(3, dtype=torch.int32)):
        expected = small.unet(latents, timestep, context, **kwargs)[0]
        assert torch.equal(split.full(latents, timestep, context, **kwargs)[0][0], expected)
    assert counted(split).compiles == 1


def test_positional_or_keyword_tuple_or_class_is_one_graph(small: TinyUNet) -> None:
    tiny = small
    args, kwargs = tiny.inputs(0)
    kwargs.pop("return_dict")
    names = ("sample", "timestep", "encoder_hidden_states")
    named = dict(zip(names, args, strict=True))
    calls: list[Call] = [
        (args, {**kwargs, "return_dict": False}),
        (args[:1], {**kwargs, "encoder_hidden_states": args[2], "return_dict": False, "timestep": args[1]}),
        (args, kwargs),
        ((), {"return_dict": True, **kwargs, **named}),
    ]
    split = compiled(tiny.unet, 0, backend=Fake())
    for call_args, call_kwargs in calls:
        output, features = split.full(*call_args, **call_kwargs)
        assert torch.equal(output[0], tiny(0))
        assert torch.equal(split.reuse(features, *call_args, **call_kwargs)[0], tiny(0))
    assert counted(split).compiles == 2
    assert counted(split).hits == 8


def test_one_graph_for_each_pass_branch_and_shape_and_every_call_counted(small: TinyUNet) -> None:
    tiny, backend = small, Fake()
    split: Any = compiled(tiny.unet, 0, 3, backend=backend)
    for _ in range(2):
        for size in tiny.sizes:
            args, kwargs = tiny.inputs(0, size)
            for _ in range(2):
                _, features = split.full(*args, **kwargs)
                for branch in (0, 3):
                    assert torch.equal(split.at(branch).reuse(features[branch], *args, **kwargs)[0], tiny(0, size))
    counters = counted(split)
    assert counters.compiles == len(backend.specs) == 3 * 2
    assert counters.hits == 3 * 8
    assert (counters.eager, counters.loads, counters.refreshes, counters.failures) == (0, 0, 0, [])
    shapes = [" x ".join(map(str, tiny.inputs(0, size)[0][0].shape)) for size in tiny.sizes]
    kinds = ("full pass", "reuse pass at branch 0", "reuse pass at branch 3")
    assert [spec.name for spec in backend.specs] == [f"{kind}, {shape}" for shape in shapes for kind in kinds]
    assert len({spec.fingerprint for spec in backend.specs}) == 6
    for spec in backend.specs:
        assert all(isinstance(value, torch.Tensor) for value in spec.example)


def test_each_other_input_is_another_graph(small: TinyUNet) -> None:
    """A type, a value that is no tensor, or which of two inputs a tensor is: all are constants of a graph."""
    split = compiled(small.unet, 0, backend=Fake(Frozen))
    (latents, timestep, context), kwargs = small.inputs(0)
    mask = torch.tensor([[1.0] * 4 + [0.0]] * 2)
    scale = {"cross_attention_kwargs": {"scale": 0.5}}
    calls = [
        ((latents, timestep, context), kwargs),
        ((latents, timestep.double(), context), kwargs),
        ((latents, timestep, context), {**kwargs, **scale}),
        ((latents, timestep, context), {**kwargs, "cross_attention_kwargs": {"scale": 1}}),
        ((latents, timestep, context), {**kwargs, "cross_attention_kwargs": {"scale": 1.0}}),
        ((latents, timestep, context), {**kwargs, "encoder_attention_mask": mask}),
        ((latents, timestep, context), {**kwargs, "encoder_attention_mask": None, "attention_mask": None}),
    ]
    for number, (args, more) in enumerate(calls, 1):
        for _ in range(2):
            assert torch.equal(split.full(*args, **more)[0][0], small.unet(*args, **more)[0])
        assert counted(split).compiles == number


def test_one_optional_input_is_not_mistaken_for_another_of_its_shape(small: TinyUNet) -> None:
    split = compiled(small.unet, 0, backend=Fake(Frozen))
    (latents, timestep, context), kwargs = small.inputs(0)
    mask = torch.tensor([[1.0] * 4 + [0.0]] * 2)
    made = []
    for given, absent in (("encoder_attention_mask", "class_labels"), ("class_labels", "encoder_attention_mask")):
        more = {**kwargs, given: mask, absent: None}
        made.append(small.unet(latents, timestep, context, **more)[0])
        assert torch.equal(split.full(latents, timestep, context, **more)[0][0], made[-1])
    assert not torch.equal(*made)  # this model has no use for the second
    assert counted(split).compiles == 2


@pytest.mark.parametrize("name", ["sdxl", "svd"])
def test_one_dynamic_graph_serves_every_size(name: str) -> None:
    tiny = tiny_unet(name)
    split = compiled(tiny.unet, 2, backend=Fake(Frozen), dynamic=True)
    for size in tiny.sizes:
        args, kwargs = tiny.inputs(0, size)
        output, features = split.full(*args, **kwargs)
        assert torch.equal(output[0], tiny(0, size))
        assert torch.equal(split.reuse(features, *args, **kwargs)[0], tiny(0, size))
    assert counted(split).compiles == 2
    assert counted(split).hits == 2 * len(tiny.sizes)


def test_the_shape_that_was_not_used_for_longest_makes_room(small: TinyUNet) -> None:
    split = compiled(small.unet, 0, backend=Fake(), max_graphs=2)
    one, two, three = (8, 8), (8, 12), (12, 8)
    compiles = []
    for size in (one, two, one, three, one, three, two, three, one):
        args, kwargs = small.inputs(0, size)
        assert torch.equal(split.full(*args, **kwargs)[0][0], small(0, size))
        compiles.append(counted(split).compiles)
    assert compiles == [1, 2, 2, 3, 3, 3, 4, 4, 5]
    assert len(split._graphs._entries) == 2


@pytest.mark.parametrize("name", ["sd15", "sdxl"])
def test_controlnet_residuals_are_exact(name: str) -> None:
    tiny = tiny_unet(name)
    split: Any = compiled(tiny.unet, *BRANCHES[name], backend=Fake())
    args, kwargs = controlnet_call(tiny)
    expected = tiny.unet(*args, **kwargs)[0]
    assert not torch.equal(expected, tiny(0))
    for _ in range(2):
        output, features = split.full(*args, **kwargs)
        assert torch.equal(output[0], expected)
        for branch, taken in features.items():
            assert torch.equal(split.at(branch).reuse(taken, *args, **kwargs)[0], expected), branch
    assert counted(split).compiles == 1 + len(features)
    plain_args, plain_kwargs = tiny.inputs(0)  # and the same UNet without them is another graph
    assert torch.equal(split.full(*plain_args, **plain_kwargs)[0][0], tiny(0))


@pytest.mark.parametrize("return_dict", [True, False])
@pytest.mark.parametrize("name", ["sd15", "sdxl"])
def test_the_list_of_a_t2i_adapter_is_exact_and_left_whole(name: str, return_dict: bool) -> None:
    tiny = tiny_unet(name)
    args, kwargs = adapter_call(tiny)
    kwargs["return_dict"] = return_dict
    key = "down_intrablock_additional_residuals"
    expected = tiny.unet(*args, **{**kwargs, key: list(kwargs[key])})[0]
    assert not torch.equal(expected, tiny(0))
    split: Any = compiled(tiny.unet, 0, 3, 6)
    whole, given = list(kwargs[key]), [residual.clone() for residual in kwargs[key]]
    for _ in range(2):
        output, features = split.full(*args, **kwargs)
        assert torch.equal(output[0], expected)
        for branch, taken in features.items():
            assert torch.equal(split.at(branch).reuse(taken, *args, **kwargs)[0], expected), branch
    assert [one is other for one, other in zip(kwargs[key], whole, strict=True)] == [True] * 4
    assert all(map(torch.equal, whole, given))


def test_a_t2i_adapter_inside_a_block_is_refused_as_without_a_compiler() -> None:
    tiny = tiny_unet("sd15")
    split = compiled(tiny.unet, 1)
    args, kwargs = adapter_call(tiny)
    _, features = split.full(*args, **kwargs)
    with pytest.raises(UnsupportedFeatureError, match="T2I-Adapter adds to down block 0, which branch 1 cuts through"):
        split.reuse(features, *args, **kwargs)


class Weighing(AttnProcessor):
    """A processor that takes an object of its user's own."""

    def __call__(self, *args: Any, weight: Any = None, **kwargs: Any) -> Any:
        output = super().__call__(*args, **kwargs)
        return output if weight is None else output * weight.value


@pytest.mark.parametrize("return_dict", [True, False])
def test_a_call_that_no_graph_can_be_named_after_runs_eagerly_and_says_so_once(return_dict: bool) -> None:
    tiny, backend = small_unet(), Fake(Frozen)
    tiny.unet.set_attn_processor(Weighing())
    split = compiled(tiny.unet, 2, backend=backend)
    args, kwargs = tiny.inputs(0)
    kwargs["return_dict"] = return_dict
    seen = [tiny(0)]

    def run(value: float) -> None:
        more = {**kwargs, "cross_attention_kwargs": {"weight": SimpleNamespace(value=value)}}
        output, features = split.full(*args, **more)
        seen.append(tiny.unet(*args, **more)[0])
        assert torch.equal(output[0], seen[-1])
        assert torch.equal(split.reuse(features, *args, **more)[0], seen[-1])

    with pytest.warns(CompileFallbackWarning) as record:
        run(0.5)
    run(0.25)  # warnings are errors here
    assert not any(torch.equal(seen[i], seen[i - 1]) for i in range(3))
    reason = "graphs take tensors and plain values"
    assert [str(warning.message) for warning in record] == [
        f"fake could not compile calls with types.SimpleNamespace, which run eagerly: {reason}"
    ]
    counters = counted(split)
    assert (counters.compiles, counters.hits, counters.eager) == (0, 0, 4)
    assert counters.failures == [f"calls with types.SimpleNamespace: {reason}"]
    assert torch.equal(split.full(*args, **kwargs)[0][0], seen[0])  # the next plain call is compiled
    assert (counters.compiles, counters.hits) == (1, 1)


def test_such_a_call_is_nothing_to_warn_of_where_all_run_eagerly(small: TinyUNet) -> None:
    args, kwargs = small.inputs(0)
    split = compiled(small.unet, 0)
    output, _ = split.full(*args, **kwargs, class_labels={1, 2})  # of no use to this model
    assert torch.equal(output[0], small(0))
    assert counted(split).failures == []


class Doubling(ModelHook):
    """Changes what goes in and what comes out, as hooks that move tensors do."""

    def __init__(self) -> None:
        self.calls = ""

    def pre_forward(self, module: Any, *args: Any, **kwargs: Any) -> Call:
        self.calls += "<"
        return (args[0] * 2, *args[1:]) if args else (), kwargs if args else {**kwargs, "sample": kwargs["sample"] * 2}

    def post_forward(self, module: Any, output: Any) -> Any:
        self.calls += ">"
        return (output[0] * 2,)


@pytest.mark.parametrize("branches", [(2,), (0, 2)])
def test_the_hook_that_accelerate_puts_on_the_unet_is_run_once_around_each_pass(branches: tuple[int, ...]) -> None:
    tiny, hook = tiny_unet("sd15"), Doubling()
    plain = tiny(0)
    add_hook_to_module(tiny.unet, hook)
    expected = tiny(0)
    assert not torch.equal(expected, plain)
    hook.calls = ""
    split = compiled(tiny.unet, *branches)
    args, kwargs = tiny.inputs(0)
    output, _ = split.full(*args, **kwargs)
    _, features = split.at(2).full(*args, **kwargs)
    assert torch.equal(output[0], expected)
    assert torch.equal(split.at(2).reuse(features, *args, **kwargs)[0], expected)
    assert hook.calls == "<>" * 3


def test_threads_that_share_a_compiler_take_turns() -> None:
    """The features of a reuse pass are put where its UNet looks for them, one pass at a time."""
    tiny, inside, second_ran = small_unet(), threading.Event(), threading.Event()
    compiler = Compiler("eager")
    calls = [tiny.inputs(seed)[0] for seed in (0, 1)]
    features = [compiler(tiny.unet, (2,)).full(*args, return_dict=False)[1] for args in calls]

    def pause(*_: Any) -> None:
        if threading.current_thread() is first:
            inside.set()
            second_ran.wait(0.2)
        else:
            second_ran.set()

    def run(number: int) -> None:
        with torch.no_grad():
            if number:
                inside.wait(60)
            made[number] = compiler(tiny.unet, (2,)).reuse(features[number], *calls[number], return_dict=False)[0]

    made: dict[int, torch.Tensor] = {}
    tiny.unet.conv_in.register_forward_hook(pause)
    first, second = (threading.Thread(target=run, args=(number,)) for number in (0, 1))
    first.start()
    second.start()
    first.join(60)
    second.join(60)
    assert second_ran.is_set()
    for seed in (0, 1):
        assert torch.equal(made[seed], tiny(seed))
    assert not torch.equal(made[0], made[1])
    assert compiler.counters.eager == 4


def test_the_model_is_not_touched(tiny: TinyUNet) -> None:
    def footprint() -> list[Any]:
        return [(dict(m.__dict__), list(m._modules), len(m._forward_hooks)) for m in tiny.unet.modules()]

    before = [(set(attributes), children, hooks) for attributes, children, hooks in footprint()]
    split: Any = compiled(tiny.unet, 0, 2)
    args, kwargs = tiny.inputs(0)
    _, features = split.full(*args, **kwargs)
    split.at(2).reuse(features[2], *args, **kwargs)
    assert [(set(attributes), children, hooks) for attributes, children, hooks in footprint()] == before


def test_what_cannot_be_cut_is_refused_when_the_split_is_made(tiny_sdxl: TinyUNet) -> None:
    with pytest.raises(BranchError, match=r"branch must be 0\.\.8 for this UNet"):
        compiled(tiny_sdxl.unet, 0, 9)
    with pytest.raises(UnsupportedModelError, match="SimpleNamespace has no down_blocks"):
        compiled(SimpleNamespace(), 0)


def test_a_caller_is_told_of_each_graph_as_it_begins_and_ends(small: TinyUNet) -> None:
    told: list[tuple[str, float | None]] = []
    compiler = Compiler(Fake(name="quick"), on_compile=lambda what, seconds: told.append((what, seconds)))
    split = compiler(small.unet, (0,))
    args, kwargs = small.inputs(0)
    for _ in range(2):
        _, features = split.full(*args, **kwargs)
        split.reuse(features, *args, **kwargs)
    full, reuse = "quick: full pass, 2 x 4 x 16 x 16", "quick: reuse pass at branch 0, 2 x 4 x 16 x 16"
    assert [what for what, _ in told] == [full, full, reuse, reuse]
    assert [seconds is None for _, seconds in told] == [True, False, True, False]
    spent = sum(seconds for _, seconds in told if seconds is not None)
    assert compiler.counters.seconds == pytest.approx(spent, abs=1e-9)
    assert spent > 0


def test_a_graph_that_can_take_weights_keeps_its_own_until_they_change(small: TinyUNet) -> None:
    backend = Fake(Refreshable)
    split = compiled(small.unet, 0, backend=backend)
    args, kwargs = small.inputs(0)
    for _ in range(3):
        split.full(*args, **kwargs)
    assert counted(split).refreshes == 0
