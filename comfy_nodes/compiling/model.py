"""A MODEL whose passes are compiled, with a cache or without."""

from __future__ import annotations

from typing import Any

from skipstep.compile import CompileOptions

from ..sampling import speed_up, unet_of
from .compilers import shared_compiler
from .static import static_patcher


def compile_model(model: Any, backend: str, options: CompileOptions) -> Any:
    """A clone of a ModelPatcher that samples through graphs; the one given stays as it is.

    Raises:
        UnsupportedModelError: if the model is no UNet that can be cut.
        OptionError, BackendError: if the options contradict each other, or cannot be had here.
    """
    unet_of(model)  # refused before anything is loaded for it
    model = static_patcher(model)
    return speed_up(model, compiler=shared_compiler(model.model, backend, options))
