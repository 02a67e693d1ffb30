"""What is trained, how, and for how long."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Literal

from ...errors import OptionError
from .kinds import Kind, Shape, kind_of
from .methods import METHODS, RATES, Dpo, Method, Mezo, Offsite, Sft, Sora

Dtype = Literal["float32", "float16"]
DEVICES = ("cpu", "cuda", "mps")


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """A run. `steps` come from `epochs` where they are None, the rate and the modules from method and kind.

    `dtype` is that of the written weights; training is in float32. A checkpoint is kept every `checkpoint_every` steps.
    """

    method: Method
    steps: int | None = None
    epochs: float = 1.0
    batch: int = 4
    learning_rate: float | None = None
    warm_up_steps: int = 0
    seed: int = 0
    max_tokens: int = 512
    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.0
    targets: tuple[str, ...] = ()
    virtual_tokens: int = 16
    quantize: str | None = None
    dtype: Dtype = "float32"
    device: str = "cpu"
    checkpoint_every: int = 50

    def __post_init__(self) -> None:
        for name, least, most in (
            ("steps", 1, 10**7),
            ("batch", 1, 4096),
            ("warm_up_steps", 0, 10**7),
            ("seed", 0, 2**32 - 1),
            ("max_tokens", 8, 2**17),
            ("rank", 1, 256),
            ("virtual_tokens", 1, 1024),
            ("checkpoint_every", 1, 10**7),
        ):
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                raise OptionError(f"{name} must be {least}..{most}, got {value}")
        for name, high in (("epochs", 1e4), ("learning_rate", 10.0), ("alpha", 1e4)):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and 0 < value <= high):
                raise OptionError(f"{name} must be above 0 and at most {high:g}, got {value}")
        if not 0 <= self.dropout < 1:
            raise OptionError(f"dropout must be from 0 to below 1, got {self.dropout}")
        if self.dtype not in ("float32", "float16"):
            raise OptionError(f"dtype must be float32 or float16, got {self.dtype!r}")
        if self.device not in DEVICES:
            raise OptionError(
                f"device must be one of {', '.join(DEVICES)}, got {self.device!r}; CUDA_VISIBLE_DEVICES=1 chooses a GPU"
            )
        self._check_method()

    def _check_method(self) -> None:
        method = self.method
        if self.quantize is not None and not isinstance(method, (Sft, Dpo, Sora)):
            raise OptionError(f"quantize is for sft, dpo and sora, got {self.quantize!r} for {self.method_name}")
        if self.dropout and isinstance(method, (Mezo, Sora, Offsite)):
            raise OptionError(f"dropout is for sft and dpo, got {self.dropout} for {self.method_name}")
        if self.targets and isinstance(method, Offsite):
            raise OptionError("targets are for adapters of modules; offsite trains whole layers")
        if self.targets and not self.kind.targets:
            raise OptionError("targets are for adapters of modules; prompts have none")

    @property
    def method_name(self) -> str:
        """As on the command line."""
        return next(name for name, kind in METHODS.items() if isinstance(self.method, kind))

    @property
    def kind(self) -> Kind:
        """The kind of adapter; SoRA and emulators have LoRA's modules."""
        return kind_of(getattr(self.method, "kind", "lora"))

    @property
    def rate(self) -> float:
        """The learning rate: what was asked for, or the usual one."""
        return self.learning_rate or RATES.get(type(self.method), self.kind.learning_rate)

    def steps_for(self, examples: int) -> int:
        """How many steps there are with this many examples."""
        return self.steps or max(math.ceil(examples * self.epochs / self.batch), 1)

    def shape(self, steps: int) -> Shape:
        """The adapter's size and place."""
        return Shape(
            rank=self.rank,
            alpha=self.alpha,
            dropout=self.dropout,
            targets=self.targets or self.kind.targets,
            virtual_tokens=self.virtual_tokens,
            steps=steps,
        )

    def settings(self) -> dict[str, object]:
        """All of it in plain values; a run is resumed with the same ones. Where checkpoints fall does not matter."""
        plain: dict[str, object] = json.loads(json.dumps(asdict(self)))
        del plain["checkpoint_every"]
        return {**plain, "method": {"name": self.method_name, **asdict(self.method)}}
