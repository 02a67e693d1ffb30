"""OneDiff's nodes that reuse features: ours with other numbers."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ._schema import deepcache_inputs, old_schema, static_mode_input, tell
from .compiling import Wish, compile_model, compile_vae
from .loaders import checkpoint_inputs, load
from .settings import OldDeepCache, reuse

_NOW = "Today: DeepCache Speedup with preset custom, and Compile Model; this node shows the widgets when it runs."


class ModuleDeepCacheSpeedup(io.ComfyNode):
    """Feature reuse, in compiled passes."""

    @classmethod
    def define_schema(cls) -> Any:
        """Inputs and outputs."""
        return old_schema(
            "ModuleDeepCacheSpeedup",
            now=_NOW,
            inputs=[io.Model.Input("model"), static_mode_input(), *deepcache_inputs()],
            outputs=[io.Model.Output()],
        )

    @classmethod
    def execute(cls, model: Any, static_mode: str = "enable", **numbers: int) -> Any:
        """Put cache and compiler on a clone of the model."""
        cached, told = reuse(model, OldDeepCache(**numbers))
        compiled, how = compile_model(cached, Wish(compiles=static_mode == "enable"))
        return io.NodeOutput(compiled, ui=tell("ModuleDeepCacheSpeedup", f"{told}; {how}"))


class OneDiffDeepCacheCheckpointLoaderSimple(io.ComfyNode):
    """A checkpoint with feature reuse, in compiled passes."""

    @classmethod
    def define_schema(cls) -> Any:
        """Inputs and outputs."""
        return old_schema(
            "OneDiffDeepCacheCheckpointLoaderSimple",
            now=_NOW,
            inputs=[*checkpoint_inputs(), static_mode_input(), *deepcache_inputs()],
            outputs=[io.Model.Output(), io.Clip.Output(), io.Vae.Output()],
        )

    @classmethod
    def execute(cls, ckpt_name: str, vae_speedup: str = "disable", static_mode: str = "enable", **numbers: int) -> Any:
        """Load, and put cache and compiler on."""
        model, clip, vae = load(ckpt_name)
        model, told = reuse(model, OldDeepCache(**numbers))
        wish = Wish(compiles=static_mode == "enable")
        model, how = compile_model(model, wish)
        told = f"Load Checkpoint; {told}; {how}"
        if vae_speedup == "enable":
            vae, of_vae = compile_vae(vae, wish)
            told = f"{told}; {of_vae}"
        return io.NodeOutput(model, clip, vae, ui=tell("OneDiffDeepCacheCheckpointLoaderSimple", told))
