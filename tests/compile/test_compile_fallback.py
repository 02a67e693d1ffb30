"""Graphs that cannot be made, that fail or that are wrong: the pass runs eagerly and says so once."""

from __future__ import annotations

import errno
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from fakes import Fake, Graph, raising, small_unet
from models import TinyUNet
from torch import Tensor, nn
from torch._dynamo.exc import BackendCompilerFailed

from skipstep.compile import CompiledSplit, CompileOptions, Compiler, check_outputs, relative_error
from skipstep.compile._memory import raise_if_out_of_memory
from skipstep.errors import CompileFallbackWarning, CompileMismatchError

pytestmark = pytest.mark.usefixtures("no_grad")
FULL, REUSE = "full pass, 2 x 4 x 16 x 16", "reuse pass at branch 2, 2 x 4 x 16 x 16"


@pytest.fixture(scope="module")
def small() -> TinyUNet:
    """Shared, so not to be changed."""
    return small_unet()


def split_of(tiny: TinyUNet, backend: Any, **options: Any) -> CompiledSplit:
    return Compiler(backend, CompileOptions(**options))(tiny.unet, (2,))


def run_both(split: CompiledSplit, tiny: TinyUNet) -> list[Tensor]:
    """A full and a reuse pass on one input, which the plain UNet answers alike."""
    args, kwargs = tiny.inputs(0)
    output, features = split.full(*args, **kwargs)
    return [output[0], split.reuse(features, *args, **kwargs)[0]]


def told(record: pytest.WarningsRecorder) -> list[str]:
    return [str(warning.message) for warning in record if warning.category is CompileFallbackWarning]


def test_a_pass_that_cannot_be_compiled_runs_eagerly_and_says_so_once(small: TinyUNet) -> None:
    split = split_of(small, Fake(raising(ValueError("no such kernel\nin a long trace")), name="broken"))
    with pytest.warns(CompileFallbackWarning) as record:
        made = run_both(split, small)
    reason = "ValueError: no such kernel"
    assert told(record) == [
        f"broken could not compile the {name}, which runs eagerly: {reason}" for name in (FULL, REUSE)
    ]
    made += run_both(split, small)  # warnings are errors here
    assert all(torch.equal(output, small(0)) for output in made)
    counters = split.counters
    assert counters.failures == [f"{FULL}: {reason}", f"{REUSE}: {reason}"]
    assert (counters.compiles, counters.hits, counters.eager) == (0, 0, 4)


def test_an_error_without_a_message_is_told_by_its_kind(small: TinyUNet) -> None:
    split = split_of(small, Fake(raising(NotImplementedError())))
    with pytest.warns(CompileFallbackWarning, match="eagerly: NotImplementedError: no message"):
        run_both(split, small)


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_an_interrupted_compile_is_no_failure_of_the_compiler(small: TinyUNet, stop: Any) -> None:
    backend = Fake(raising(stop()))
    split = split_of(small, backend)
    with pytest.raises(stop):
        run_both(split, small)
    assert split.counters.failures == []
    with pytest.raises(stop):  # and it is tried again
        run_both(split, small)


