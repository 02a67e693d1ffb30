"""The kinds of adapters that PEFT trains, each with a configuration that `inspect_adapter` accepts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import MissingExtraError, OptionError

ATTENTION_AND_MLP = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
TRAIN = "training adapters needs {}: pip install 'skipstep[train]'"


@dataclass(frozen=True, kw_only=True)
class Shape:
    """How large an adapter is, and where it sits; a prompt has `virtual_tokens` instead of a rank and modules."""

    rank: int
    alpha: float
    dropout: float
    targets: tuple[str, ...]
    virtual_tokens: int
    steps: int


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of adapter: what makes its configuration, its usual modules, and a learning rate to start with."""

    config: Callable[[Any, Shape], Any]
    learning_rate: float = 2e-4
    targets: tuple[str, ...] = ATTENTION_AND_MLP
    resumes: bool = True


def _lora(peft: Any, shape: Shape, **fields: Any) -> Any:
    return peft.LoraConfig(
        r=shape.rank, lora_alpha=shape.alpha, lora_dropout=shape.dropout, **_modules(shape.targets), **fields
    )


def _adalora(peft: Any, shape: Shape) -> Any:
    """Ranks begin half as large again, and fall in the middle half of the run to `rank` on average."""
    return peft.AdaLoraConfig(
        init_r=max(round(shape.rank * 1.5), shape.rank + 1),
        target_r=shape.rank,
        lora_alpha=shape.alpha,
        lora_dropout=shape.dropout,
        tinit=shape.steps // 4,
        tfinal=shape.steps // 4,
        deltaT=max(shape.steps // 20, 1),
        total_step=shape.steps,
        **_modules(shape.targets),
    )


def _ia3(peft: Any, shape: Shape) -> Any:
    inner = [target for target in shape.targets if target.split(".")[-1] == "down_proj"]
    return peft.IA3Config(feedforward_modules=inner, **_modules(shape.targets))


def _modules(targets: Sequence[str]) -> Mapping[str, Any]:
    return {"target_modules": list(targets), "task_type": "CAUSAL_LM"}


KINDS: dict[str, Kind] = {
    "lora": Kind(config=_lora),
    "rslora": Kind(config=lambda peft, shape: _lora(peft, shape, use_rslora=True)),
    "dora": Kind(config=lambda peft, shape: _lora(peft, shape, use_dora=True)),
    # its importance scores are in no checkpoint
    "adalora": Kind(config=_adalora, learning_rate=1e-3, resumes=False),
    "loha": Kind(
        config=lambda peft, shape: peft.LoHaConfig(
            r=shape.rank, alpha=shape.alpha, module_dropout=shape.dropout, **_modules(shape.targets)
        )
    ),
    "lokr": Kind(
        config=lambda peft, shape: peft.LoKrConfig(
            r=shape.rank, alpha=shape.alpha, module_dropout=shape.dropout, **_modules(shape.targets)
        )
    ),
    "ia3": Kind(config=_ia3, learning_rate=3e-3, targets=("k_proj", "v_proj", "down_proj")),
    "oft": Kind(
        config=lambda peft, shape: peft.OFTConfig(
            r=0, oft_block_size=shape.rank, module_dropout=shape.dropout, **_modules(shape.targets)
        )
    ),
    "vera": Kind(
        config=lambda peft, shape: peft.VeraConfig(
            r=shape.rank, vera_dropout=shape.dropout, save_projection=True, **_modules(shape.targets)
        ),
        learning_rate=5e-3,
    ),
    "prompt-tuning": Kind(
        config=lambda peft, shape: peft.PromptTuningConfig(
            num_virtual_tokens=shape.virtual_tokens, task_type="CAUSAL_LM"
        ),
        learning_rate=1e-2,
        targets=(),
    ),
    "p-tuning": Kind(
        config=lambda peft, shape: peft.PromptEncoderConfig(
            num_virtual_tokens=shape.virtual_tokens, task_type="CAUSAL_LM"
        ),
        learning_rate=1e-3,
        targets=(),
    ),
    "prefix-tuning": Kind(
        config=lambda peft, shape: peft.PrefixTuningConfig(
            num_virtual_tokens=shape.virtual_tokens, task_type="CAUSAL_LM"
        ),
        learning_rate=1e-2,
        targets=(),
    ),
}


def kind_of(name: str) -> Kind:
    """The kind of this name.

    Raises:
        OptionError: if there is none.
    """
    if name not in KINDS:
        raise OptionError(f"kind must be one of {', '.join(KINDS)}, got {name!r}")
    return KINDS[name]


def peft_config(name: str, shape: Shape) -> Any:
    """PEFT's configuration of an adapter that is not trained yet.

    Raises:
        OptionError: if there is no such kind.
        MissingExtraError: without PEFT.
    """
    try:
        import peft
    except ImportError as error:
        raise MissingExtraError(TRAIN.format(error.name)) from error
    return kind_of(name).config(peft, shape)
