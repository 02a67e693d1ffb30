"""On reuse passes a ControlNet computes only what the kept blocks of the UNet are given."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from host.models import Sampling, TinySDXL, draw, with_controlnet

if TYPE_CHECKING:
    from host.process import Core, Pack

BRANCH = 2


@pytest.fixture
def sampling(pack: Pack) -> Any:
    """The pack's `sampling` package."""
    return pack.module("comfy_nodes.sampling")


@pytest.fixture
def ran(comfy_controlnet: Any) -> list[str]:
    """The ControlNet's blocks that run, by kind: i for an input block, m for the middle one."""
    calls: list[str] = []
    network = comfy_controlnet.control_model
    handles = [block.register_forward_hook(lambda *_: calls.append("i")) for block in network.input_blocks]
    handles.append(network.middle_block.register_forward_hook(lambda *_: calls.append("m")))
    yield calls
    for handle in handles:
        handle.remove()


def cached(sampling: Any, tiny: TinySDXL, **options: Any) -> TinySDXL:
    from skipstep.deepcache import DeepCache

    return replace(tiny, model=sampling.speed_up(tiny.model, cache=DeepCache(branch=BRANCH, **options)))


@pytest.mark.parametrize("chained", [False, True])
def test_the_picture_is_that_of_the_whole_network(
    core: Core,
    pack: Pack,
    comfy_sdxl: TinySDXL,
    comfy_controlnet: Any,
    sampling: Any,
    ran: list[str],
    chained: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    controlled = with_controlnet(core, comfy_sdxl, comfy_controlnet)
    if chained:
        controlled = with_controlnet(core, controlled, comfy_controlnet, strength=0.5)
    tiny = cached(sampling, controlled, interval=3)
    networks, blocks = 1 + chained, len(comfy_controlnet.control_model.input_blocks)
    cut = draw(core, tiny)
    assert len(ran) == networks * (2 * (blocks + 1) + 4 * (BRANCH + 1))  # FrrFrr
    assert ran.count("m") == 2 * networks
    ran.clear()
    monkeypatch.setattr(pack.module("comfy_nodes.sampling.wrappers"), "follow_passes", lambda *_: None)
    assert torch.equal(draw(core, tiny), cut)
    assert len(ran) == networks * 6 * (blocks + 1)
    assert not torch.equal(cut, draw(core, cached(sampling, comfy_sdxl, interval=3)))  # it has an effect


def test_a_run_without_reuse_runs_all_of_it(
    core: Core, comfy_sdxl: TinySDXL, comfy_controlnet: Any, sampling: Any, ran: list[str]
) -> None:
    controlled = with_controlnet(core, comfy_sdxl, comfy_controlnet)
    plain = draw(core, controlled)
    ran.clear()
    assert torch.equal(draw(core, cached(sampling, controlled, interval=1)), plain)
    assert ran.count("m") == 6


def test_conditionings_keep_their_own_network(
    core: Core, comfy_sdxl: TinySDXL, comfy_controlnet: Any, sampling: Any
) -> None:
    controlled = with_controlnet(core, comfy_sdxl, comfy_controlnet)
    networks = [conditioning[1]["control"] for conditioning in controlled.positive]
    draw(core, cached(sampling, controlled, interval=3), sampling=Sampling(steps=3))
    for conditioning, network in zip(controlled.positive, networks, strict=True):
        assert conditioning[1]["control"] is network
        assert network.control_model is comfy_controlnet.control_model
        assert network.cond_hint is None


def test_a_node_that_calls_in_tiles_gets_whole_residuals(
    core: Core, comfy_sdxl: TinySDXL, comfy_controlnet: Any, sampling: Any, ran: list[str]
) -> None:
    """Tiles are called for at other shapes than the ControlNet was: nothing is cut for them."""
    controlled = cached(sampling, with_controlnet(core, comfy_sdxl, comfy_controlnet), interval=3)

    def halves(apply_model: Any, call: dict[str, Any]) -> torch.Tensor:
        x, c = call["input"], call["c"]
        made = []
        for part in (slice(0, 8), slice(8, 16)):
            scale = [int(16 / r.shape[-1]) for r in c["control"]["output"]]
            residuals = [
                r[..., part.start // s : part.stop // s] for r, s in zip(c["control"]["output"], scale, strict=True)
            ]
            middle = [r[..., part.start // 4 : part.stop // 4] for r in c["control"]["middle"]]
            control = {"input": [], "middle": middle, "output": residuals}
            made.append(apply_model(x[..., part], call["timestep"], **{**c, "control": control}))
        return torch.cat(made, dim=-1)

    model = controlled.model.clone()
    model.set_model_unet_function_wrapper(halves)
    draw(core, replace(controlled, model=model))
    assert ran.count("m") == 6
    assert sampling.speedup_of(model).record.latest.log.kinds == "FFrrrrFFrrrr"
