"""OpenVINO's graphs, which hold copies of the weights: kept on disk, made anew for other weights, exact when loaded."""

from __future__ import annotations

import builtins
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from compile_toys import LATENT, eager, errors_of, toy_call, toy_unet
from fakes import Fake
from models import sd15_pipeline
from runs import sample
from torch import Tensor

from skipstep import DeepCache, speed_up
from skipstep.compile import CompileOptions, Compiler, GraphStore, relative_error
from skipstep.compile.openvino import OpenVINOBackend
from skipstep.errors import GraphNotKeptWarning

openvino = pytest.importorskip("openvino", reason="OpenVINO is not installed: pip install 'skipstep[openvino]'")

ROUNDING = 1e-4  # other kernels add in another order; 4e-6 in a UNet of 72 million weights
HALF_ROUNDING = 5e-2  # bfloat16 keeps 8 bits of a number, here through a few blocks
WIDE = (LATENT, LATENT + 8)


@torch.no_grad()
def both_passes(compiler: Compiler) -> tuple[Tensor, ...]:
    """What the toy gives: its output, the features, and the output of a reuse pass."""
    split = compiler(toy_unet(), (0,))
    (output,), features = split.full(**toy_call())
    return output, features, split.reuse(features, **toy_call())[0]


@dataclass(frozen=True)
class Graphs:
    """Both passes of the toy in float32, and the reuse pass of another size."""

    store: GraphStore
    results: tuple[Tensor, ...]  # of `both_passes` as compiled


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Graphs:
    """Shared, so that tests may only add to the store."""
    store = GraphStore(tmp_path_factory.mktemp("store"))
    compiler = Compiler("openvino", store=store)
    results = both_passes(compiler)
    assert max(errors_of(compiler(toy_unet(), (0,)), toy_call(size=WIDE), ["reuse"])) <= ROUNDING
    assert (compiler.counters.compiles, compiler.counters.loads, compiler.counters.eager) == (3, 0, 0)
    return Graphs(store, results)


def loaded(graphs: Graphs, unet: Any) -> Compiler:
    """A compiler that has both passes of the toy, from the store."""
    compiler = Compiler("openvino", store=graphs.store)
    assert max(errors_of(compiler(unet, (0,)), toy_call())) <= ROUNDING
    assert (compiler.counters.compiles, compiler.counters.loads, compiler.counters.eager) == (0, 2, 0)
    return compiler


def computes_in_bfloat16() -> bool:
    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def test_a_loaded_graph_computes_what_the_compiled_one_did(graphs: Graphs) -> None:
    """Imported without its options, a float32 graph computes in bfloat16 where the processor can, and says nothing."""
    compiler = Compiler("openvino", store=graphs.store)
    for read, made in zip(both_passes(compiler), graphs.results, strict=True):
        assert torch.equal(read, made)
    assert (compiler.counters.compiles, compiler.counters.loads, compiler.counters.eager) == (0, 2, 0)
    assert relative_error(eager(toy_unet(), **toy_call()), graphs.results[0]) <= ROUNDING


def test_both_sizes_are_loaded(graphs: Graphs) -> None:
    unet = toy_unet()
    compiler = loaded(graphs, unet)
    assert max(errors_of(compiler(unet, (0,)), toy_call(1, WIDE), ["reuse"])) <= ROUNDING
    assert (compiler.counters.compiles, compiler.counters.loads) == (0, 3)


def test_bfloat16_is_asked_for_and_kept_apart(graphs: Graphs) -> None:
    errors = []
    for counts in ((1, 0), (0, 1)):
        compiler = Compiler("openvino", CompileOptions(precision="bfloat16"), store=graphs.store)
        errors += errors_of(compiler(toy_unet(), (0,)), toy_call(), ["reuse"])
        assert (compiler.counters.compiles, compiler.counters.loads) == counts
    assert max(errors) <= HALF_ROUNDING
    if computes_in_bfloat16():
        assert min(errors) > 1e-4  # a float32 graph would be nearer


