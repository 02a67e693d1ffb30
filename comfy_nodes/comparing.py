"""A sped-up MODEL against the same model without, on one seed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .figures import figures_of
from .report import describe
from .sampling import speedup_of, without_speedup


@dataclass(frozen=True, kw_only=True)
class Compared:
    """Pictures (batch, height, width, 3) in 0..1, and the figures in words."""

    baseline: Tensor
    sped_up: Tensor
    difference: Tensor
    text: str


def compare(model: Any, vae: Any, sample: Callable[[Any], Any], *, warm_up: bool) -> Compared:
    """Draw with both; `sample` makes the latent of a MODEL. The order is baseline first.

    `warm_up` draws once with each and keeps no time: what the first run costs (loading, compiling, calibrating) is
    not what later ones do.
    """
    plain = without_speedup(model)
    if warm_up:
        sample(plain)
        sample(model)
    before, baseline = _timed(sample, plain)
    after, sped_up = _timed(sample, model)
    pictures = [_decoded(vae, latent) for latent in (baseline, sped_up)]
    lines = [
        figures_of(*pictures, latents=(baseline["samples"], sped_up["samples"])),
        f"sampling: {before:.2f} s without, {after:.2f} s with: {before / after:.2f} times as fast"
        + ("" if warm_up else " (no warm-up: loading counts)"),
        describe(speedup_of(model)),
    ]
    # four times, so that what the eye misses is seen
    difference = (4 * (pictures[0] - pictures[1]).abs()).clamp(0, 1)
    return Compared(baseline=pictures[0], sped_up=pictures[1], difference=difference, text="\n".join(lines))


def _timed(sample: Callable[[Any], Any], model: Any) -> tuple[float, Any]:
    _synchronize()
    start = time.perf_counter()
    latent = sample(model)
    _synchronize()
    return time.perf_counter() - start, latent


def _synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _decoded(vae: Any, latent: Any) -> Tensor:
    images: Tensor = vae.decode(latent["samples"])
    return images.reshape(-1, *images.shape[-3:]).float().cpu()
