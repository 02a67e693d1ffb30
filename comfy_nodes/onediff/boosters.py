"""OneDiff's boosters: what a speed-up node is to do, made by nodes of their own and handed over by a link."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from comfy_api.latest import io

from skipstep.errors import UnsupportedFeatureError

from ._schema import (
    CustomBooster,
    DeepCacheBooster,
    QuantizationBooster,
    TorchCompileBooster,
    deepcache_inputs,
    old_schema,
)
from .compiling import Wish, wish_of_mode
from .settings import OldDeepCache

QUANTIZED = "with OneDiff Enterprise in 8 bits, which skipstep does not do"


@dataclass(frozen=True, kw_only=True)
class Booster:
    """All that a speed-up node is asked for: nothing but compiling as usual, if it is empty."""

    deepcache: OldDeepCache | None = None
    compiling: Wish | None = None


class OneDiffModelBooster(io.ComfyNode):
    """Joins boosters for one speed-up node."""

    @classmethod
    def define_schema(cls) -> Any:
        """Inputs and outputs."""
        return old_schema(
            "OneDiffModelBooster",
            now="Without boosters, the node behind it compiles as usual.",
            inputs=[
                QuantizationBooster.Input("quantization_booster", optional=True),
                DeepCacheBooster.Input("deepcache_booster", optional=True),
                TorchCompileBooster.Input("torchcompile_booster", optional=True),
            ],
            outputs=[CustomBooster.Output()],
        )

    @classmethod
    def execute(
        cls, deepcache_booster: OldDeepCache | None = None, torchcompile_booster: Wish | None = None, **_: Any
    ) -> Any:
        """Hand both on; the third is never more than nothing."""
        return io.NodeOutput(Booster(deepcache=deepcache_booster, compiling=torchcompile_booster))


class OneFlowDeepcacheBooster(io.ComfyNode):
    """Feature reuse as a booster."""

    @classmethod
    def define_schema(cls) -> Any:
        """Inputs and outputs."""
        return old_schema(
            "OneFlowDeepcacheBooster",
            now="Today: DeepCache Speedup with preset custom, between the model and the sampler.",
            inputs=deepcache_inputs(),
            outputs=[DeepCacheBooster.Output()],
        )

    @classmethod
    def execute(cls, **numbers: int) -> Any:
        """Keep the numbers until the model is known."""
        return io.NodeOutput(OldDeepCache(**numbers))


class OneDiffTorchCompileBooster(io.ComfyNode):
    """torch.compile as a booster."""

    @classmethod
    def define_schema(cls) -> Any:
        """Inputs and outputs."""
        modes = ["default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"]
        return old_schema(
            "OneDiffTorchCompileBooster",
            now="Today: Compile Model with compiler inductor.",
            inputs=[
                io.Boolean.Input("fullgraph", default=False, optional=True, tooltip="Without effect: always whole."),
                io.Boolean.Input("dynamic", default=False, optional=True, tooltip="One graph for all sizes."),
                io.Combo.Input("backend", options=["inductor"], optional=True),
                io.Combo.Input("mode", options=modes, default="default", optional=True),
                io.Boolean.Input("disable", default=False, optional=True, tooltip="Do not compile."),
                io.String.Input("docs_link", multiline=True, optional=True, tooltip="Without effect."),
            ],
            outputs=[TorchCompileBooster.Output()],
        )

    @classmethod
    def execute(cls, dynamic: bool = False, mode: str = "default", disable: bool = False, **_: Any) -> Any:
        """Keep what is to be compiled how."""
        return io.NodeOutput(Wish(compiles=False) if disable else wish_of_mode(mode, dynamic=bool(dynamic)))


class OneDiffNexfortBooster(io.ComfyNode):
    """OneDiff's second compiler as a booster."""

    @classmethod
    def define_schema(cls) -> Any:
        """Inputs and outputs."""
        return old_schema(
            "OneDiffNexfortBooster",
            now="nexfort builds on torch.compile. Today: Compile Model with compiler inductor.",
            inputs=[
                io.Boolean.Input("fullgraph", default=False, optional=True, tooltip="Without effect: always whole."),
                io.Boolean.Input("dynamic", default=True, optional=True, tooltip="One graph for all sizes."),
                io.String.Input(
                    "mode",
                    default="max-autotune:benchmark:low-precision:cudagraphs",
                    optional=True,
                    tooltip="max-autotune and cudagraphs are honoured; precision always stays the model's own.",
                ),
                io.String.Input("docs_link", multiline=True, optional=True, tooltip="Without effect."),
            ],
            outputs=[TorchCompileBooster.Output()],
        )

    @classmethod
    def execute(cls, dynamic: bool = True, mode: str = "", **_: Any) -> Any:
        """Keep what is to be compiled how."""
        return io.NodeOutput(wish_of_mode(mode, dynamic=bool(dynamic)))


class OneDiffOnlineQuantizationBooster(io.ComfyNode):
    """Quantization as a booster; passes only if it was to quantize nothing."""

    @classmethod
    def define_schema(cls) -> Any:
        """Inputs and outputs."""
        percent = {"min": 0, "max": 100, "default": 100, "optional": True}
        density = {"min": 0, "max": 2000, "step": 10, "optional": True}
        return old_schema(
            "OneDiffOnlineQuantizationBooster",
            now=f"It computed {QUANTIZED}: take this node out.",
            inputs=[
                io.Int.Input("quantized_conv_percentage", **percent),
                io.Int.Input("quantized_linear_percentage", **percent),
                io.Int.Input("conv_compute_density_threshold", default=100, **density),
                io.Int.Input("linear_compute_density_threshold", default=300, **density),
            ],
            outputs=[QuantizationBooster.Output()],
        )

    @classmethod
    def execute(cls, quantized_conv_percentage: int = 100, quantized_linear_percentage: int = 100, **_: Any) -> Any:
        """Refuse.

        Raises:
            UnsupportedFeatureError: saying what to change.
        """
        if quantized_conv_percentage or quantized_linear_percentage:
            raise UnsupportedFeatureError(
                f"this node computed {QUANTIZED}; delete it, or set both percentages to 0, and the model runs as it is"
            )
        return io.NodeOutput(None)
