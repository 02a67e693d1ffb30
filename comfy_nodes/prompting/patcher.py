"""A language model among the models that ComfyUI keeps in memory."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from comfy.model_patcher import ModelPatcher

from skipstep.promptllm import Engine


class PromptModel(torch.nn.Module):
    """What ComfyUI's log calls the model; its weights are the engine's."""


class EnginePatcher(ModelPatcher):
    """An engine as ComfyUI's memory management sees it: it loads with a question, and is closed as a whole.

    `size` is what it will take, in bytes. The engine is closed, too, when nothing has this object any more.
    """

    def __init__(self, engine: Engine, *, device: torch.device, size: int) -> None:
        super().__init__(PromptModel(), load_device=device, offload_device=torch.device("cpu"), size=size)
        self._engine = engine
        self._expected = size
        weakref.finalize(self, engine.close).atexit = False

    def model_size(self) -> int:
        """Bytes that the loaded model takes, or will."""
        return self._engine.loaded_bytes or self._expected

    def loaded_size(self) -> int:
        """Bytes that it takes now."""
        return self._engine.loaded_bytes

    def current_loaded_device(self) -> Any:
        """Where it is."""
        return self.load_device if self._engine.loaded_bytes else self.offload_device

    def partially_load(self, device_to: Any, extra_memory: float = 0, force_patch_weights: bool = False) -> int:
        """Nothing: the next question loads it."""
        return 0

    def partially_unload(self, device_to: Any, memory_to_free: float = 0, force_patch_weights: bool = False) -> int:
        """Nothing: it goes as a whole, with `detach`."""
        return 0

    def detach(self, unpatch_all: bool = True) -> Any:
        """Close the engine; ComfyUI also detaches what it is about to load again, with `unpatch_all` off."""
        if unpatch_all:
            self._engine.close()
        return super().detach(unpatch_all=False)
