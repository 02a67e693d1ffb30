"""Backends that compile nothing, and calls with what a ControlNet or a T2I-Adapter hands to a UNet."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from models import CONTEXT, PIXELS, Call, TinyUNet, randomised
from torch import Tensor, nn

from skipstep.compile import Availability, PassSpec

Graph = Callable[..., tuple[Tensor, ...]]


def small_unet(seed: int = 0) -> TinyUNet:
    """Two levels of one resnet each, with attention below the first: 4 skips, a fifth of the modules."""
    unet = UNet2DConditionModel(
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=2,
        cross_attention_dim=CONTEXT,
        norm_num_groups=4,
        sample_size=PIXELS // 2,
    )
    return TinyUNet("small", randomised(unet, seed), 4, ((16, 16), (17, 13)), lambda _: {})


class Fake:
    """Hands out what `make` makes of a pass; the pass itself, if not told."""

    def __init__(
        self,
        make: Callable[[nn.Module], Graph] = lambda module: module,
        *,
        name: str = "fake",
        supports: tuple[str, ...] = ("dynamic", "precision"),
        missing: str | None = None,
    ) -> None:
        self.name = name
        self.supports = frozenset(supports)
        self.specs: list[PassSpec] = []
        self._make = make
        self._missing = missing

    def available(self) -> Availability:
        return Availability(self._missing is None, self._missing or "always here")

    def compile(self, module: nn.Module, spec: PassSpec) -> Graph:
        self.specs.append(spec)
        graph = self._make(module)
        spec.counters.compiles += 1
        return graph


class Frozen:
    """A graph that has all of the model for constants, as it was when it was compiled."""

    def __init__(self, module: nn.Module) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch renames the class of the call's tree specs
            self._copy = copy.deepcopy(module)

    def __call__(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        outputs: tuple[Tensor, ...] = self._copy(*tensors)
        return outputs


class Refreshable(Frozen):
    """One that can take its weights anew, and notes from which modules it did."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__(module)
        self.modules = [module]

    def refresh(self, module: nn.Module) -> None:
        self.modules.append(module)
        self._copy.load_state_dict(module.state_dict())


def raising(error: BaseException) -> Callable[..., Any]:
    """A function that raises, whatever it is given."""

    def fail(*_: Any) -> Any:
        raise error

    return fail


def skip_shapes(tiny: TinyUNet) -> list[torch.Size]:
    """The shapes of all skips for `tiny.inputs(0)`, in order."""
    shapes: list[torch.Size] = []
    first = tiny.unet.conv_in.register_forward_hook(lambda _, __, output: shapes.append(output.shape))
    others = [
        block.register_forward_hook(lambda _, __, output: shapes.extend(skip.shape for skip in output[1]))
        for block in tiny.unet.down_blocks
    ]
    tiny(0)
    for hook in (first, *others):
        hook.remove()
    return shapes


def controlnet_call(tiny: TinyUNet) -> Call:
    """A call with residuals for every skip and the middle."""
    generator = torch.Generator().manual_seed(9)
    args, kwargs = tiny.inputs(0)
    down = [torch.randn(shape, generator=generator) for shape in skip_shapes(tiny)]
    more = {"down_block_additional_residuals": tuple(down), "mid_block_additional_residual": down[-1] * 0.5}
    return args, kwargs | more


def adapter_call(tiny: TinyUNet) -> Call:
    """A call of the SDXL or SD1.5 shape with a T2I-Adapter's list: one residual for each down block and the middle."""
    shapes, generator = skip_shapes(tiny), torch.Generator().manual_seed(9)
    added_to = {"sd15": (1, 4, 7, 10), "sdxl": (3, 4, 7, 8)}[tiny.name]
    args, kwargs = tiny.inputs(0)
    residuals = [torch.randn(shapes[skip], generator=generator) for skip in added_to]
    return args, {**kwargs, "down_intrablock_additional_residuals": residuals}
