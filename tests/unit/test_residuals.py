"""What a UNet is handed by a ControlNet or a T2I-Adapter: exact, or refused."""

from __future__ import annotations

import pytest
import torch
from models import Call, TinyUNet, tiny_unet
from runs import assert_exact

from skipstep.deepcache import DiffusersUNetSplit
from skipstep.errors import UnsupportedFeatureError

pytestmark = pytest.mark.usefixtures("no_grad")


def controlnet_call(tiny: TinyUNet, *, mid: float = 1.0) -> Call:
    """A call with residuals for every skip and the middle, as a ControlNet gives."""
    generator = torch.Generator().manual_seed(9)
    args, kwargs = tiny.inputs(0)
    shapes = _skip_shapes(tiny)
    down = [torch.randn(shape, generator=generator) for shape in shapes]
    return args, {
        **kwargs,
        "down_block_additional_residuals": tuple(down),
        "mid_block_additional_residual": torch.randn(shapes[-1], generator=generator) * mid,
    }


def _skip_shapes(tiny: TinyUNet) -> list[torch.Size]:
    shapes: list[torch.Size] = []
    handle = tiny.unet.conv_in.register_forward_hook(lambda _, __, output: shapes.append(output.shape))
    others = [
        block.register_forward_hook(lambda _, __, output: shapes.extend(skip.shape for skip in output[1]))
        for block in tiny.unet.down_blocks
    ]
    tiny(0)
    for hook in (handle, *others):
        hook.remove()
    return shapes


@pytest.mark.parametrize("name", ["sd15", "sdxl"])
def test_controlnet_residuals_are_exact_at_every_branch(name: str) -> None:
    tiny = tiny_unet(name)
    output = assert_exact(tiny.unet, range(tiny.skips), lambda: controlnet_call(tiny))
    args, kwargs = controlnet_call(tiny, mid=2.0)
    assert not torch.equal(output, tiny.unet(*args, **kwargs)[0])  # the middle's is not lost
    assert not torch.equal(output, tiny(0))


def adapter_call(tiny: TinyUNet, *, count: int, spelling: str) -> Call:
    """A call with a T2I-Adapter's residuals for the first `count` of the down blocks and the middle."""
    shapes = _skip_shapes(tiny)
    per_block = {"sd15": (1, 4, 7, 10), "sdxl": (3, 4, 7, 8)}[tiny.name]  # skips of the size that each block adds to
    generator = torch.Generator().manual_seed(9)
    residuals = [torch.randn(shapes[skip], generator=generator) for skip in per_block[:count]]
    args, kwargs = tiny.inputs(0)
    return args, {**kwargs, spelling: residuals}


BOUNDARIES = {"sd15": (0, 3, 6, 9, 11), "sdxl": (0, 3, 6, 8)}
NEW, OLD = "down_intrablock_additional_residuals", "down_block_additional_residuals"


@pytest.mark.parametrize("spelling", [NEW, OLD])
@pytest.mark.parametrize("name", BOUNDARIES)
@pytest.mark.filterwarnings("ignore:Passing intrablock residual connections:FutureWarning")
def test_a_t2i_adapter_is_exact_between_blocks_and_refused_inside_one(name: str, spelling: str) -> None:
    tiny = tiny_unet(name)
    output = assert_exact(tiny.unet, BOUNDARIES[name], lambda: adapter_call(tiny, count=4, spelling=spelling))
    assert not torch.equal(output, tiny(0))
    _, features = DiffusersUNetSplit(tiny.unet, 1).full(*tiny.inputs(0)[0], **tiny.inputs(0)[1])
    for branch in set(range(tiny.skips)) - set(BOUNDARIES[name]):
        args, kwargs = adapter_call(tiny, count=4, spelling=spelling)
        usable = ", ".join(map(str, BOUNDARIES[name]))
        with pytest.raises(UnsupportedFeatureError, match=f"branch {branch} cuts.*between blocks: {usable}$"):
            DiffusersUNetSplit(tiny.unet, branch).reuse(features, *args, **kwargs)


def test_a_t2i_adapter_of_the_blocks_above_the_cut_is_exact_inside_a_block() -> None:
    tiny = tiny_unet("sd15")
    assert_exact(tiny.unet, range(3, 12), lambda: adapter_call(tiny, count=1, spelling=NEW))


def test_a_t2i_adapter_beside_a_controlnet_is_exact_between_blocks() -> None:
    tiny = tiny_unet("sd15")

    def call() -> Call:
        args, kwargs = controlnet_call(tiny)
        return args, kwargs | adapter_call(tiny, count=4, spelling=NEW)[1]

    output = assert_exact(tiny.unet, BOUNDARIES["sd15"], call)
    args, kwargs = controlnet_call(tiny)
    assert not torch.equal(output, tiny.unet(*args, **kwargs)[0])
