"""AOTInductor's packages: kept, shared between processes, and never mistaken for one another."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from compile_toys import LATENT, eager, errors_of, toy_call, toy_unet
from fakes import Fake
from peft import LoraConfig

from skipstep.compile import Compiler, GraphStore, PassSpec, aot, relative_error
from skipstep.compile.aot import AOTBackend
from skipstep.errors import GraphNotKeptWarning

ROUNDING = 1e-4  # as of Inductor
TESTS = Path(__file__).parents[1]

pytestmark = [
    pytest.mark.usefixtures("lean_inductor"),
    pytest.mark.timeout(900),
    pytest.mark.skipif(not AOTBackend(GraphStore(Path())).available().ok, reason="Inductor needs a C++ compiler"),
]


class Child:
    """A process of its own that runs passes of the toy when told."""

    def __init__(self, store: GraphStore, environment: dict[str, str], *moment: str) -> None:
        command = [sys.executable, str(TESTS / "compile" / "aot_child.py"), str(store.folder), *moment]
        pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        self._process = subprocess.Popen(command, env=environment, text=True, start_new_session=True, **pipes)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def start(self, *passes: str) -> None:
        """Tell it to begin."""
        assert self._process.stdin is not None
        self._process.stdin.write(" ".join(passes) + "\n")
        self._process.stdin.flush()

    def wait(self) -> int:
        """How it ended."""
        self._output, self._errors = self._process.communicate(timeout=600)
        return self._process.returncode

    def results(self) -> dict[str, Any]:
        """Its errors and counters."""
        assert self.wait() == 0, self._errors
        results: dict[str, Any] = json.loads(self._output)
        return results


@dataclass(frozen=True)
class Packages:
    """A store with both passes of the toy."""

    store: GraphStore
    made: dict[str, Any]  # errors and counters of the process that compiled them
    environment: dict[str, str]  # with the cache of kernels that it used, empty before


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Packages]:
    """Compiled cold; shared, so not to be changed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path_factory.mktemp("kernels")))
        store, environment = GraphStore(tmp_path_factory.mktemp("store")), {**os.environ, "PYTHONPATH": str(TESTS)}
        child = Child(store, environment)
        child.start("full", "reuse")
        yield Packages(store, child.results(), environment)


def test_both_passes_are_kept(packages: Packages) -> None:
    made = packages.made
    assert max(made["errors"]) <= ROUNDING
    assert (made["compiles"], made["loads"], made["eager"]) == (2, 0, 0)
    titles = {graph.title for graph in packages.store.graphs()}
    assert titles == {"full pass, 2 x 4 x 16 x 16", "reuse pass at branch 0, 2 x 4 x 16 x 16"}


def test_a_new_process_loads_in_a_tenth_of_the_time(packages: Packages) -> None:
    child = Child(packages.store, packages.environment)
    child.start("full", "reuse")
    results = child.results()
    assert (results["compiles"], results["loads"], results["eager"]) == (0, 2, 0)
    assert max(results["errors"]) <= ROUNDING
    assert results["seconds"] <= 0.1 * packages.made["seconds"]


def loaded(packages: Packages, unet: Any) -> Compiler:
    """A compiler that has both passes of a new toy, from the store."""
    compiler = Compiler("aot", store=packages.store)
    assert max(errors_of(compiler(unet, (0,)), toy_call())) <= ROUNDING
    assert (compiler.counters.compiles, compiler.counters.loads) == (0, 2)
    return compiler


def test_a_package_serves_other_weights_and_inputs(packages: Packages) -> None:
    unet = toy_unet(seed=1)
    compiler = loaded(packages, unet)
    assert max(errors_of(compiler(unet, (0,)), toy_call(1))) <= ROUNDING
    assert relative_error(eager(toy_unet(), **toy_call(1)), eager(unet, **toy_call(1))) > 0.1
    assert compiler.counters.weight_bytes == 0


def test_every_weight_is_shared_with_the_unet(packages: Packages) -> None:
    """Those of few numbers too, which Inductor likes to write into the code."""
    unet = toy_unet()
    before, compiler = eager(unet, **toy_call()), loaded(packages, unet)
    sizes = []
    for name, parameter in unet.named_parameters():
        original = parameter.clone()
        parameter.data.mul_(1.5).add_(0.3)  # leaves no trace, so that nothing can be handed over anew
        assert relative_error(before, eager(unet, **toy_call())) > 10 * ROUNDING, name
        assert max(errors_of(compiler(unet, (0,)), toy_call())) <= ROUNDING, name
        parameter.data.copy_(original)
        sizes.append(parameter.numel())
    assert min(sizes) == 1
    assert 4 in sizes
    assert compiler.counters.refreshes == 0


