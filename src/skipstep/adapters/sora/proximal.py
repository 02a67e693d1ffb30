"""SoRA's two updates: AdamW for the matrices, and for the gates a gradient step that ends in a soft threshold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ...errors import OptionError

GateRule = Literal["adam", "gradient"]
GATE_RULES: tuple[GateRule, ...] = ("adam", "gradient")


def soft_threshold(gate: Tensor, threshold: float) -> Tensor:
    """sign(g) * max(|g| - t, 0), the proximal operator of t * |g| (SoRA, arXiv:2311.11696).

    Raises:
        OptionError: if the threshold is below 0, or not a number.
    """
    if not threshold >= 0:
        raise OptionError(f"a threshold must be 0 or more, got {threshold}")
    return gate.sign() * (gate.abs() - threshold).clamp(min=0)


class SoraOptimizer:
    """Steps of matrices and gates at one rate.

    The gates' step before the threshold is Adam's, or with "gradient" the plain one that the paper's proof is for.
    """

    def __init__(
        self,
        matrices: Sequence[nn.Parameter],
        gates: Sequence[nn.Parameter],
        *,
        gate_rule: GateRule = "adam",
        weight_decay: float = 0.0,
    ) -> None:
        if gate_rule not in GATE_RULES:
            raise OptionError(f"gate_rule must be one of {', '.join(GATE_RULES)}, got {gate_rule!r}")
        self._gates = list(gates)
        self._steps: dict[str, torch.optim.Optimizer] = {
            "matrices": torch.optim.AdamW(matrices, lr=0.0, weight_decay=weight_decay),
            "gates": torch.optim.Adam(gates, lr=0.0) if gate_rule == "adam" else torch.optim.SGD(gates, lr=0.0),
        }

    def step(self, rate: float, penalty: float) -> None:
        """Use the gradients up: all parameters move by `rate`, gates then shrink by `rate * penalty`."""
        for optimizer in self._steps.values():
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
            optimizer.zero_grad()
        with torch.no_grad():
            for gate in self._gates:
                gate.copy_(soft_threshold(gate, rate * penalty))

    def tensors(self) -> dict[str, Tensor]:
        """The moments, by names that `load` understands."""
        return {
            f"{name}.{number}.{key}": value
            for name, optimizer in self._steps.items()
            for number, moments in optimizer.state_dict()["state"].items()
            for key, value in moments.items()
            if isinstance(value, Tensor)
        }

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Take over the moments of another run at the same place."""
        found: dict[str, dict[int, dict[str, Any]]] = {name: {} for name in self._steps}
        for key, value in tensors.items():
            name, number, moment = key.split(".")
            found[name].setdefault(int(number), {})[moment] = value
        for name, optimizer in self._steps.items():
            optimizer.load_state_dict({"state": found[name], "param_groups": optimizer.state_dict()["param_groups"]})
