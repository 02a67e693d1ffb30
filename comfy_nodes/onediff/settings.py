"""What OneDiff's DeepCache numbers are in ours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from skipstep.deepcache import DeepCache
from skipstep.errors import BranchError, OptionError

from ..sampling import Window, speed_up, unet_of

_LAST = 1000  # of OneDiff's steps, which count down the 1000 timesteps of training
_SPAN = 999.0  # timesteps between ComfyUI's 0 and 100 percent of sampling
FORECAST = "verbatim"  # OneDiff repeats the latest features


@dataclass(frozen=True, kw_only=True)
class OldDeepCache:
    """The widgets that OneDiff's three DeepCache nodes have in common."""

    cache_interval: int = 3
    cache_layer_id: int = 0
    cache_block_id: int = 1
    start_step: int = 0
    end_step: int = 1000


def branch_of(res_blocks: Sequence[int], *, layer: int, block: int) -> int:
    """The branch at which OneDiff cuts a UNet with so many residual blocks at each level.

    OneDiff's depth is the blocks of the levels above `layer`, and `block` + 1. Its reuse pass runs the input blocks 0
    to that depth, with `conv_in` as number 0, and ours runs those up to the branch: they are the same number.
    Downsamplers are input blocks too and are not in the sum, so layer 1 begins one block early.

    Raises:
        BranchError: if the UNet has no such layer, or not so many input blocks.
    """
    skips = sum(res_blocks) + len(res_blocks)  # the blocks, conv_in, and a downsampler after each level but the last
    if layer > len(res_blocks):
        raise BranchError(
            f"cache_layer_id must be 0..{len(res_blocks)} for this UNet ({len(res_blocks)} levels), got {layer}; "
            "0 is fastest"
        )
    branch = sum(res_blocks[:layer]) + block + 1
    if branch >= skips:
        first = sum(res_blocks[:layer]) + 1
        raise BranchError(
            f"cache_block_id must be 0..{skips - 1 - first} with cache_layer_id {layer} for this UNet ({skips} skips), "
            f"got {block}; cache_layer_id 0 with cache_block_id 0 is fastest"
        )
    return branch


def window_of(start_step: int, end_step: int) -> Window:
    """The window in which OneDiff would reuse features: timesteps from 1000 - `start_step` to 1000 - `end_step`.

    OneDiff compares the nearest whole timestep, so the edges lie half a timestep outside.

    Raises:
        OptionError: if nothing lies between the two.
    """
    if start_step >= end_step:
        raise OptionError(
            f"start_step must be below end_step, got {start_step} and {end_step}; 0 and {_LAST} are all of sampling"
        )
    edges = (start_step - 1.5) / _SPAN, (end_step - 0.5) / _SPAN
    return Window(*(min(max(edge, 0.0), 1.0) for edge in edges))


def reuse(model: Any, old: OldDeepCache) -> tuple[Any, str]:
    """A clone of a MODEL with OneDiff's caching on it, and what it is called in our own node.

    Raises:
        BranchError, OptionError: if the numbers fit no part of this UNet or of sampling.
        UnsupportedModelError: if the model is no UNet that can be cut.
    """
    blocks = [int(count) for count in unet_of(model).num_res_blocks]
    branch = branch_of(blocks, layer=old.cache_layer_id, block=old.cache_block_id)
    window = window_of(old.start_step, old.end_step)
    cache = DeepCache(interval=old.cache_interval, branch=branch, forecast=FORECAST)
    return speed_up(model, cache=cache, window=window), _told(cache, window)


def _told(cache: DeepCache, window: Window) -> str:
    told = (
        f"DeepCache Speedup with preset custom, interval {cache.interval}, branch {cache.branch}, forecast {FORECAST}, "
        f"spacing {cache.spacing}, start_percent {window.start:.3g}, end_percent {window.end:.3g}"
    )
    if window.end < 1:  # OneDiff never ran the whole UNet again after its end_step
        told += ". After end_step every pass is full, where OneDiff reused its latest features to the end"
    return told
