"""The ways to train, with the options that each has of its own."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from ...errors import OptionError
from .kinds import KINDS, kind_of


@dataclass(frozen=True, kw_only=True)
class Sft:
    """Supervised fine-tuning: the answers of chats are learned."""

    kind: str = "lora"

    def __post_init__(self) -> None:
        kind_of(self.kind)


@dataclass(frozen=True, kw_only=True)
class Dpo:
    """Direct preference optimisation (Rafailov et al. 2023, arXiv:2305.18290); `beta` holds it to the base model."""

    kind: str = "lora"
    beta: float = 0.1

    def __post_init__(self) -> None:
        _check_positive("beta", self.beta)
        if not kind_of(self.kind).targets:
            modular = ", ".join(name for name, kind in KINDS.items() if kind.targets)
            raise OptionError(f"kind must be one of {modular} for dpo, got {self.kind!r}")


@dataclass(frozen=True, kw_only=True)
class Mezo:
    """Steps from two forward passes each, without gradients (Malladi et al. 2023, arXiv:2305.17333)."""

    kind: str = "lora"
    epsilon: float = 1e-3

    def __post_init__(self) -> None:
        _check_positive("epsilon", self.epsilon)
        if kind_of(self.kind) is KINDS["adalora"]:
            raise OptionError("kind must be another one than 'adalora' for mezo, which has no gradients for it")


@dataclass(frozen=True, kw_only=True)
class Sora:
    """LoRA whose gates close under a penalty that rises in equal stages, after a dense share of the steps."""

    penalty: float = 4.0
    stages: int = 4
    dense_share: float = 0.25

    def __post_init__(self) -> None:
        if not (math.isfinite(self.penalty) and self.penalty >= 0):
            raise OptionError(f"penalty must be 0 or more, got {self.penalty}")
        if self.stages < 1:
            raise OptionError(f"stages must be 1 or more, got {self.stages}")
        if not 0 <= self.dense_share < 1:
            raise OptionError(f"dense_share must be from 0 to below 1, got {self.dense_share}")


@dataclass(frozen=True, kw_only=True)
class Offsite:
    """The outer layers, `bottom` and `top` of them, trained on an emulator that keeps some of the others."""

    selection: Literal["influence", "uniform", "cka"] = "influence"
    removed: Literal["drop", "share"] = "drop"
    keep: int | None = None
    bottom: int = 2
    top: int = 2

    def __post_init__(self) -> None:
        if self.selection not in ("influence", "uniform", "cka"):
            raise OptionError(f"selection must be influence, uniform or cka, got {self.selection!r}")
        if self.removed not in ("drop", "share"):
            raise OptionError(f"removed must be drop or share, got {self.removed!r}")


Method = Sft | Dpo | Mezo | Sora | Offsite
METHODS: dict[str, type[Method]] = {"sft": Sft, "dpo": Dpo, "mezo": Mezo, "sora": Sora, "offsite": Offsite}
RATES: dict[type[Method], float] = {Dpo: 5e-5, Mezo: 1e-3, Sora: 1e-3, Offsite: 1e-4}


def _check_positive(name: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise OptionError(f"{name} must be above 0, got {value}")
