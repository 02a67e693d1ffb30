"""Fits a schedule's slopes to the final latent of real cached runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

Key = tuple[int, int, int, int]  # branch, previous and last full pass, evaluation
Run = Callable[[dict[Key, float]], Tensor]

STEP = 0.05
RIDGES = (0.03, 0.1, 0.3)


def refine(reaches: dict[Key, float], run: Run, reference: Tensor) -> Iterator[dict[Key, float]]:
    """Slopes after one Gauss-Newton step towards `reference`, once for each of several ridges.

    `run` gives the final latents (prompts, ...) of cached runs with given slopes. Each prompt's residual is divided
    by its own size, so that no picture that went astray leads. One run per slope measures the derivatives; the ridge
    keeps the fit near where it started, since few prompts fit many slopes.
    """
    here = run(reaches)
    residual = (reference - here).float().flatten(1)
    size = residual.square().mean(1, keepdim=True).sqrt().clamp_min(1e-6)
    columns = [
        ((run({**reaches, key: reach + STEP}) - here).float().flatten(1) / STEP / size).flatten()
        for key, reach in reaches.items()
    ]
    if not columns:
        return
    design = torch.stack(columns, 1).double()
    normal, aim = design.T @ design, design.T @ (residual / size).flatten().double()
    if not normal.any():  # no slope makes any difference
        return
    identity = torch.eye(len(columns), dtype=torch.float64) * normal.diagonal().mean()
    for ridge in RIDGES:
        change = torch.linalg.solve(normal + ridge * identity, aim).tolist()
        yield {key: reach + delta for (key, reach), delta in zip(reaches.items(), change, strict=True)}
