"""OneDiff's numbers, against what OneDiff did with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from comfy.patcher_extension import WrappersMP
from host.models import Sampling, TinySDXL, TinySVD, draw

if TYPE_CHECKING:
    from host.process import Core, Pack

NODE = "ModuleDeepCacheSpeedup"
WHOLE = {"start_step": 0, "end_step": 1000}


@pytest.fixture
def settings(pack: Pack) -> Any:
    """The pack's translation of numbers."""
    return pack.module("comfy_nodes.onediff.settings")


def reused(core: Core, tiny: TinySDXL | TinySVD, **numbers: int) -> Any:
    """The model behind the node of OneDiff's name, not compiled."""
    (model,) = core.call(NODE, model=tiny.model, static_mode="disable", **numbers)
    return replace(tiny, model=model)


class OneDiff:
    """OneDiff's cache by other means: every call runs in full, and cached features are put in its way.

    `depth` is the last input block that its reuse pass runs; the features enter the output block of the same skip.
    Outside of the window every call is left alone.
    """

    def __init__(self, interval: int, depth: int, *, is_inside: Callable[[float], bool]) -> None:
        self._interval = interval
        self._depth = depth
        self._is_inside = is_inside
        self._step = -1
        self._features: Any = None
        self.kinds = ""

    def beside(self, tiny: Any) -> Any:
        """The same model with it."""
        model = tiny.model.clone()
        model.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "onediff", self._call)
        return replace(tiny, model=model)

    def _call(self, executor: Any, x: Any, timesteps: Any, *args: Any, **kwargs: Any) -> Any:
        at = float(timesteps.flatten()[0])
        self._step = self._step + 1 if self._is_inside(at) else -1
        is_full = self._step < 0 or self._step % self._interval == 0
        self.kinds += "F" if is_full else "r"
        output_block = len(executor.class_obj.output_blocks) - 1 - self._depth
        args, options = args[:-1], dict(args[-1])

        def patch(h: Any, skip: Any, here: dict[str, Any]) -> tuple[Any, Any]:
            if here["block"][1] != output_block:
                return h, skip
            if is_full:
                self._features = h.clone()
            return self._features.clone(), skip

        options["patches"] = {**options.get("patches", {}), "output_block_patch": [patch]}
        return executor(x, timesteps, *args, options, **kwargs)


def everywhere(_: float) -> bool:
    return True


@pytest.mark.parametrize(
    ("layer", "block", "depth"),
    [(0, 0, 1), (0, 1, 2), (0, 7, 8), (1, 0, 3), (1, 1, 4), (2, 0, 5), (2, 1, 6), (3, 0, 7), (3, 1, 8)],
)
@pytest.mark.usefixtures("pack")
def test_layer_and_block_cut_where_onediff_does(
    core: Core, comfy_sdxl: TinySDXL, layer: int, block: int, depth: int
) -> None:
    sampling = Sampling(steps=5)
    onediff = OneDiff(3, depth, is_inside=everywhere)
    expected = draw(core, onediff.beside(comfy_sdxl), sampling=sampling)
    assert onediff.kinds == "FrrFr"
    numbers = {"cache_interval": 3, "cache_layer_id": layer, "cache_block_id": block, **WHOLE}
    assert torch.equal(draw(core, reused(core, comfy_sdxl, **numbers), sampling=sampling), expected)
    other = {**numbers, "cache_layer_id": 0, "cache_block_id": depth % 8}
    assert not torch.equal(draw(core, reused(core, comfy_sdxl, **other), sampling=sampling), expected)


@pytest.mark.usefixtures("pack")
def test_the_defaults_of_svd_cut_where_onediff_does(core: Core, comfy_svd: TinySVD) -> None:
    sampling = Sampling(steps=4, cfg=2.0, scheduler="karras")
    onediff = OneDiff(3, 2, is_inside=everywhere)
    expected = draw(core, onediff.beside(comfy_svd), sampling=sampling)
    assert onediff.kinds == "FrrF"
    assert torch.equal(draw(core, reused(core, comfy_svd), sampling=sampling), expected)


@pytest.mark.parametrize(("levels", "skips"), [([2, 2, 2, 2], 12), ([2, 2, 2], 9)])
@pytest.mark.parametrize("layer", range(5))
def test_every_pair_of_numbers_is_a_branch_or_an_error_that_says_which_are(
    settings: Any, levels: list[int], skips: int, layer: int
) -> None:
    from skipstep.errors import BranchError

    if layer > len(levels):
        with pytest.raises(BranchError, match=f"cache_layer_id must be 0..{len(levels)} for this UNet"):
            settings.branch_of(levels, layer=layer, block=0)
        return
    most = skips - 2 - 2 * layer
    branches = [settings.branch_of(levels, layer=layer, block=block) for block in range(most + 1)]
    assert branches == list(range(2 * layer + 1, skips))
    with pytest.raises(BranchError, match=f"must be 0..{most} with cache_layer_id {layer} for this UNet"):
        settings.branch_of(levels, layer=layer, block=most + 1)


@pytest.mark.parametrize("scheduler", ["normal", "ddim_uniform", "karras"])
@pytest.mark.parametrize(
    ("start", "end"), [(0, 1000), (1, 1000), (250, 750), (49, 950), (50, 949), (0, 1), (999, 1000)]
)
def test_the_window_is_onediffs(comfy_sdxl: TinySDXL, settings: Any, scheduler: str, start: int, end: int) -> None:
    import comfy.samplers

    levels = comfy_sdxl.model.get_model_object("model_sampling")
    sigmas = comfy.samplers.calculate_sigmas(levels, scheduler, 20)
    window = settings.window_of(start, end)
    first, last = 0, len(sigmas) - 1
    if not window.is_whole:
        first, last = window.steps([float(sigma) for sigma in sigmas], levels.percent_to_sigma)
    timesteps = [int(levels.timestep(sigma)) for sigma in sigmas[:-1]]
    expected = [index for index, at in enumerate(timesteps) if 1000 - end <= at <= 1000 - start]
    assert list(range(first, last)) == expected


@pytest.mark.usefixtures("pack")
def test_the_window_of_the_node_is_onediffs(core: Core, comfy_sdxl: TinySDXL) -> None:
    sampling = Sampling(steps=8)
    onediff = OneDiff(3, 2, is_inside=lambda at: 200 <= at <= 800)
    expected = draw(core, onediff.beside(comfy_sdxl), sampling=sampling)
    assert onediff.kinds == "FFFrrFFF"
    assert torch.equal(draw(core, reused(core, comfy_sdxl, start_step=200, end_step=800), sampling=sampling), expected)
    assert not torch.equal(draw(core, reused(core, comfy_sdxl), sampling=sampling), expected)


def test_a_window_without_steps_is_refused(settings: Any) -> None:
    from skipstep.errors import OptionError

    with pytest.raises(OptionError, match="start_step must be below end_step, got 500 and 500"):
        settings.window_of(500, 500)