def test_replaced_weights_are_used_from_the_next_full_pass(packages: Packages) -> None:
    unet, other = toy_unet(), toy_unet(seed=1)
    compiler = loaded(packages, unet)
    for parameter, replacement in zip(unet.parameters(), other.parameters(), strict=True):
        parameter.data = replacement.data
    assert max(errors_of(compiler(unet, (0,)), toy_call())) <= ROUNDING
    assert compiler.counters.refreshes == 2
    assert (compiler.counters.compiles, compiler.counters.loads) == (0, 2)


@torch.no_grad()
def test_features_in_another_layout_are_taken(packages: Packages) -> None:
    unet = toy_unet()
    split = loaded(packages, unet)(unet, (0,))
    _, features = split.full(**toy_call())
    rearranged = features.to(memory_format=torch.channels_last)
    assert rearranged.stride() != features.stride()
    assert torch.equal(split.reuse(rearranged, **toy_call())[0], split.reuse(features, **toy_call())[0])
    assert split.counters.eager == 0


@torch.no_grad()
def test_a_package_refuses_another_shape(packages: Packages) -> None:
    """It would read past the end of a smaller tensor."""
    graphs = []

    class Kept(AOTBackend):
        def compile(self, module: torch.nn.Module, spec: PassSpec) -> Any:
            graphs.append((super().compile(module, spec), spec.example))
            return graphs[0][0]

    errors_of(Compiler(Kept(packages.store))(toy_unet(), (0,)), toy_call(), ["reuse"])
    ((graph, (features, *rest)),) = graphs
    graph(features, *rest)
    with pytest.raises(RuntimeError):
        graph(features[..., : LATENT // 2], *rest)


def disabled(unet: Any) -> None:
    unet.add_adapter(LoraConfig(r=2, target_modules=["conv1"]))
    unet.disable_adapters()


def scaled(unet: Any) -> None:
    unet.add_adapter(LoraConfig(r=2, target_modules=["conv1"]))
    unet.set_adapters("default", 0.5)


CONSTANTS: dict[str, Callable[[Any], object]] = {
    "nothing": lambda _: None,
    "FreeU": lambda unet: unet.enable_freeu(s1=0.9, s2=0.2, b1=1.2, b2=1.4),
    "a stronger FreeU": lambda unet: unet.enable_freeu(s1=0.9, s2=0.2, b1=1.5, b2=1.6),
    "a LoRA": lambda unet: unet.add_adapter(LoraConfig(r=2, target_modules=["conv1"])),
    "a LoRA of another rank": lambda unet: unet.add_adapter(LoraConfig(r=3, target_modules=["conv1"])),
    "half a LoRA": scaled,
    "a LoRA that is off": disabled,
    "channels last": lambda unet: unet.to(memory_format=torch.channels_last),
}


def names_of(unet: Any) -> list[str]:
    """The fingerprints of both passes."""
    backend = Fake()
    errors_of(Compiler(backend)(unet, (0,)), toy_call())
    return [spec.fingerprint for spec in backend.specs]


def test_what_code_has_for_constants_names_its_package() -> None:
    """A package of another state would load, and draw another picture."""
    names = {}
    for what, change in CONSTANTS.items():
        unet = toy_unet()
        change(unet)
        names[what] = names_of(unet)
    assert len({name for pair in names.values() for name in pair}) == 2 * len(CONSTANTS)
    assert names_of(toy_unet(seed=1)) == names["nothing"]


@dataclass(frozen=True)
class Damage:
    """A copy of the store in which the reuse pass's package is to be spoilt."""

    store: GraphStore
    reuse: Path
    full: Path
    good: bytes


@pytest.fixture
def damage(packages: Packages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Damage:
    """Compiling anew gives the good package at once; it is compiled in earnest below."""
    shutil.copytree(packages.store.folder, tmp_path / "store")
    store = GraphStore(tmp_path / "store")
    paths = {graph.title.split()[0]: store.path(graph.name) for graph in store.graphs()}
    good = paths["reuse"].read_bytes()

    def package(_module: Any, _spec: PassSpec, folder: Path) -> Path:
        (folder / "made.pt2").write_bytes(good)
        return folder / "made.pt2"

    monkeypatch.setattr(aot, "_package", package)
    return Damage(store, paths["reuse"], paths["full"], good)


def truncated(damage: Damage) -> None:
    damage.reuse.write_bytes(damage.good[: len(damage.good) // 2])


def foreign(damage: Damage) -> None:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randint(256, (len(damage.good),), generator=generator, dtype=torch.uint8)
    damage.reuse.write_bytes(bytes(noise.tolist()))


def foreign_with_a_note(damage: Damage) -> None:
    foreign(damage)
    spoilt = damage.reuse.with_name("spoilt")
    damage.reuse.rename(spoilt)
    damage.store.put(damage.reuse.name, spoilt, title="spoilt")


def of_another_model(damage: Damage) -> None:
    for suffix in ("", ".json"):
        shutil.copy(f"{damage.full}{suffix}", f"{damage.reuse}{suffix}")


@pytest.mark.parametrize("spoil", [truncated, foreign, foreign_with_a_note, of_another_model])
def test_what_is_not_the_package_is_set_aside_and_made_anew(damage: Damage, spoil: Callable[[Damage], None]) -> None:
    spoil(damage)
    spoilt = damage.reuse.read_bytes()
    assert spoilt != damage.good
    compiler = Compiler("aot", store=damage.store)
    assert max(errors_of(compiler(toy_unet(), (0,)), toy_call(), ["reuse"])) <= ROUNDING
    assert (compiler.counters.compiles, compiler.counters.loads, compiler.counters.eager) == (1, 0, 0)
    assert damage.reuse.with_name(damage.reuse.name + ".bad").read_bytes() == spoilt
    assert damage.reuse.read_bytes() == damage.good


@pytest.mark.usefixtures("damage")
def test_a_package_that_cannot_be_kept_serves_this_process(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    compiler = Compiler("aot", store=GraphStore(tmp_path / "file" / "graphs"))
    split = compiler(toy_unet(), (0,))
    with pytest.warns(GraphNotKeptWarning, match="Not a directory; the next process makes them anew"):
        assert max(errors_of(split, toy_call(), ["reuse"])) <= ROUNDING
    assert max(errors_of(split, toy_call(1), ["reuse"])) <= ROUNDING  # its folder is gone by now
    counters = compiler.counters
    assert (counters.compiles, counters.hits, counters.eager, counters.failures) == (1, 2, 0, [])


MOMENTS = ("exporting", "in the compiler", "compiled", "half stored", "loading")  # it is loaded before it is kept


@pytest.mark.skipif(sys.platform != "linux", reason="finds the compiler in /proc")
@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_process_leaves_nothing_in_the_way(packages: Packages, tmp_path: Path, moment: str) -> None:
    store = GraphStore(tmp_path)
    child = Child(store, packages.environment, moment)
    child.start("reuse")
    assert child.wait() == -9
    compiler = Compiler("aot", store=store)
    assert max(errors_of(compiler(toy_unet(), (0,)), toy_call(), ["reuse"])) <= ROUNDING
    assert (compiler.counters.compiles, compiler.counters.loads) == (1, 0)
    assert len(store.graphs()) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="finds the compiler in /proc")
@pytest.mark.parametrize("_round", [pytest.param(number, marks=pytest.mark.slow) for number in range(3)])
def test_of_two_processes_one_compiles_and_the_other_loads(packages: Packages, tmp_path: Path, _round: int) -> None:
    """After a third, which was killed as it compiled the same."""
    store = GraphStore(tmp_path)
    killed = Child(store, packages.environment, "in the compiler")
    killed.start("reuse")
    assert killed.wait() == -9
    child, compiler = Child(store, packages.environment), Compiler("aot", store=store)
    child.start("reuse")
    assert max(errors_of(compiler(toy_unet(), (0,)), toy_call(), ["reuse"])) <= ROUNDING
    theirs, ours = child.results(), compiler.counters
    assert max(theirs["errors"]) <= ROUNDING
    assert sorted([(theirs["compiles"], theirs["loads"]), (ours.compiles, ours.loads)]) == [(0, 1), (1, 0)]
    assert (theirs["eager"], ours.eager) == (0, 0)
