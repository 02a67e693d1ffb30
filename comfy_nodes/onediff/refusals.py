"""OneDiff's nodes that gave what skipstep does not: each says what to put in its place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from comfy_api.latest import io

from skipstep.errors import UnsupportedFeatureError

from ._schema import SWITCH, old_schema
from .loaders import checkpoint_inputs

QUANTIZED = "computed with OneDiff Enterprise in 8 bits, which skipstep does not do"
_CHECKPOINT = "use Load Checkpoint, or Checkpoint Loader (speed-up), with the same ckpt_name; the outputs are the same"


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """One node: what it did, and what to do instead."""

    node_id: str
    did: str = QUANTIZED
    instead: str
    inputs: Callable[[], list[Any]]
    outputs: Callable[[], list[Any]]


def refusal_node(refusal: Refusal) -> Any:
    """The node class of a refusal."""

    class RefusalNode(io.ComfyNode):
        """Opens, and does not run."""

        @classmethod
        def define_schema(cls) -> Any:
            """Inputs and outputs."""
            now = f"It {refusal.did}: {refusal.instead}."
            made = (refusal.inputs(), refusal.outputs())
            return old_schema(refusal.node_id, now=now, inputs=made[0], outputs=made[1], shows=not made[1])

        @classmethod
        def execute(cls, **_: Any) -> Any:
            """Refuse.

            Raises:
                UnsupportedFeatureError: saying what to change.
            """
            raise UnsupportedFeatureError(f"{refusal.node_id} {refusal.did}; instead {refusal.instead}")

    return RefusalNode


def _prepared_checkpoint() -> list[Any]:
    name, vae_speedup = checkpoint_inputs()
    return [
        name,
        io.String.Input("model_path", optional=True),
        io.Combo.Input("compile", options=list(reversed(SWITCH)), optional=True),
        vae_speedup,
    ]


def _loaded() -> list[Any]:
    return [io.Model.Output(), io.Clip.Output(), io.Vae.Output()]


REFUSALS = (
    Refusal(
        node_id="OneDiffQuantCheckpointLoaderSimple",
        instead=_CHECKPOINT,
        inputs=checkpoint_inputs,
        outputs=_loaded,
    ),
    Refusal(
        node_id="OneDiffQuantCheckpointLoaderSimpleAdvanced",
        instead=_CHECKPOINT,
        inputs=_prepared_checkpoint,
        outputs=_loaded,
    ),
    Refusal(
        node_id="ImageOnlyOneDiffQuantCheckpointLoaderAdvanced",
        instead="use Image Only Checkpoint Loader with the same ckpt_name, and SVD Speedup behind it",
        inputs=_prepared_checkpoint,
        outputs=lambda: [io.Model.Output(), io.ClipVision.Output(), io.Vae.Output()],
    ),
    Refusal(
        node_id="UNETLoaderInt8",
        instead="use Load Diffusion Model with the file that was quantized",
        inputs=lambda: [io.String.Input("model_path", optional=True)],
        outputs=lambda: [io.Model.Output()],
    ),
    Refusal(
        node_id="Quant8Model",
        did="wrote a model in 8 bits for OneDiff Enterprise, which skipstep does not do",
        instead="take it out",
        inputs=lambda: [
            io.Model.Input("model"),
            io.String.Input("output_dir", default="int8", optional=True),
            io.Combo.Input("conv", options=list(reversed(SWITCH)), optional=True),
            io.Combo.Input("linear", options=list(reversed(SWITCH)), optional=True),
        ],
        outputs=list,
    ),
)
