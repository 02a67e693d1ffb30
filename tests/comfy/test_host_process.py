"""ComfyUI in the process of the tests, and the miniature models."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from host.models import Sampling, TinySDXL, TinySVD, draw, with_controlnet, with_lora
from host.process import Core, Pack


def test_the_chosen_version_is_imported(core: Core) -> None:
    import comfyui_version

    assert comfyui_version.__version__ == core.version


@pytest.mark.usefixtures("core")
def test_nodes_of_comfy_extras_are_there() -> None:
    assert {"KSampler", "FreeU_V2", "SVD_img2vid_Conditioning", "VideoLinearCFGGuidance"} <= _ids()


def test_the_pack_loads(pack: Pack) -> None:
    assert callable(pack.module().comfy_entrypoint)
    assert pack.node_ids <= _ids()


def _ids() -> set[str]:
    import nodes

    return set(nodes.NODE_CLASS_MAPPINGS)


def test_a_picture_is_neither_constant_nor_without_its_seed(core: Core, comfy_sdxl: TinySDXL) -> None:
    first, again = draw(core, comfy_sdxl), draw(core, comfy_sdxl)
    assert torch.equal(first, again)
    assert first.isfinite().all()
    assert first.std() > 1e-2
    assert not torch.equal(first, draw(core, comfy_sdxl, sampling=Sampling(seed=2)))


def test_the_prompt_counts(core: Core, comfy_sdxl: TinySDXL) -> None:
    (other,) = core.call("CLIPTextEncode", clip=comfy_sdxl.clip, text="a green pear")
    assert _distance(draw(core, replace(comfy_sdxl, positive=other)), draw(core, comfy_sdxl)) > 1e-3


def test_deep_blocks_count(core: Core, comfy_sdxl: TinySDXL) -> None:
    before = draw(core, comfy_sdxl)
    middle = comfy_sdxl.model.model.diffusion_model.middle_block[0]
    handle = middle.register_forward_hook(lambda _module, _inputs, output: torch.zeros_like(output))
    try:
        without = draw(core, comfy_sdxl)
    finally:
        handle.remove()
    assert _distance(without, before) > 1e-3


def test_controlnet_and_lora_count(core: Core, comfy_sdxl: TinySDXL, comfy_controlnet: Any) -> None:
    before = draw(core, comfy_sdxl)
    assert _distance(draw(core, with_controlnet(core, comfy_sdxl, comfy_controlnet)), before) > 1e-2
    assert _distance(draw(core, with_lora(core, comfy_sdxl, strength=1.0)), before) > 1e-2
    assert torch.equal(draw(core, comfy_sdxl), before)  # nothing of either is left


def test_a_video_moves(core: Core, comfy_svd: TinySVD) -> None:
    frames = draw(core, comfy_svd, sampling=Sampling(steps=3))
    assert frames.shape == comfy_svd.latent["samples"].shape
    assert frames.isfinite().all()
    assert _distance(frames[1:], frames[:-1]) > 1e-2


def _distance(one: torch.Tensor, other: torch.Tensor) -> float:
    """Relative to the second."""
    return float((one - other).norm() / other.norm())
