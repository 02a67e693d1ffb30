"""A linear module with a gated low-rank path beside it."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from .state import GatedFactors


class GatedLinear(nn.Module):
    """h = base(x) + scale * up (gate * (down x)), as in SoRA (Ding et al. 2023, arXiv:2311.11696).

    `base` is the module that was there, untouched; the factors are parameters of this one.
    """

    def __init__(self, base: nn.Linear, factors: GatedFactors, scale: float) -> None:
        super().__init__()
        self.base = base
        self.scale = scale
        device = base.weight.device
        self.down = nn.Parameter(factors.down.detach().to(device, copy=True))
        self.gate = nn.Parameter(factors.gate.detach().to(device, copy=True))
        self.up = nn.Parameter(factors.up.detach().to(device, copy=True))
        self.train(base.training)

    def forward(self, x: Tensor) -> Tensor:
        """From (..., inputs) to (..., outputs), in the type of the base's output."""
        out: Tensor = self.base(x)
        inner = functional.linear(x.to(self.down.dtype), self.down) * self.gate
        return out + (functional.linear(inner, self.up) * self.scale).to(out.dtype)

    def factors(self) -> GatedFactors:
        """Copies of the factors, on the CPU."""
        return GatedFactors(
            down=self.down.detach().to("cpu", copy=True),
            gate=self.gate.detach().to("cpu", copy=True),
            up=self.up.detach().to("cpu", copy=True),
        )
