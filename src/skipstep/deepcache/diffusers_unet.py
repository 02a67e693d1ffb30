"""DeepCache split of the diffusers UNets (`UNet2DConditionModel`, `UNetSpatioTemporalConditionModel`).

No forward code is copied: both passes are the UNet's own `forward` over views of it. Skips are numbered in the order
the down path makes them: 0 is `conv_in`, then each resnet and each downsampler. So branch b equals DeepCache's
`cache_branch_id` b (Ma et al. 2023, arXiv:2312.00858).
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import BranchError, UnsupportedFeatureError, UnsupportedModelError
from ._view import FeatureSlot, FeatureTap, module_view

_CUTTABLE = {"resnets", "attentions", "downsamplers", "upsamplers"}


def count_skips(unet: Any) -> int:
    """How many skip connections the UNet has: branches are 0 to this number less one.

    Raises:
        UnsupportedModelError: if `unet` has no down and up path of resnets, attentions and samplers.
    """
    name = type(unet).__name__
    if hasattr(unet, "_orig_mod"):  # what torch.compile returns; its class is costly to import
        raise UnsupportedModelError(
            "the UNet is already compiled with torch.compile, which froze its pass; attach before compiling"
        )
    down, up = getattr(unet, "down_blocks", None), getattr(unet, "up_blocks", None)
    if (
        not isinstance(down, nn.ModuleList)
        or not isinstance(up, nn.ModuleList)
        or getattr(unet, "mid_block", None) is None
    ):
        raise UnsupportedModelError(
            f"{name} has no down_blocks, mid_block and up_blocks; skipstep cuts UNets "
            "(UNet2DConditionModel, UNetSpatioTemporalConditionModel)"
        )
    for block in (*down, *up):
        others = {child for child, module in block.named_children() if module is not None} - _CUTTABLE
        if others or not hasattr(block, "resnets"):
            raise UnsupportedModelError(
                f"{name} has a {type(block).__name__} with {sorted(others) or 'no resnets'}, which cannot be cut; "
                f"blocks may have {', '.join(sorted(_CUTTABLE))}"
            )
    blocks: list[Any] = [*up]
    made = 1 + sum(_units(block) for block in down)
    used = sum(len(block.resnets) for block in blocks)
    if made != used:
        raise UnsupportedModelError(f"{name} makes {made} skips on the way down and uses {used} on the way up")
    return used


def _units(block: Any) -> int:
    return len(block.resnets) + len(getattr(block, "downsamplers", None) or ())


def _part_of(block: Any, part: slice, **children: nn.Module | None) -> nn.Module:
    """A view of a block with some of its resnets and the attentions that go with them."""
    if hasattr(block, "attentions"):
        children["attentions"] = nn.ModuleList(list(block.attentions)[part])
    view: nn.Module = module_view(block, resnets=nn.ModuleList(list(block.resnets)[part]), **children)
    return view


def _with(items: Any, index: int, replacement: nn.Module) -> nn.ModuleList:
    return nn.ModuleList([*items[:index], replacement, *items[index + 1 :]])


class DiffusersUNetSplit:
    """Full and reuse pass of a diffusers UNet cut at skip `branch`.

    Nothing is attached to the UNet, and no tensor is held between calls. Make a split when a run begins: children
    put on the UNet later (a LoRA on `conv_in`, FreeU) are not seen.

    Raises:
        BranchError: if the UNet has no such skip.
        UnsupportedModelError: if the UNet cannot be cut.
    """

    def __init__(self, unet: Any, branch: int) -> None:
        skips = count_skips(unet)
        if not 0 <= branch < skips:
            raise BranchError(
                f"branch must be 0..{skips - 1} for this UNet ({skips} skips), got {branch}; 0 is fastest"
            )
        self.unet = unet
        self.branch = branch
        self._slot = FeatureSlot()
        self._parameters = tuple(inspect.signature(type(unet).forward).parameters)[1:]
        down, self._whole_down_blocks, self._cuts_down_block = self._down_path()
        up, source, full_view = self._up_path()
        self._cut_after_mid = source is unet.mid_block
        self._tap = full_view[0]
        self._full: Any = full_view[1]
        self._shallow: Any = module_view(
            unet, down_blocks=nn.ModuleList(down), mid_block=self._slot, up_blocks=nn.ModuleList(up)
        )

    def full(self, *args: Any, **kwargs: Any) -> tuple[Any, Tensor]:
        """The UNet's own output and the deep features (batch, channels, height, width) at the cut.

        For video they are (batch * frames, channels, height, width).
        """
        args, kwargs = self.before(args, kwargs)
        output = self._full(*args, **kwargs)
        return self.after(output), self._tap.take()

    def reuse(self, features: Tensor, *args: Any, **kwargs: Any) -> Any:
        """The UNet's output if its deep features were `features`, which is not written to.

        Raises:
            UnsupportedFeatureError: if a T2I-Adapter adds to a block that the cut runs through.
        """
        args, kwargs = self.before((), self.reuse_inputs(features, args, kwargs))
        with self.filled(features):
            output = self._shallow(*args, **kwargs)
        return self.after(output)

    @property
    def shallow(self) -> Any:
        """The view of the UNet that reuse passes run, to be called inside `filled`."""
        return self._shallow

    @contextmanager
    def filled(self, features: Tensor) -> Iterator[None]:
        """The deep features of `shallow`, for the calls inside."""
        self._slot.features = features
        try:
            yield
        finally:
            self._slot.features = None

    def named(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """All arguments of a UNet call by name."""
        return {**dict(zip(self._parameters, args, strict=False)), **kwargs}

    def reuse_inputs(self, features: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """The arguments of a UNet call that are left for `shallow`, by name.

        Raises:
            UnsupportedFeatureError: as `reuse`.
        """
        return self._shallow_inputs(self.named(args, kwargs), features)

    @property
    def tapped(self) -> Any:
        """The view of the UNet that full passes run, which keeps the deep features for `take`."""
        return self._full

    def take(self) -> Tensor:
        """The deep features of the latest run of `tapped`, which are forgotten here."""
        return self._tap.take()

    def _down_path(self) -> tuple[list[nn.Module], int, bool]:
        """The blocks that make skips 0 to `branch`, how many of them are whole, and whether one is cut."""
        blocks: list[nn.Module] = []
        left = self.branch
        for block in self.unet.down_blocks:
            units = _units(block)
            if left < units:
                if left:
                    blocks.append(_part_of(block, slice(0, left), downsamplers=None))
                return blocks, len(blocks) - bool(left), bool(left)
            blocks.append(block)
            left -= units
        return blocks, len(blocks), False

    def _up_path(self) -> tuple[list[nn.Module], nn.Module, tuple[FeatureTap, Any]]:
        """The blocks that use those skips, the module whose output is the deep features, and the tapped UNet."""
        blocks = list(self.unet.up_blocks)
        left = self.branch + 1
        index = len(blocks)
        while left:
            index -= 1
            left -= min(left, len(blocks[index].resnets))
        kept = self.branch + 1 - sum(len(block.resnets) for block in blocks[index + 1 :])
        block = blocks[index]
        before = len(block.resnets) - kept
        if before:
            children = "attentions" if hasattr(block, "attentions") else "resnets"
            source = getattr(block, children)[before - 1]
            tap = FeatureTap(source)
            tapped = module_view(block, **{children: _with(getattr(block, children), before - 1, tap.view)})
            full = module_view(self.unet, up_blocks=_with(blocks, index, tapped))
            return [_part_of(block, slice(before, None)), *blocks[index + 1 :]], source, (tap, full)
        if index:
            source = blocks[index - 1]
            tap = FeatureTap(source)
            full = module_view(self.unet, up_blocks=_with(blocks, index - 1, tap.view))
        else:
            source = self.unet.mid_block
            tap = FeatureTap(source)
            full = module_view(self.unet, mid_block=tap.view)
        return blocks[index:], source, (tap, full)

    def _shallow_inputs(self, kwargs: dict[str, Any], features: Tensor) -> dict[str, Any]:
        """The keyword arguments of a reuse pass, without what is inside `features` already; changes `kwargs`."""
        mid = kwargs.get("mid_block_additional_residual")
        if mid is not None and not self._cut_after_mid:  # a ControlNet's
            kwargs["mid_block_additional_residual"] = torch.zeros((), dtype=features.dtype, device=features.device)
        name = "down_intrablock_additional_residuals"
        if kwargs.get(name) is None and mid is None:
            name = "down_block_additional_residuals"  # the older spelling of a T2I-Adapter's
        adapter = kwargs.get(name)
        if adapter is not None and not (name == "down_block_additional_residuals" and mid is not None):
            kwargs[name] = self._adapter_residuals(list(adapter))
        return kwargs

    def _adapter_residuals(self, residuals: list[Tensor]) -> list[Tensor]:
        whole = self._whole_down_blocks
        if self._cuts_down_block and len(residuals) > whole:
            whole_blocks = [0]
            for block in self.unet.down_blocks:
                whole_blocks.append(whole_blocks[-1] + _units(block))
            raise UnsupportedFeatureError(
                f"a T2I-Adapter adds to down block {whole}, which branch {self.branch} cuts through; "
                f"use a branch between blocks: {', '.join(map(str, whole_blocks))}"
            )
        return residuals if self._cut_after_mid else residuals[:whole]

    # accelerate moves weights and inputs from a hook on the UNet itself, which views do not run
    def before(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """What accelerate does to the arguments ahead of a call of the UNet."""
        hook = getattr(self.unet, "_hf_hook", None)
        if hook is None:
            return args, kwargs
        args, kwargs = hook.pre_forward(self.unet, *args, **kwargs)
        return args, kwargs

    def after(self, output: Any) -> Any:
        """What it does to the output."""
        hook = getattr(self.unet, "_hf_hook", None)
        return output if hook is None else hook.post_forward(self.unet, output)
