"""One Gauss-Newton step on final latents that are linear in the slopes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from skipstep.plan import refine as module
from skipstep.plan.refine import RIDGES, STEP, Key, refine

KEYS: tuple[Key, ...] = ((0, 0, 2, 3), (0, 0, 2, 4), (0, 2, 5, 6))
TRUE = dict(zip(KEYS, (0.35, 0.8, -0.1), strict=True))
START = dict.fromkeys(KEYS, 0.5)


class Toy:
    """Latents (prompts, 4, 5) that are `reference` at the true slopes and move along a line with each of them."""

    def __init__(self, prompts: int = 3) -> None:
        generator = torch.Generator().manual_seed(2)
        self.reference = torch.randn(prompts, 4, 5, generator=generator)
        self.lines = {key: torch.randn(prompts, 4, 5, generator=generator) for key in KEYS}
        self.ran: list[dict[Key, float]] = []

    def __call__(self, reaches: dict[Key, float]) -> Tensor:
        self.ran.append(dict(reaches))
        moved = self.reference.clone()
        for key, reach in reaches.items():
            moved += (reach - TRUE[key]) * self.lines[key]
        return moved


def distance(reaches: dict[Key, float]) -> float:
    return sum((reaches[key] - TRUE[key]) ** 2 for key in KEYS) ** 0.5


def test_the_true_slopes_are_found_as_the_ridge_goes_down(monkeypatch: pytest.MonkeyPatch) -> None:
    toy = Toy()
    fits = list(refine(START, toy, toy.reference))
    assert len(fits) == len(RIDGES)
    distances = [distance(fit) for fit in fits]
    assert distances == sorted(distances)
    assert distances[-1] < distance(START) / 2
    misses = [float((toy(fit) - toy.reference).norm()) for fit in (*fits, START)]
    assert misses == sorted(misses)
    monkeypatch.setattr(module, "RIDGES", (1e-9,))
    (exact,) = refine(START, toy, toy.reference)
    assert exact == pytest.approx(TRUE, abs=1e-4)  # differences of float32 latents, over STEP


def test_each_slope_costs_a_run_and_the_start_is_kept() -> None:
    toy, start = Toy(), dict(START)
    list(refine(start, toy, toy.reference))
    assert start == START
    assert toy.ran[0] == START
    assert toy.ran[1:] == [{**START, key: START[key] + STEP} for key in KEYS]


def test_a_prompt_that_went_astray_does_not_lead() -> None:
    toy = Toy()
    astray = toy.reference.clone()
    astray[1] += 300 * torch.randn(4, 5, generator=torch.Generator().manual_seed(9))
    fits = list(refine(START, toy, astray))
    assert distance(fits[0]) < distance(START) / 4
    residual = (astray - toy(START)).flatten()
    lines = torch.stack([toy.lines[key].flatten() for key in KEYS], 1)
    plain = torch.linalg.lstsq(lines, residual[:, None]).solution.flatten().tolist()
    unweighted = {key: START[key] + change for key, change in zip(KEYS, plain, strict=True)}
    assert distance(unweighted) > 10 * distance(START)  # what sizes not divided by would give


def test_nothing_is_fitted_without_slopes_or_where_they_make_no_difference() -> None:
    toy = Toy()
    assert list(refine({}, toy, toy.reference)) == []
    assert list(refine(START, lambda _: toy.reference + 1, toy.reference)) == []
