"""The drift alarm: a reuse pass with the features of its own evaluation is the full pass, whatever is patched.

It fails when a release of ComfyUI changes what its UNet does between the blocks that a reuse pass keeps.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from comfy.patcher_extension import WrappersMP
from host.scenes import SCENES, Scene, Studio

from skipstep.deepcache import LdmMixedSplit

BRANCHES = {9: (0, 2, 4, 5, 8), 12: (0, 3, 7, 11)}  # of SDXL, SVD: beside levels, within them, and the whole way down
PATCHED = ("plain", "lora", "controlnet", "controlnet-20-60", "freeu", "pag", "sag", "hypertile", "image-prompt")
REPLAYED = (*PATCHED, "odd-size", "two-tiles", "everything", "svd")
EVALUATIONS = (1, 2)  # a ControlNet of 20 to 60 % is on, and off
CONTROLS = {"controlnet": {True}, "everything": {True}, "controlnet-20-60": {True, False}}
Seen = tuple[str, str, int, int]


class Replay:
    """Runs both passes beside the UNet's own, and compares their outputs and what patches are told of the blocks."""

    def __init__(self) -> None:
        self.calls = 0
        self.controls: set[bool] = set()
        self.blocks: set[str] = set()
        self._evaluation = -1
        self._seen: list[Seen] = []

    def beside(self, model: Any) -> Any:
        """The model, compared at each call of some evaluations."""
        model = model.clone()
        model.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, "replay", self._evaluate)
        model.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "replay", self._call)
        model.set_model_attn2_output_patch(lambda n, options: self._note("attention", options, n))
        model.set_model_input_block_patch(lambda h, options: self._note("input", options, h))
        model.set_model_output_block_patch(lambda h, skip, options: (self._note("output", options, h), skip))
        return model

    def _note(self, patch: str, options: dict[str, Any], h: torch.Tensor) -> torch.Tensor:
        kind, number = options["block"]
        self._seen.append((patch, kind, number, options["transformer_index"]))
        return h

    def _evaluate(self, executor: Any, *args: Any, **kwargs: Any) -> Any:
        self._evaluation += 1
        return executor(*args, **kwargs)

    def _call(self, executor: Any, *args: Any, **kwargs: Any) -> Any:
        if self._evaluation not in EVALUATIONS:
            return executor(*args, **kwargs)
        self.calls += 1
        self.controls.add(args[4] is not None)
        residuals = _count(args[4])
        skips = len(executor.class_obj.output_blocks)
        split = LdmMixedSplit(executor.class_obj, BRANCHES[skips])
        (output, features), all_seen = self._watched(split.full, *args, **kwargs)
        self.blocks |= {patch for patch, *_ in all_seen}
        for branch in BRANCHES[skips]:
            made, seen = self._watched(split.at(branch).reuse, features[branch], *args, **kwargs)
            assert torch.equal(made, output), f"branch {branch}"
            assert seen == [block for block in all_seen if _is_kept(block, branch, skips)], f"branch {branch}"
            if self.calls == 1:
                other = split.at(branch).reuse(features[branch] * 1.5, *args, **kwargs)
                assert not torch.equal(other, output), f"branch {branch} does not use its features"
        assert _count(args[4]) == residuals
        own = executor(*args, **kwargs)
        assert own.std() > 1e-3
        assert torch.equal(own, output)
        return own

    def _watched(self, function: Any, *args: Any, **kwargs: Any) -> tuple[Any, list[Seen]]:
        self._seen = []
        return function(*args, **kwargs), self._seen


def _is_kept(block: Seen, branch: int, skips: int) -> bool:
    _, kind, number, _ = block
    return (kind == "input" and number <= branch) or (kind == "output" and number >= skips - 1 - branch)


def _count(control: Any) -> dict[str, int]:
    return {} if control is None else {name: len(residuals) for name, residuals in control.items()}


def replayed(studio: Studio, scene: Scene) -> tuple[Replay, torch.Tensor]:
    """A run with both passes beside it."""
    replay = Replay()
    drawn = scene.drawing(studio.core, replace(scene.tiny, model=replay.beside(scene.tiny.model)), "euler")
    return replay, drawn


@pytest.mark.parametrize("name", REPLAYED)
def test_reuse_with_own_features_is_the_full_pass(studio: Studio, plain: Any, name: str) -> None:
    scene = SCENES[name](studio)
    replay, drawn = replayed(studio, scene)
    assert replay.calls == len(EVALUATIONS) * len(scene.calls_at(0.0))
    assert replay.blocks == {"attention", "input", "output"}
    assert replay.controls == CONTROLS.get(name, {False})
    assert torch.equal(drawn, plain(name, "euler"))  # both passes leave nothing behind