class Scripted:
    """The pass itself, which raises at one of its calls."""

    def __init__(self, module: nn.Module, error: Exception, at: int) -> None:
        self.module, self.error, self.at, self.calls = module, error, at, 0

    def __call__(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        self.calls += 1
        if self.calls == self.at:
            raise self.error
        outputs: tuple[Tensor, ...] = self.module(*tensors)
        return outputs


@pytest.mark.parametrize("at", [1, 2])
def test_a_graph_that_fails_is_not_used_again(small: TinyUNet, at: int) -> None:
    graphs: list[Scripted] = []

    def make(module: nn.Module) -> Graph:
        graphs.append(Scripted(module, RuntimeError("shape"), at if not graphs else 99))
        return graphs[-1]

    split = split_of(small, Fake(make))
    made = []
    for number in range(1, 4):
        if number == at:
            with pytest.warns(CompileFallbackWarning, match=f"{FULL}, which runs eagerly: RuntimeError: shape"):
                made += run_both(split, small)
        else:
            made += run_both(split, small)
    assert all(torch.equal(output, small(0)) for output in made)
    assert [graph.calls for graph in graphs] == [at, 3]  # the reuse pass keeps its own
    counters = split.counters
    assert (counters.compiles, counters.hits, counters.eager) == (2, at - 1 + 3, 4 - at)
    assert counters.failures == [f"{FULL}: RuntimeError: shape"]


def test_a_failure_at_one_shape_is_none_at_another(small: TinyUNet) -> None:
    backend = Fake()
    split = split_of(small, backend)
    backend._make = raising(ValueError("once"))
    with pytest.warns(CompileFallbackWarning, match="once"):
        run_both(split, small)
    backend._make = lambda module: module
    args, kwargs = small.inputs(0, (8, 8))
    assert torch.equal(split.full(*args, **kwargs)[0][0], small(0, (8, 8)))
    assert split.counters.hits == 1


def test_running_out_of_memory_is_told_to_the_caller_and_the_graph_is_kept(small: TinyUNet) -> None:
    split = split_of(small, Fake(lambda module: Scripted(module, torch.OutOfMemoryError("of 2 GiB"), 2)))
    run_both(split, small)
    with pytest.raises(torch.OutOfMemoryError, match="of 2 GiB"):
        run_both(split, small)
    args, kwargs = small.inputs(0)
    assert torch.equal(split.full(*args, **kwargs)[0][0], small(0))
    counters = split.counters
    assert (counters.compiles, counters.hits, counters.eager, counters.failures) == (2, 3, 0, [])


def test_what_the_model_itself_refuses_is_its_own_error(small: TinyUNet) -> None:
    split = split_of(small, Fake())
    (latents, timestep, context), kwargs = small.inputs(0)
    with (
        pytest.warns(CompileFallbackWarning, match="could not compile the full pass"),
        pytest.raises(RuntimeError, match="shapes cannot be multiplied"),
    ):
        split.full(latents, timestep, context[..., :7], **kwargs)


@pytest.mark.parametrize("moment", ["compiling", "tracing", "verifying", "refreshing"])
@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("of 2 GiB"), pytest.param(MemoryError("of 2 GiB"), marks=pytest.mark.slow)],
    ids=type,
)
def test_memory_that_runs_out_at_any_moment_is_told_to_the_caller(moment: str, error: Exception) -> None:
    """The eager pass would need as much, and a slower picture is not what somebody with a smaller one in mind wants."""
    tiny, failing = small_unet(), [error]

    def fail(*_: Any) -> Any:
        if failing:
            raise failing[0]

    def make(module: nn.Module) -> Any:
        if moment == "compiling":
            fail()
        if moment == "tracing":  # torch wraps what a backend raises

            def compile_graph(graph: Any, _: Any) -> Any:
                fail()
                return graph.forward

            traced = torch.compile(module, backend=compile_graph, fullgraph=True)
            traced(*backend.specs[-1].example)
            return traced
        return Holding(module, fail) if moment == "refreshing" else Scripted(module, error, 1 if failing else 0)

    backend = Fake(make)
    split = split_of(tiny, backend, verify=moment == "verifying")
    if moment == "refreshing":
        run_both(split, tiny)
        tiny.unet.conv_in.weight.add_(0.1)
    with pytest.raises(type(error), match="of 2 GiB"):
        run_both(split, tiny)
    assert split.counters.failures == []
    failing.clear()
    assert torch.allclose(run_both(split, tiny)[0], tiny(0), rtol=0, atol=1e-5)  # and it is tried again
    assert (split.counters.failures, split.counters.eager) == ([], 0)


class Holding:
    """A graph that holds weights of its own, and fails as it takes others."""

    def __init__(self, module: nn.Module, fail: Callable[[], None]) -> None:
        self.module, self.fail = module, fail

    def __call__(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        outputs: tuple[Tensor, ...] = self.module(*tensors)
        return outputs

    def refresh(self, _: nn.Module) -> None:
        self.fail()


@pytest.mark.parametrize(
    ("error", "is_told"),
    [
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:124] . DefaultCPUAllocator: can't allocate memory: 9 bytes"),
            True,
        ),
        (RuntimeError("Exception from src/core.cpp: std::bad_alloc"), True),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), True),
        (OSError(errno.ENOSPC, "No space left on device"), False),
        (ValueError("std::bad_alloc is a word"), False),
        (RuntimeError("no kernel"), False),
    ],
)
def test_memory_is_told_by_what_torch_and_the_system_say(error: Exception, is_told: bool) -> None:
    for wrapped in (error, BackendCompilerFailed(print, error, None)):
        if is_told:
            with pytest.raises(type(error)) as caught:
                raise_if_out_of_memory(wrapped)
            assert caught.value is error
        else:
            raise_if_out_of_memory(wrapped)


Wrong = Callable[[tuple[Tensor, ...]], tuple[Tensor, ...]]
WRONG: dict[str, tuple[Wrong, str]] = {
    "values": (lambda outputs: (outputs[0] * 1.01, *outputs[1:]), "differs from the model by 1.0e-02"),
    "one value": (lambda outputs: (_with_one(outputs[0], 1e4), *outputs[1:]), "differs from the model by"),
    "NaN": (lambda outputs: (_with_one(outputs[0], float("nan")), *outputs[1:]), "differs from the model by inf"),
    "infinity": (lambda outputs: (_with_one(outputs[0], float("inf")), *outputs[1:]), "differs from the model by inf"),
    "zeros": (lambda outputs: (outputs[0] * 0, *outputs[1:]), "differs from the model by 1.0e+00"),
    "shape": (lambda outputs: (outputs[0][:1], *outputs[1:]), "gives other shapes"),
    "flat": (lambda outputs: (outputs[0].flatten(), *outputs[1:]), "gives other shapes"),
    "type": (lambda outputs: (outputs[0].double(), *outputs[1:]), "gives torch.float64 for torch.float32"),
    "none": (lambda outputs: outputs[:0], "gives other shapes"),
    "one more": (lambda outputs: (*outputs, outputs[0]), "gives other shapes"),
    "last": (lambda outputs: (*outputs[:-1], outputs[-1] + 1), "differs from the model by"),
}