@torch.no_grad()
def test_changed_weights_are_another_graph(graphs: Graphs) -> None:
    unet = toy_unet()
    before, compiler = eager(unet, **toy_call()), loaded(graphs, unet)
    copied = compiler.counters.weight_bytes
    unet.conv_out.bias.mul_(3)  # is in both passes
    assert max(errors_of(compiler(unet, (0,)), toy_call())) <= ROUNDING
    assert relative_error(before, eager(unet, **toy_call())) > 0.01
    assert (compiler.counters.compiles, compiler.counters.loads, compiler.counters.refreshes) == (2, 2, 2)
    own = 4 * sum(parameter.numel() for parameter in unet.parameters())
    assert own < copied < 2 * own  # the reuse pass has a part of them
    assert compiler.counters.weight_bytes == copied  # new graphs took the place of the old ones


def test_another_model_of_the_same_shape_has_its_own_graph(graphs: Graphs) -> None:
    compiler = Compiler("openvino", store=graphs.store)
    assert max(errors_of(compiler(toy_unet(seed=1), (0,)), toy_call(), ["reuse"])) <= ROUNDING
    assert (compiler.counters.compiles, compiler.counters.loads) == (1, 0)


def test_a_truncated_graph_is_made_anew(graphs: Graphs, tmp_path: Path) -> None:
    shutil.copytree(graphs.store.folder, tmp_path / "store")
    store = GraphStore(tmp_path / "store")
    for graph in store.graphs():
        os.truncate(store.path(graph.name), graph.size // 2)
    compiler = Compiler("openvino", store=store)
    assert max(errors_of(compiler(toy_unet(), (0,)), toy_call(), ["reuse"])) <= ROUNDING
    assert (compiler.counters.compiles, compiler.counters.loads) == (1, 0)
    (bad,) = store.folder.glob("*.bad")
    assert store.path(bad.stem).stat().st_size > bad.stat().st_size


def test_a_pipeline_draws_the_same_picture(graphs: Graphs) -> None:
    unet = toy_unet()
    pipe, compiler = sd15_pipeline(unet=unet), loaded(graphs, unet)
    with speed_up(pipe, DeepCache(interval=2)):
        expected = sample(pipe, steps=10)
    with speed_up(pipe, DeepCache(interval=2), split=compiler):
        picture = sample(pipe, steps=10)
        other = sample(pipe, steps=10, seed=1)
    assert relative_error(expected, picture) <= ROUNDING
    assert relative_error(picture, other) > 0.1
    assert (compiler.counters.compiles, compiler.counters.eager) == (0, 0)


def test_a_graph_that_cannot_be_kept_serves_this_process(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    compiler = Compiler("openvino", store=GraphStore(tmp_path / "file" / "graphs"))
    split = compiler(toy_unet(), (0,))
    with pytest.warns(GraphNotKeptWarning, match="Not a directory; the next process makes them anew"):
        assert max(errors_of(split, toy_call(), ["reuse"])) <= ROUNDING
    assert max(errors_of(split, toy_call(1), ["reuse"])) <= ROUNDING
    counters = compiler.counters
    assert (counters.compiles, counters.hits, counters.eager, counters.failures) == (1, 2, 0, [])


@pytest.mark.parametrize("spoil", [{"device": "meta"}, {"dtype": torch.bfloat16}])
def test_what_it_cannot_take_is_refused_before_compiling(tmp_path: Path, spoil: dict[str, Any]) -> None:
    backend = Fake()
    errors_of(Compiler(backend)(toy_unet(), (0,)), toy_call(), ["reuse"])
    (spec,) = backend.specs
    spec = replace(spec, example=tuple(tensor.to(**spoil) for tensor in spec.example))
    with pytest.raises(ValueError, match="on the CPU|in float32"):
        OpenVINOBackend(GraphStore(tmp_path)).compile(torch.nn.Identity(), spec)


@pytest.fixture
def _no_openvino(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "openvino":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)


@pytest.mark.usefixtures("_no_openvino")
def test_without_the_package_it_says_what_to_install(tmp_path: Path) -> None:
    available = OpenVINOBackend(GraphStore(tmp_path)).available()
    assert not available.ok
    assert "pip install 'skipstep[openvino]'" in available.detail


def test_with_it_it_says_which(tmp_path: Path) -> None:
    available = OpenVINOBackend(GraphStore(tmp_path)).available()
    assert available.ok
    assert available.detail == f"openvino {openvino.__version__}"
