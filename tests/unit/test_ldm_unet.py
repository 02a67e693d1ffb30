"""Both passes of an ldm UNet: exact on the same input at every branch, with patches and ControlNet."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from ldm_toys import SKIPS, ldm_call, ldm_unet, residuals
from torch import Tensor, nn

from skipstep.deepcache import LdmMixedSplit, LdmUNetSplit, count_ldm_skips
from skipstep.errors import BranchError, UnsupportedModelError

BRANCHES = range(SKIPS)


@pytest.fixture(autouse=True)
def _no_gradients() -> Any:
    with torch.no_grad():
        yield


def free_u(h: Tensor, skip: Tensor, options: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """Writes in place, as FreeU does."""
    h.mul_(1.1 + 0.1 * options["block"][1])
    return h, 0.9 * skip


def patched(call: dict[str, Any], **patches: Any) -> dict[str, Any]:
    return {**call, "transformer_options": {**call["transformer_options"], "patches": patches}}


def everything(seed: int) -> dict[str, Any]:
    """A call with patches at every place and a ControlNet."""
    call = ldm_call(seed, size=(7, 9), control=residuals(seed, size=(7, 9)))
    return patched(
        call,
        output_block_patch=[free_u],
        input_block_patch=[lambda h, options: h + 0.1 * options["block"][1]],
        middle_block_after_patch=[lambda at: {"h": 2 * at["h"]}],
        attn2_patch=[lambda q, k, v, options: (q + 0.1 * options["transformer_index"], k, v)],
    )


@pytest.mark.parametrize("branch", BRANCHES)
@pytest.mark.parametrize("make", [ldm_call, everything])
def test_both_passes_are_the_unet(make: Any, branch: int) -> None:
    unet = ldm_unet()
    expected = unet(**make(0))
    assert expected.std() > 1e-3
    split = LdmUNetSplit(unet, branch)
    output, features = split.full(**make(0))
    kept = features.clone()
    assert torch.equal(output, expected)
    assert torch.equal(split.reuse(features, **make(0)), expected)
    assert torch.equal(features, kept)
    assert not torch.equal(split.reuse(features, **make(1)), unet(**make(1)))  # features are used


@pytest.mark.parametrize("branch", BRANCHES)
def test_arguments_may_be_given_in_order_and_are_not_written_to(branch: int) -> None:
    unet, call = ldm_unet(), everything(0)
    lengths = {name: len(listed) for name, listed in call["control"].items()}
    options = dict(call["transformer_options"])
    split = LdmUNetSplit(unet, branch)
    output, features = split.full(*call.values())
    split.reuse(features, *call.values())
    assert torch.equal(output, unet(**everything(0)))
    assert {name: len(listed) for name, listed in call["control"].items()} == lengths
    assert call["transformer_options"] == options


def test_a_reuse_pass_runs_the_shallow_blocks_only() -> None:
    unet = ldm_unet()
    calls: list[str] = []
    for name, module in unet.named_modules():
        if not list(module.children()):
            module.register_forward_hook(lambda *_, name=name: calls.append(name))
    split = LdmUNetSplit(unet, 1)
    _, features = split.full(**ldm_call(0))
    calls.clear()
    split.reuse(features, **ldm_call(0))
    ran = {name.split(".")[0] + "." + name.split(".")[1] for name in calls if "_blocks" in name}
    assert ran == {"input_blocks.0", "input_blocks.1", "output_blocks.2", "output_blocks.3"}


def test_several_branches_are_kept_by_one_full_pass() -> None:
    unet = ldm_unet()
    split = LdmMixedSplit(unet, (3, 0, 3))
    assert split.branches == (0, 3)
    output, features = split.full(**everything(0))
    assert torch.equal(output, unet(**everything(0)))
    for branch in (0, 3):
        assert torch.equal(split.at(branch).reuse(features[branch], **everything(0)), output)
    assert features[0].shape != features[3].shape


def test_what_cannot_be_cut_is_refused() -> None:
    with pytest.raises(BranchError, match=r"branch must be 0\.\.3 for this UNet \(4 skips\), got 4"):
        LdmUNetSplit(ldm_unet(), 4)
    with pytest.raises(UnsupportedModelError, match="Linear has no input_blocks, middle_block and output_blocks"):
        count_ldm_skips(nn.Linear(1, 1))
    unet = ldm_unet()
    unet.output_blocks = unet.output_blocks[:-1]
    with pytest.raises(UnsupportedModelError, match="makes 4 skips on the way down and uses 3"):
        count_ldm_skips(unet)
    unet._orig_mod = None
    with pytest.raises(UnsupportedModelError, match="already compiled"):
        count_ldm_skips(unet)
