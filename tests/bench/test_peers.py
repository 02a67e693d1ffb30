"""Other libraries in the benchmark: they compute what ours does, leave nothing behind, and are counted."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from models import randomised
from torch import Tensor

from skipstep import DeepCache, speed_up
from skipstep.bench import BenchRow
from skipstep.bench.loop import UNetLoop
from skipstep.bench.peers import Peer
from skipstep.bench.traced import Traced
from skipstep.compile import Availability, Compiler
from skipstep.compile.watch import ModelWatch

pytest.importorskip("DeepCache")
pytestmark = pytest.mark.filterwarnings("ignore::skipstep.errors.FewStepsWarning")
CPU = torch.device("cpu")
VERBATIM = DeepCache(interval=3, forecast="verbatim")


class TracingBackend:
    """Traces as Inductor does, and runs what was traced as it is."""

    name = "traced"
    supports: frozenset[str] = frozenset()

    def available(self) -> Availability:
        return Availability(True, "here")

    def compile(self, module: Any, spec: Any) -> Any:
        def count(graph: Any, _: Any) -> Any:
            spec.counters.compiles += 1
            return graph.forward

        return torch.compile(module, backend=count, fullgraph=True)


@pytest.fixture
def loop() -> UNetLoop:
    return UNetLoop("sdxl-tiny", width=64, height=64, frames=None, guidance_scale=5.0, device=CPU, dtype=torch.float32)


@pytest.fixture
def small(loop: UNetLoop) -> Iterator[UNetLoop]:
    """The loop with the smallest UNet that can be cut, since tracing takes as long as there are modules."""
    unet = UNet2DConditionModel(
        block_out_channels=(8,),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D",),
        mid_block_type="UNetMidBlock2D",
        up_block_types=("UpBlock2D",),
        attention_head_dim=2,
        cross_attention_dim=24,
        norm_num_groups=2,
        sample_size=8,
    )
    loop.unet = randomised(unet)
    torch._dynamo.reset()
    yield loop
    torch._dynamo.reset()


@pytest.fixture
def screen() -> Iterator[io.StringIO]:
    """Where torch prints what it warns of."""
    shown, handlers = io.StringIO(), logging.getLogger("torch._dynamo").handlers
    before = {handler: handler.setStream(shown) for handler in handlers if type(handler) is logging.StreamHandler}
    yield shown
    for handler, stream in before.items():
        handler.setStream(stream)


def attributes(unet: Any) -> list[dict[str, Any]]:
    return [{name: value for name, value in vars(module).items() if name[0] != "_"} for module in unet.modules()]


def peer_run(loop: UNetLoop, peer: Peer, **call: int) -> Tensor:
    with peer.on(loop):
        return loop(**{"steps": 6, "seed": 0, **call})


def test_deepcache_draws_what_verbatim_reuse_draws_and_leaves_the_unet_as_it_was(loop: UNetLoop) -> None:
    unet, plain, before = loop.unet, loop(steps=6, seed=0), attributes(loop.unet)
    watch = ModelWatch(unet)
    peer = Peer(BenchRow(name="a", peer="deepcache", reuse=VERBATIM), CPU)
    theirs = [peer_run(loop, peer, seed=seed) for seed in (0, 0, 1)]
    assert loop.unet is unet
    assert attributes(unet) == before
    assert not any("forward" in vars(module) for module in unet.modules())
    assert not watch.is_changed()
    assert torch.equal(loop(steps=6, seed=0), plain)
    with speed_up(loop, VERBATIM):
        ours = loop(steps=6, seed=0)
    assert torch.equal(theirs[0], theirs[1])
    assert not torch.equal(theirs[0], theirs[2])
    assert float((theirs[0] - ours).abs().max() / ours.abs().max()) < 1e-5
    assert float((plain - ours).abs().max() / ours.abs().max()) > 1e-4  # it did reuse
    assert peer.version.startswith("DeepCache 0.1")
    assert peer.traced == Traced()


def test_interval_and_branch_are_handed_on(loop: UNetLoop) -> None:
    options = DeepCache(interval=2, branch=4, forecast="verbatim")
    peer = Peer(BenchRow(name="a", peer="deepcache", reuse=options), CPU)
    with speed_up(loop, options):
        ours = loop(steps=6, seed=0)
    theirs = peer_run(loop, peer)
    assert float((theirs - ours).abs().max() / ours.abs().max()) < 1e-5
    other = peer_run(loop, Peer(BenchRow(name="b", peer="deepcache"), CPU))  # interval 3 at branch 0
    assert float((theirs - other).abs().max() / ours.abs().max()) > 1e-4


def test_what_was_on_a_module_before_stays(loop: UNetLoop) -> None:
    own = loop.unet.mid_block.forward
    loop.unet.mid_block.forward = own  # as accelerate's hooks do
    peer_run(loop, Peer(BenchRow(name="a", peer="deepcache", reuse=VERBATIM), CPU))
    assert loop.unet.mid_block.__dict__["forward"] == own


def test_a_run_that_fails_leaves_the_unet_as_it_was(loop: UNetLoop) -> None:
    unet, before = loop.unet, attributes(loop.unet)
    peer = Peer(BenchRow(name="a", peer="deepcache", reuse=VERBATIM), CPU)
    loop.scheduler = None
    with pytest.raises(AttributeError, match="set_timesteps"):
        peer_run(loop, peer)
    assert loop.unet is unet
    assert attributes(unet) == before


@pytest.mark.slow
def test_deepcache_with_torch_compile_breaks_and_recompiles_and_ours_is_two_graphs(
    small: UNetLoop, screen: io.StringIO
) -> None:
    unet, before = small.unet, attributes(small.unet)
    both = Peer(BenchRow(name="a", peer="deepcache+torch.compile", reuse=VERBATIM), CPU)
    counts, made = [], []
    for seed in (0, 1):
        made.append(peer_run(small, both, steps=4, seed=seed))
        counts.append((both.traced.compiles, both.traced.breaks))
    assert counts[0][0] > 2  # one run is three to seven graphs, with a break at every `.item()`
    assert counts[0][1] > 0
    assert both.traced.warnings > 0  # of the break; who compares speeds has no use for them on the screen
    assert screen.getvalue() == ""
    logging.getLogger("torch._dynamo").warning("of others")
    assert "of others" in screen.getvalue()
    assert counts[1][0] > counts[0][0]  # the next run traces again: the helper wraps every module anew
    assert counts[1][1] > counts[0][1]
    assert small.unet is unet
    assert attributes(unet) == before
    torch._dynamo.reset()
    compiler = Compiler(TracingBackend())
    for seed in (0, 1):
        with speed_up(small, VERBATIM, split=compiler):
            ours = small(steps=4, seed=seed)
        assert float((made[seed] - ours).abs().max() / ours.abs().max()) < 1e-5
        assert compiler.counters.compiles == 2
    with speed_up(small, VERBATIM, split=compiler):
        small(steps=7, seed=2)
    assert compiler.counters.compiles == 2
    assert (compiler.counters.failures, compiler.counters.eager) == ([], 0)


def test_torch_compile_alone_is_one_graph_and_computes_the_same(small: UNetLoop) -> None:
    plain, before = small(steps=3, seed=0), attributes(small.unet)
    watch = ModelWatch(small.unet)
    peer = Peer(BenchRow(name="a", peer="torch.compile"), CPU)
    for _ in range(2):
        assert float((peer_run(small, peer, steps=3) - plain).abs().max() / plain.abs().max()) < 1e-5
    assert peer.traced == Traced(compiles=1)
    assert peer.version == f"torch.compile(eager) of torch {torch.__version__}"
    assert attributes(small.unet) == before
    assert not watch.is_changed()  # or our own graphs would be made anew between its runs