def _with_one(tensor: Tensor, value: float) -> Tensor:
    changed = tensor.clone()
    changed.view(-1)[5] = value
    return changed


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_graph_is_found_and_the_right_picture_given(small: TinyUNet, kind: str) -> None:
    spoil, expected = WRONG[kind]
    split = split_of(small, Fake(lambda module: lambda *tensors: spoil(module(*tensors))), verify=True)
    with pytest.warns(CompileFallbackWarning) as record:
        made = run_both(split, small)
    made += run_both(split, small)
    assert all(torch.equal(output, small(0)) for output in made)
    assert len(told(record)) == 2
    for message, name in zip(told(record), (FULL, REUSE), strict=True):
        assert f"CompileMismatchError: the compiled {name} {expected}" in message
    assert split.counters.hits == 0
    assert len(split.counters.failures) == 2


def test_without_verify_it_is_not_found(small: TinyUNet) -> None:
    split = split_of(small, Fake(lambda module: lambda *tensors: tuple(2 * out for out in module(*tensors))))
    args, kwargs = small.inputs(0)
    assert torch.equal(split.full(*args, **kwargs)[0][0], 2 * small(0))


def rounded(module: nn.Module) -> Graph:
    """As a graph that computes in bfloat16 and gives float32."""
    return lambda *tensors: tuple(output.bfloat16().float() for output in module(*tensors))


def test_rounding_is_no_mistake(small: TinyUNet) -> None:
    def other_order(module: nn.Module) -> Graph:
        return lambda *tensors: tuple(output * (1 + 2e-5) for output in module(*tensors))

    split = split_of(small, Fake(other_order), verify=True)
    assert not torch.equal(run_both(split, small)[0], small(0))
    assert split.counters.hits == 2


def test_bfloat16_is_judged_as_such_where_it_was_asked_for_and_only_there(small: TinyUNet) -> None:
    split = split_of(small, Fake(rounded), verify=True, precision="bfloat16")
    run_both(split, small)
    assert split.counters.hits == 2
    with pytest.warns(CompileFallbackWarning, match="allowed is 1e-04"):
        run_both(split_of(small, Fake(rounded), verify=True), small)


def test_a_graph_that_fails_while_it_is_verified_is_not_used(small: TinyUNet) -> None:
    split = split_of(small, Fake(lambda _: raising(RuntimeError("cannot run"))), verify=True)
    with pytest.warns(CompileFallbackWarning, match="RuntimeError: cannot run"):
        made = run_both(split, small)
    assert all(torch.equal(output, small(0)) for output in made)
    assert split.counters.eager == 2


def test_the_relative_error_is_of_the_largest_value() -> None:
    reference = torch.tensor([0.0, -4.0, 1.0])
    assert relative_error(reference, reference + torch.tensor([0.0, 0.0, 0.5])) == 0.125
    assert relative_error(reference, reference) == 0
    assert relative_error(torch.zeros(2), torch.zeros(2)) == 0
    assert relative_error(torch.zeros(2), torch.ones(2)) > 1
    assert relative_error(reference, torch.full((3,), float("nan"))) == float("inf")
    assert relative_error(torch.full((3,), float("nan")), reference) == float("inf")
    assert relative_error(reference.half(), reference) == 0


@pytest.mark.parametrize(
    ("dtype", "allowed"), [(torch.float32, 1e-4), (torch.float16, 2e-2), (torch.bfloat16, 5e-2)], ids=str
)
def test_more_is_allowed_where_numbers_are_coarser(dtype: torch.dtype, allowed: float) -> None:
    reference = torch.ones(8, dtype=dtype)
    check_outputs((reference,), ((torch.ones(8, dtype=torch.float64) * (1 + 0.8 * allowed)).to(dtype),), "pass")
    with pytest.raises(CompileMismatchError, match=f"the compiled pass differs .* allowed is {allowed:.0e}"):
        check_outputs((reference,), ((torch.ones(8, dtype=torch.float64) * (1 + 1.5 * allowed)).to(dtype),), "pass")


def test_a_filter_that_raises_the_warning_leaves_no_broken_graph(small: TinyUNet) -> None:
    split = split_of(small, Fake(raising(ValueError("no"))))
    args, kwargs = small.inputs(0)
    with pytest.raises(CompileFallbackWarning, match="no"):
        split.full(*args, **kwargs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CompileFallbackWarning)
        assert torch.equal(split.full(*args, **kwargs)[0][0], small(0))
