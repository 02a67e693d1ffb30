"""Real compilers on the passes of an ldm UNet, in inference mode as ComfyUI runs them: the same, and a LoRA follows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from ldm_toys import ldm_call, ldm_unet, residuals, sampling_options
from torch import nn

from skipstep.compile import CompileOptions, Compiler, GraphStore, relative_error
from skipstep.compile.inductor import inductor_availability
from skipstep.compile.openvino import OpenVINOBackend
from skipstep.deepcache import LdmUNetSplit

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("lean_inductor"), pytest.mark.timeout(1800)]
ROUNDING = 1e-4  # other kernels add in another order
BRANCH = 1
ON_ONEFLOW = pytest.param("oneflow", 0, marks=pytest.mark.oneflow)


def call(seed: int) -> dict[str, Any]:
    return ldm_call(seed, control=residuals(seed), transformer_options=sampling_options(seed))


def errors(split: Any, seed: int = 0) -> list[float]:
    """How far both passes are from those of the UNet itself; the reuse pass on features of another input."""
    eager = LdmUNetSplit(split.unet, BRANCH)
    expected, features = eager.full(**call(seed))
    output, made = split.full(**call(seed))
    reused, expected_reuse = split.reuse(features, **call(seed + 1)), eager.reuse(features, **call(seed + 1))
    assert relative_error(expected, expected_reuse) > 0.01
    pairs = ((expected, output), (features, made), (expected_reuse, reused))
    return [relative_error(one, other) for one, other in pairs]


def load_lora(unet: Any) -> None:
    """New parameters in place of the old ones, as ComfyUI does."""
    for module in unet.modules():
        if isinstance(module, nn.Linear):
            module.weight = nn.Parameter(module.weight * 1.5, requires_grad=False)


def compiler(name: str, folder: Path) -> Compiler:
    if name == "inductor" and not inductor_availability().ok:
        pytest.skip(inductor_availability().detail)
    if name == "openvino" and not OpenVINOBackend(GraphStore(folder)).available().ok:
        pytest.skip("OpenVINO is not installed")
    return Compiler(name, CompileOptions(), store=GraphStore(folder))


@pytest.mark.parametrize(("name", "anew"), [("inductor", 0), ("aot", 0), ("openvino", 2), ON_ONEFLOW])
def test_both_passes_are_the_unets_and_follow_its_weights(tmp_path: Path, name: str, anew: int) -> None:
    with torch.inference_mode():
        unet, made = ldm_unet(), compiler(name, tmp_path)
        split = made(unet, (BRANCH,))
        for seed in (0, 1):
            assert max(errors(split, seed)) <= ROUNDING
        before = unet(**call(0))
        load_lora(unet)
        made.rest()
        assert relative_error(before, unet(**call(0))) > 0.01
        assert max(errors(split)) <= ROUNDING
        counters = made.counters
        assert (counters.compiles, counters.eager, counters.failures) == (2 + anew, 0, [])
        if name not in ("inductor", "oneflow"):  # which leave that to torch, or keep nothing
            other = compiler(name, tmp_path)
            assert max(errors(other(unet, (BRANCH,)))) <= ROUNDING
            assert (other.counters.compiles, other.counters.loads, other.counters.failures) == (0, 2, [])
