"""Where SoRA's training starts: which modules it adapts, and the first values of their factors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from ...errors import OptionError
from .state import GatedFactors, SoraState

ATTENTION_AND_MLP = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True, kw_only=True)
class SoraOptions:
    """The largest rank, alpha, and the linear modules to adapt: full names, or the last part of names."""

    rank: int = 8
    alpha: float = 16.0
    targets: tuple[str, ...] = ATTENTION_AND_MLP
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.rank <= 256:
            raise OptionError(f"rank must be 1..256, got {self.rank}")
        if not (math.isfinite(self.alpha) and self.alpha > 0):
            raise OptionError(f"alpha must be above 0, got {self.alpha}")
        if not self.targets:
            raise OptionError("targets must name at least one linear module")

    @property
    def scale(self) -> float:
        """What the product of the factors is multiplied with."""
        return self.alpha / self.rank


def initial_state(model: nn.Module, options: SoraOptions) -> SoraState:
    """Random `down` as LoRA's, zero `up`, gates from N(0, 1), all by the seed: the adapter changes nothing yet."""
    generator = torch.Generator().manual_seed(options.seed)
    modules = {}
    for name, linear in targeted_linears(model, options.targets).items():
        bound = 1 / math.sqrt(linear.in_features)
        down = (torch.rand(options.rank, linear.in_features, generator=generator) * 2 - 1) * bound
        gate = torch.randn(options.rank, generator=generator)
        factors = GatedFactors(down=down, gate=gate, up=torch.zeros(linear.out_features, options.rank))
        modules[name] = factors.to(factor_dtype(linear))
    return SoraState(modules=modules, scale=options.scale)


def targeted_linears(model: nn.Module, targets: Sequence[str]) -> dict[str, nn.Linear]:
    """The linear modules of these names, in the model's order.

    Raises:
        OptionError: if a target names none.
    """
    linears = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    found = {name: linear for name, linear in linears.items() if name in targets or name.split(".")[-1] in targets}
    met = set(found) | {name.split(".")[-1] for name in found}
    for target in targets:
        if target not in met:
            known = ", ".join(sorted({name.split(".")[-1] for name in linears})) or "none"
            raise OptionError(f"no linear module is called {target!r}; this model has {known}")
    return found


def factor_dtype(linear: nn.Linear) -> torch.dtype:
    """The type of a module's factors: its weight's, or float32 over a quantised one."""
    return linear.weight.dtype if linear.weight.is_floating_point() else torch.float32
