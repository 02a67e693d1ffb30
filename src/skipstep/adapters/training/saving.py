"""A model of PEFT as it is measured, and as a folder that `inspect_adapter` reads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..sora import GatedFactors, SoraState, save_lora_folder


def saver(model: Any) -> Callable[[Path], object]:
    """What writes the adapter: as PEFT does, but AdaLoRA as the LoRA that it has become."""
    if _is_adalora(model):
        state = adalora_state(model)
        return lambda folder: save_lora_folder(state, folder, base_model="")
    return lambda folder: model.save_pretrained(str(folder), save_embedding_layers=False)


def measured(model: Any) -> Any:
    """The model whose loss is that of the words alone; AdaLoRA's own adds a penalty."""
    return model.get_base_model() if _is_adalora(model) else model


def adalora_state(model: Any) -> SoraState:
    """AdaLoRA's triplets (Zhang et al. 2023, arXiv:2303.10512) with their singular values, scaled, as gates.

    Its modules may have lost all their ranks, which PEFT writes as tensors that no reader takes.
    """
    modules = {}
    for name, module in model.get_base_model().named_modules():
        if not hasattr(module, "lora_E"):
            continue
        (adapter,) = module.active_adapters
        scale = module.scaling[adapter] / (float(module.ranknum[adapter]) + 1e-5)  # as PEFT's forward has it
        modules[name] = GatedFactors(
            down=module.lora_A[adapter].detach(),
            gate=module.lora_E[adapter].detach()[:, 0] * scale,
            up=module.lora_B[adapter].detach(),
        )
    return SoraState(modules=modules, scale=1.0)


def _is_adalora(model: Any) -> bool:
    return any(hasattr(module, "lora_E") for module in model.modules())
