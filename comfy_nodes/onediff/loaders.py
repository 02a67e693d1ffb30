"""OneDiff's loaders of what is then compiled."""

from __future__ import annotations

from typing import Any

import folder_paths
from comfy_api.latest import io

from ._schema import SWITCH, booster_input, old_schema, tell
from .boosters import Booster
from .compiling import compile_control_net, compile_vae
from .speedups import boosted, wish


def checkpoint_inputs() -> list[Any]:
    """Of all of OneDiff's loaders of checkpoints."""
    return [
        io.Combo.Input("ckpt_name", options=folder_paths.get_filename_list("checkpoints")),
        io.Combo.Input(
            "vae_speedup",
            options=list(SWITCH),
            default=SWITCH[0],
            optional=True,
            tooltip="enable compiles the VAE's decoder.",
        ),
    ]


def load(ckpt_name: str) -> tuple[Any, Any, Any]:
    """What Load Checkpoint gives."""
    from nodes import CheckpointLoaderSimple

    model, clip, vae = CheckpointLoaderSimple().load_checkpoint(ckpt_name)
    return model, clip, vae


class OneDiffCheckpointLoaderSimple(io.ComfyNode):
    """A checkpoint, compiled."""

    @classmethod
    def define_schema(cls) -> Any:
        """Inputs and outputs."""
        return old_schema(
            "OneDiffCheckpointLoaderSimple",
            now="Today: Load Checkpoint and Compile Model, or Checkpoint Loader (speed-up).",
            inputs=[*checkpoint_inputs(), booster_input()],
            outputs=[io.Model.Output(), io.Clip.Output(), io.Vae.Output()],
        )

    @classmethod
    def execute(cls, ckpt_name: str, vae_speedup: str = "disable", custom_booster: Booster | None = None) -> Any:
        """Load, and compile what is asked for."""
        model, clip, vae = load(ckpt_name)
        model, told = boosted(model, custom_booster)
        if vae_speedup == "enable":
            vae, of_vae = compile_vae(vae, wish(custom_booster))
            told = f"{told}; {of_vae}"
        return io.NodeOutput(model, clip, vae, ui=tell("OneDiffCheckpointLoaderSimple", f"Load Checkpoint; {told}"))


class OneDiffControlNetLoader(io.ComfyNode):
    """A ControlNet, compiled."""

    @classmethod
    def define_schema(cls) -> Any:
        """Inputs and outputs."""
        return old_schema(
            "OneDiffControlNetLoader",
            now="Today: Load ControlNet Model and Compile ControlNet.",
            inputs=[
                io.Combo.Input("control_net_name", options=folder_paths.get_filename_list("controlnet")),
                booster_input(),
            ],
            outputs=[io.ControlNet.Output()],
        )

    @classmethod
    def execute(cls, control_net_name: str, custom_booster: Booster | None = None) -> Any:
        """Load and compile."""
        from nodes import ControlNetLoader

        (loaded,) = ControlNetLoader().load_controlnet(control_net_name)
        made, told = compile_control_net(loaded, wish(custom_booster))
        return io.NodeOutput(made, ui=tell("OneDiffControlNetLoader", f"Load ControlNet Model; {told}"))
