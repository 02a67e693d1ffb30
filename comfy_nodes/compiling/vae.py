"""A VAE that encodes and decodes through graphs."""

from __future__ import annotations

import copy
from typing import Any

from skipstep.compile import CompileOptions, Compiler
from skipstep.deepcache import UNetProxy
from skipstep.errors import UnsupportedModelError

from .compilers import shared_compiler
from .static import static_patcher


def compile_vae(vae: Any, backend: str, options: CompileOptions) -> Any:
    """A copy of a `comfy.sd.VAE` with the same weights; the one given stays as it is.

    Raises:
        UnsupportedModelError: if it is no VAE, or writes what it makes into memory that it is handed.
        OptionError, BackendError: if the options contradict each other, or cannot be had here.
    """
    network = getattr(vae, "first_stage_model", None)
    if network is None:
        raise UnsupportedModelError("this VAE has no network: the checkpoint that it is from has none")
    if getattr(network, "comfy_has_chunked_io", False):
        raise UnsupportedModelError(
            f"{type(network).__name__} decodes in pieces that depend on each other, which no graph can follow; "
            "VAEs of SD1.x, SD2.x, SDXL and SVD can be compiled"
        )
    patcher = static_patcher(vae.patcher)
    made = copy.copy(vae)
    made.patcher = patcher
    made.first_stage_model = CompiledVAE(patcher.model, shared_compiler(patcher, backend, options))
    return made


class CompiledVAE(UNetProxy):
    """Stands for a VAE's network: encodes and decodes compiled, and all else is the network's own."""

    uncompiled: Any
    compiler: Compiler

    def __init__(self, network: Any, compiler: Compiler) -> None:
        super().__init__(network, uncompiled=network, compiler=compiler)

    def encode(self, *args: Any, **kwargs: Any) -> Any:
        """As of the network."""
        return self._call("encode", args, kwargs)

    def decode(self, *args: Any, **kwargs: Any) -> Any:
        """As of the network."""
        return self._call("decode", args, kwargs)

    def _call(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        calls = self.compiler.calls(self.uncompiled, method, name=f"{method} of a VAE")
        try:
            return calls(*args, **kwargs)
        finally:
            calls.rest()  # ComfyUI moves the weights when it needs the memory
