"""What goes into every layer and what comes out, seen by hooks while the model reads texts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor

from ...errors import OptionError
from ..loop import Batch, mode
from .layers import decoder_layers

Observer = Callable[[int, Tensor, Tensor, Tensor], None]  # layer, input, output, which tokens count


def observe_layers(model: Any, batches: Iterable[Batch], observer: Observer, *, skip: int) -> None:
    """Call `observer` for each layer and batch with hidden states (texts, tokens, hidden) and a mask (texts, tokens).

    The mask leaves out padding and each text's first `skip` tokens. Layers' own outputs are seen: the last entry of
    transformers' `hidden_states` is after the final norm and compares to nothing before it.

    Raises:
        OptionError: without a batch, or if a text is not longer than `skip`.
    """
    layers, counted, batches_seen = decoder_layers(model), torch.empty(0), 0

    def hook(number: int) -> Callable[..., None]:
        def see(_module: Any, args: Any, kwargs: Any, output: Any) -> None:
            before = args[0] if args else kwargs["hidden_states"]
            after = output[0] if isinstance(output, tuple) else output
            observer(number, before, after, counted)

        return see

    with ExitStack() as stack:
        stack.enter_context(mode(model, training=False))
        stack.enter_context(torch.no_grad())
        for number, layer in enumerate(layers):
            stack.callback(layer.register_forward_hook(hook(number), with_kwargs=True).remove)
        for batch in batches:
            counted, batches_seen = _counted(batch, skip), batches_seen + 1
            inputs = {name: value for name, value in batch.items() if name != "labels"}
            model(**inputs, use_cache=False)
    if not batches_seen:
        raise OptionError("layers are compared on texts; give at least one batch")


def pooled_features(model: Any, batches: Iterable[Batch], *, skip: int = 4) -> list[Tensor]:
    """For every layer the mean of its output over each text's tokens, (texts, hidden) in float64.

    The first tokens are left out: their activations may be a hundred times the others' (attention sinks), and means
    would be about nothing else.
    """
    rows: list[list[Tensor]] = [[] for _ in decoder_layers(model)]

    def collect(number: int, _before: Tensor, after: Tensor, counted: Tensor) -> None:
        weights = counted.to(after.device, torch.float64).unsqueeze(-1)
        rows[number].append(((after.double() * weights).sum(1) / weights.sum(1)).cpu())

    observe_layers(model, batches, collect, skip=skip)
    return [torch.cat(parts) for parts in rows]


def _counted(batch: Batch, skip: int) -> Tensor:
    ids = batch["input_ids"]
    mask = batch.get("attention_mask", torch.ones_like(ids)).bool()
    counted = mask & (mask.cumsum(1) > skip)
    if not bool(counted.any(1).all()):
        raise OptionError(f"every text must be longer than the {skip} tokens that are skipped; give longer ones")
    return counted
