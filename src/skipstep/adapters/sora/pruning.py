"""Takes away the components whose gate is zero."""

from __future__ import annotations

from .state import GatedFactors, SoraState


def pruned(state: SoraState) -> SoraState:
    """The same adapter without zero gates; modules keep ranks of their own, and some may have rank 0.

    Outputs are the same but for the order of sums.
    """
    return SoraState(
        modules={name: _pruned_factors(factors) for name, factors in state.modules.items()}, scale=state.scale
    )


def _pruned_factors(factors: GatedFactors) -> GatedFactors:
    kept = factors.gate.nonzero().flatten()
    return GatedFactors(down=factors.down[kept], gate=factors.gate[kept], up=factors.up[:, kept])
