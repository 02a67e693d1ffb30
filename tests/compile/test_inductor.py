"""Inductor on the CPU: how many graphs it makes, when it makes more, and that they compute the same."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import torch._dynamo.utils
from compile_toys import LATENT, eager, errors_of, toy_call, toy_unet
from models import sd15_pipeline
from peft import LoraConfig
from runs import sample

from skipstep import DeepCache, speed_up
from skipstep.compile import BACKENDS, CompileOptions, Compiler, available_backends, relative_error
from skipstep.compile.inductor import inductor_availability
from skipstep.errors import CompileFallbackWarning

ROUNDING = 1e-4  # other kernels add in another order; some 1e-7 here, 4e-6 in a UNet of 72 million weights
CACHE = DeepCache(interval=2, branch=0)
WIDE = (LATENT, LATENT + 8)

pytestmark = [
    pytest.mark.usefixtures("lean_inductor"),
    pytest.mark.timeout(900),  # g++ runs some 20 times
    pytest.mark.skipif(not inductor_availability().ok, reason=inductor_availability().detail),
]


@dataclass(frozen=True)
class Warm:
    """A toy whose two passes are compiled for `toy_call()`."""

    unet: Any
    compiler: Compiler
    compiles: int


def warm(unet: Any, options: CompileOptions | None = None) -> Warm:
    """Both passes of a toy, compiled."""
    compiler = Compiler("inductor", options)
    errors_of(compiler(unet, (0,)), toy_call())
    return Warm(unet, compiler, compiler.counters.compiles)


def error(toy: Warm, call: dict[str, Any] | None = None) -> float:
    """The larger error of both passes."""
    return max(errors_of(toy.compiler(toy.unet, (0,)), call or toy_call()))


@pytest.fixture(scope="module")
def compiled() -> Warm:
    """The toy with static shapes; shared, so not to be changed."""
    torch._dynamo.utils.counters.clear()
    return warm(toy_unet())


def test_one_graph_for_each_pass_without_a_break(compiled: Warm) -> None:
    assert compiled.compiles == 2
    assert not torch._dynamo.utils.counters["graph_break"]
    assert compiled.compiler.counters.failures == []


def test_graphs_of_kernels_that_were_on_disk_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    counted = []
    for _ in range(2):
        compiler = Compiler("inductor")
        assert max(errors_of(compiler(toy_unet(), (0,)), toy_call(), ["reuse"])) <= ROUNDING
        counted.append((compiler.counters.compiles, compiler.counters.cached))
    assert counted == [(1, 0), (1, 1)]


def test_both_passes_compute_what_the_unet_does(compiled: Warm) -> None:
    assert error(compiled) <= ROUNDING
    assert error(compiled, toy_call(1)) <= ROUNDING
    assert relative_error(eager(compiled.unet, **toy_call()), eager(compiled.unet, **toy_call(1))) > 0.1
    assert compiled.compiler.counters.compiles == compiled.compiles


@torch.no_grad()
def test_the_reuse_graph_uses_the_features_that_it_is_given(compiled: Warm) -> None:
    split = compiled.compiler(compiled.unet, (0,))
    _, features = split.full(**toy_call(1))
    (mixed,) = split.reuse(features, **toy_call())
    assert relative_error(eager(compiled.unet, **toy_call()), mixed) > 0.01


def test_other_prompts_seeds_and_steps_compile_nothing(compiled: Warm) -> None:
    pipe = sd15_pipeline(unet=compiled.unet)
    calls = [{"seed": 0, "steps": 10}, {"seed": 1, "steps": 12}, {"seed": 2, "steps": 17}]
    with speed_up(pipe, CACHE):
        expected = [sample(pipe, **call) for call in calls]
    hits = compiled.compiler.counters.hits
    with speed_up(pipe, CACHE, split=compiled.compiler):
        pictures = [sample(pipe, **call) for call in calls]
    assert compiled.compiler.counters.compiles == compiled.compiles
    assert compiled.compiler.counters.hits == hits + 10 + 12 + 17
    assert compiled.compiler.counters.eager == 0
    for picture, reference in zip(pictures, expected, strict=True):
        assert relative_error(reference, picture) <= ROUNDING
    assert relative_error(pictures[0], pictures[1]) > 0.1


@pytest.fixture(scope="module")
def with_lora() -> Warm:
    """A toy that was compiled, and then given LoRA layers in both passes; `compiles` counts what these cost."""
    unet = toy_unet()
    before = warm(unet)
    unet.add_adapter(LoraConfig(r=2, lora_alpha=2, target_modules=["conv1", "to_q"], init_lora_weights=False))
    error(before)
    return Warm(unet, before.compiler, before.compiler.counters.compiles - before.compiles)


@pytest.mark.slow
def test_lora_layers_cost_one_compilation_of_each_pass(with_lora: Warm) -> None:
    assert with_lora.compiles == 2
    assert error(with_lora) <= ROUNDING
    assert relative_error(eager(toy_unet(), **toy_call()), eager(with_lora.unet, **toy_call())) > 0.01


def test_lora_weights_written_in_place_are_used_and_compile_nothing(with_lora: Warm) -> None:
    before, compiles = eager(with_lora.unet, **toy_call()), with_lora.compiler.counters.compiles
    with torch.no_grad():
        for name, parameter in with_lora.unet.named_parameters():
            if "lora_B" in name:
                parameter.mul_(-3)
    assert error(with_lora) <= ROUNDING
    assert relative_error(before, eager(with_lora.unet, **toy_call())) > 0.01
    assert with_lora.compiler.counters.compiles == compiles


@pytest.fixture(scope="module")
def regional() -> Warm:
    """A toy with two transformer blocks in the full pass and one in the reuse pass."""
    with torch._dynamo.config.patch(recompile_limit=1):  # of a function, for graphs that do not set their own
        return warm(toy_unet(attention="up"), CompileOptions(regional=True))


def test_regional_compilation_makes_one_graph_of_alike_blocks(regional: Warm) -> None:
    assert regional.compiles == 2  # one for each pass
    assert error(regional) <= ROUNDING


def test_regional_compilation_leaves_the_unet_alone(regional: Warm) -> None:
    blocks = [module for module in regional.unet.modules() if type(module).__name__ == "BasicTransformerBlock"]
    assert len(blocks) == 2
    assert all(module._compiled_call_impl is None for module in regional.unet.modules())


def test_passes_do_not_use_up_a_limit_of_compilations_together(regional: Warm) -> None:
    """Sizes are passes of their own, and a limit of 8 was soon reached."""
    assert regional.compiler.counters.failures == []
    assert regional.compiler.counters.eager == 0


def test_a_reuse_pass_without_transformer_blocks_is_compiled_whole() -> None:
    toy = warm(toy_unet(), CompileOptions(regional=True))
    assert toy.compiles == 2
    assert toy.compiler.counters.eager == 0
    assert error(toy) <= ROUNDING


@pytest.mark.slow
def test_a_dynamic_reuse_graph_takes_every_size() -> None:
    unet, compiler = toy_unet(), Compiler("inductor", CompileOptions(dynamic=True))
    for size in ((LATENT, LATENT), WIDE, (LATENT + 4, LATENT)):  # the first is square
        assert max(errors_of(compiler(unet, (0,)), toy_call(size=size), ["reuse"])) <= ROUNDING
    assert compiler.counters.compiles == 1
    assert compiler.counters.hits == 3


@pytest.mark.slow
def test_a_dynamic_full_graph_takes_every_size() -> None:
    toy = warm(toy_unet(), CompileOptions(dynamic=True))
    for size in ((LATENT, LATENT), WIDE, (LATENT + 4, LATENT)):
        assert error(toy, toy_call(size=size)) <= ROUNDING
    assert toy.compiler.counters.compiles == toy.compiles
    assert toy.compiler.counters.failures == []


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[weakref.ref[Any]]]:
    """The graphs that are traced, which run as they are: kernels would take seconds each."""
    graphs: list[weakref.ref[Any]] = []

    def counting(counters: Any, _: Any) -> Any:
        def keep(graph: Any, _: Any) -> Any:
            graphs.append(weakref.ref(graph))
            counters.compiles += 1
            return graph.forward

        return keep

    monkeypatch.setattr("skipstep.compile.inductor._counting", counting)
    yield graphs
    torch.compiler.reset()


SIZES = [(LATENT, LATENT + 4 * wider) for wider in range(6)]


@pytest.mark.parametrize("options", [CompileOptions(max_graphs=2), CompileOptions(max_graphs=2, regional=True)])
def test_a_process_that_lives_long_goes_on_compiling(traced: list[Any], options: CompileOptions) -> None:
    """Torch has a limit of 256 graphs for one code, and the passes of all sizes and UNets had one code."""
    compiler = Compiler("inductor", options)
    unet = toy_unet(attention="up")
    with torch._dynamo.config.patch(accumulated_recompile_limit=3):
        for size in SIZES:
            assert max(errors_of(compiler(unet, (0,)), toy_call(size=size), ["reuse"])) == 0
    counters = compiler.counters
    assert (counters.failures, counters.eager) == ([], 0)
    assert counters.hits == counters.compiles == len(traced) == len(SIZES)
    gc.collect()
    assert [graph() is None for graph in traced] == [True] * 4 + [False] * 2  # what made room is gone


@pytest.mark.usefixtures("traced")
def test_a_graph_that_is_traced_too_often_gives_way_and_says_so() -> None:
    unet, compiler = toy_unet(), Compiler("inductor", CompileOptions(dynamic=True))
    split, call = compiler(unet, (0,)), toy_call()
    single = {name: value[:1] if torch.is_tensor(value) and value.ndim else value for name, value in call.items()}
    with torch._dynamo.config.patch(accumulated_recompile_limit=1):
        assert max(errors_of(split, call, ["reuse"])) == 0
        with pytest.warns(CompileFallbackWarning, match="runs eagerly: FailOnRecompileLimitHit"):
            assert max(errors_of(split, single, ["reuse"])) == 0  # torch makes another graph of a batch of one
        assert max(errors_of(split, single, ["reuse"])) == 0
    counters = compiler.counters
    assert (counters.compiles, counters.hits, counters.eager, len(counters.failures)) == (1, 1, 2, 1)


def test_a_machine_without_a_compiler_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delenv("CXX", raising=False)
    assert inductor_availability().ok
    monkeypatch.setenv("PATH", "")
    assert not inductor_availability().ok
    assert "install g++ or clang++" in inductor_availability().detail


def test_every_backend_says_whether_it_can_be_used() -> None:
    found = available_backends()
    assert tuple(found) == BACKENDS
    assert found["inductor"].ok
    assert found["inductor"].detail.startswith(f"torch {torch.__version__}")
    assert all(availability.detail for availability in found.values())
