"""Inspected adapters on a loaded model through PEFT, which never sees their own configs."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from ..errors import AdapterError, MissingExtraError
from .folder import WEIGHTS
from .inspection import AdapterInfo
from .opening import open_regular

NAME = "inspected"
# what PEFT 0.21 cannot load or run over bitsandbytes' layers
_UNFIT = {"Linear4bit": ("LoHa", "LoKr"), "Linear8bitLt": ("DoRA",)}


def with_adapter(model: Any, info: AdapterInfo) -> Any:
    """PEFT's model over a loaded one, which it changes, with an inspected adapter.

    Raises:
        AdapterError: if the file is another one than was inspected, PEFT loads other tensors than it has, or the family
            does not work over a quantised model.
        MissingExtraError: without PEFT or safetensors.
    """
    check_under(model, info.family)
    tensors = inspected_tensors(info)
    adapted = put_adapter(model, dict(info.config), name=NAME)
    fill_adapter(adapted, tensors, name=NAME)
    return adapted.eval()


def check_under(model: Any, family: str) -> None:
    """See that a family of adapters works over the layers of this model.

    Raises:
        AdapterError: if they are quantised, and it does not.
    """
    for kind in {type(module).__name__ for module in model.modules()}:
        if family in _UNFIT.get(kind, ()):
            raise AdapterError(f"family: {family} does not work over {kind} of bitsandbytes; load the base otherwise")


def put_adapter(model: Any, config: dict[str, Any], *, name: str) -> Any:
    """PEFT's model with one more adapter, of random weights; `model` is such a one, or transformers' own.

    Raises:
        MissingExtraError: without PEFT.
    """
    try:
        import peft
    except ImportError as error:
        raise MissingExtraError("adapters on a model need peft: pip install 'skipstep[prompt]'") from error
    with quietly(), torch.random.fork_rng(devices=[]):
        if not isinstance(model, peft.PeftModel):
            return peft.get_peft_model(model, peft.get_peft_config(config), adapter_name=name)
        model.add_adapter(name, peft.get_peft_config(config))
        return model


def fill_adapter(adapted: Any, tensors: dict[str, Tensor], *, name: str) -> None:
    """Give an adapter its weights.

    Raises:
        AdapterError: if PEFT has other tensors then.
    """
    import peft

    with quietly():
        peft.set_peft_model_state_dict(adapted, tensors, adapter_name=name)
        loaded: dict[str, Tensor] = peft.get_peft_model_state_dict(adapted, adapter_name=name)
    wrong = sorted(loaded.keys() ^ tensors.keys()) or [
        key for key, tensor in tensors.items() if not torch.equal(loaded[key].cpu(), tensor.to(loaded[key].dtype))
    ]
    if wrong:
        raise AdapterError(f"tensor {wrong[0][:120]}: PEFT did not load it as the file has it")


@contextmanager
def quietly() -> Iterator[None]:
    """Without PEFT's calls of what transformers renamed, and its advice on training, as warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def inspected_tensors(info: AdapterInfo) -> dict[str, Tensor]:
    """The tensors of an adapter folder, which is still the one that was inspected.

    Raises:
        AdapterError: if it changed.
        MissingExtraError: without safetensors.
    """
    try:
        from safetensors.torch import load
    except ImportError as error:
        raise MissingExtraError("adapters need safetensors: pip install 'skipstep[prompt]'") from error
    with open_regular(info.path / WEIGHTS) as (file, _):
        raw = file.read(info.bytes + 1)
    if hashlib.sha256(raw).hexdigest() != info.sha256:
        raise AdapterError(f"{WEIGHTS}: {info.path.name} changed since it was inspected; inspect it again")
    return load(raw)
