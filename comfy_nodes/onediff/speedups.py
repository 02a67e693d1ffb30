"""OneDiff's nodes that compile, and reuse features where a booster says so."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ._schema import ControlNetStack, booster_input, inplace_input, old_schema, static_mode_input, tell
from .boosters import Booster
from .compiling import Wish, compile_control_net, compile_model, compile_vae
from .settings import reuse

_COMPILED = "Today: Compile Model, and DeepCache Speedup if a booster reuses features."


def boosted(model: Any, booster: Booster | None, *, static_mode: str = "enable") -> tuple[Any, str]:
    """A clone of a MODEL as a booster asks, and what that is called today."""
    asked = booster or Booster()
    told = []
    if asked.deepcache is not None:
        model, reused = reuse(model, asked.deepcache)
        told.append(reused)
    model, how = compile_model(model, wish(booster, static_mode))
    return model, "; ".join([*told, how])


def wish(booster: Booster | None, static_mode: str = "enable") -> Wish:
    """How to compile: as the booster says, else as usual."""
    asked = booster.compiling if booster else None
    return asked or Wish(compiles=static_mode == "enable")


class ModelSpeedup(io.ComfyNode):
    """A MODEL, compiled."""

    @classmethod
    def define_schema(cls) -> Any:
        """Inputs and outputs."""
        return old_schema(
            "ModelSpeedup",
            now=_COMPILED,
            inputs=[io.Model.Input("model"), booster_input(), inplace_input(), static_mode_input()],
            outputs=[io.Model.Output()],
        )

    @classmethod
    def execute(cls, model: Any, custom_booster: Booster | None = None, static_mode: str = "enable", **_: Any) -> Any:
        """Put the compiler, and a cache if asked for, on a clone of the model."""
        made, told = boosted(model, custom_booster, static_mode=static_mode)
        return io.NodeOutput(made, ui=tell("ModelSpeedup", told))


class SVDSpeedup(io.ComfyNode):
    """A MODEL for video, compiled."""

    @classmethod
    def define_schema(cls) -> Any:
        """Inputs and outputs."""
        return old_schema(
            "SVDSpeedup",
            now=f"{_COMPILED} To reuse features in video there is SVD Speedup.",
            inputs=[
                io.Model.Input("model"),
                inplace_input(),
                io.String.Input("cache_name", default="svd", optional=True, tooltip="Without effect."),
                booster_input(),
                static_mode_input(),
            ],
            outputs=[io.Model.Output()],
        )

    @classmethod
    def execute(cls, model: Any, custom_booster: Booster | None = None, static_mode: str = "enable", **_: Any) -> Any:
        """Put the compiler, and a cache if asked for, on a clone of the model."""
        made, told = boosted(model, custom_booster, static_mode=static_mode)
        return io.NodeOutput(made, ui=tell("SVDSpeedup", told))


class VaeSpeedup(io.ComfyNode):
    """A VAE, compiled."""

    @classmethod
    def define_schema(cls) -> Any:
        """Inputs and outputs."""
        return old_schema(
            "VaeSpeedup",
            now="Today: Compile VAE.",
            inputs=[io.Vae.Input("vae"), booster_input(), inplace_input(), static_mode_input()],
            outputs=[io.Vae.Output()],
        )

    @classmethod
    def execute(cls, vae: Any, custom_booster: Booster | None = None, static_mode: str = "enable", **_: Any) -> Any:
        """Compile the decoder; a VAE has no features to reuse."""
        made, told = compile_vae(vae, wish(custom_booster, static_mode))
        return io.NodeOutput(made, ui=tell("VaeSpeedup", told))


class ControlnetSpeedup(io.ComfyNode):
    """A ControlNet, or each of a stack, compiled."""

    @classmethod
    def define_schema(cls) -> Any:
        """Inputs and outputs."""
        return old_schema(
            "ControlnetSpeedup",
            now="Today: Compile ControlNet.",
            inputs=[
                io.ControlNet.Input("control_net", optional=True),
                inplace_input(),
                booster_input(),
                ControlNetStack.Input("cnet_stack", optional=True, tooltip="Of its first version: tuples of a stack."),
            ],
            outputs=[io.ControlNet.Output(), ControlNetStack.Output()],
        )

    @classmethod
    def execute(
        cls, control_net: Any = None, custom_booster: Booster | None = None, cnet_stack: Any = (), **_: Any
    ) -> Any:
        """Compile what there is."""
        how = wish(custom_booster)
        told = "nothing connected"
        if control_net is not None:
            control_net, told = compile_control_net(control_net, how)
        stack = []
        for first, *rest in cnet_stack or ():
            made, told = compile_control_net(first, how)
            stack.append((made, *rest))
        return io.NodeOutput(control_net, stack, ui=tell("ControlnetSpeedup", told))


class ControlNetSpeedup(io.ComfyNode):
    """A ControlNet, compiled; the name until January 2024."""

    @classmethod
    def define_schema(cls) -> Any:
        """Inputs and outputs."""
        return old_schema(
            "ControlNetSpeedup",
            now="Today: Compile ControlNet.",
            inputs=[io.ControlNet.Input("control_net"), static_mode_input()],
            outputs=[io.ControlNet.Output()],
        )

    @classmethod
    def execute(cls, control_net: Any, static_mode: str = "enable") -> Any:
        """Compile it."""
        made, told = compile_control_net(control_net, Wish(compiles=static_mode == "enable"))
        return io.NodeOutput(made, ui=tell("ControlNetSpeedup", told))
