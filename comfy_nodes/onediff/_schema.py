"""What OneDiff's nodes have in common here."""

from __future__ import annotations

import logging
from typing import Any

from comfy_api.latest import io

from .settings import OldDeepCache

CATEGORY = "skipstep/OneDiff"
CustomBooster = io.Custom("CUSTOM_BOOSTER")
DeepCacheBooster = io.Custom("DeepCacheBooster")
QuantizationBooster = io.Custom("QuantizationBooster")
TorchCompileBooster = io.Custom("TorchCompileBooster")
ControlNetStack = io.Custom("CONTROL_NET_STACK")
SWITCH = ("disable", "enable")
_MOST = 1000


def old_schema(node_id: str, *, now: str, inputs: list[Any], outputs: list[Any], shows: bool = False) -> Any:
    """The schema of a node that OneDiff had; `now` says what it is today, `shows` that it ends a graph."""
    return io.Schema(
        node_id=node_id,
        display_name=f"{node_id} (OneDiff)",
        category=CATEGORY,
        description=f"Opens workflows that were made with OneDiff. {now}",
        inputs=inputs,
        outputs=outputs,
        is_deprecated=True,
        is_output_node=shows,
    )


def tell(node_id: str, told: str) -> dict[str, Any]:
    """What a node shows of what became of it; logged too, because workflows also come without a browser."""
    logging.getLogger(__name__).info("skipstep: %s of OneDiff: %s.", node_id, told)
    return {"text": (f"{told}.",)}


def deepcache_inputs() -> list[Any]:
    """The widgets of OneDiff's DeepCache nodes, in its order."""
    usual = OldDeepCache()
    whole = {"optional": True, "step": 1}
    return [
        io.Int.Input(
            "cache_interval",
            default=usual.cache_interval,
            min=1,
            max=_MOST,
            tooltip="Evaluations from one full pass to the next.",
            **whole,
        ),
        io.Int.Input(
            "cache_layer_id",
            default=usual.cache_layer_id,
            min=0,
            max=12,
            tooltip="Level of the UNet at which it is cut.",
            **whole,
        ),
        io.Int.Input(
            "cache_block_id",
            default=usual.cache_block_id,
            min=0,
            max=12,
            tooltip="Block of that level at which it is cut.",
            **whole,
        ),
        io.Int.Input(
            "start_step",
            default=usual.start_step,
            min=0,
            max=_MOST,
            tooltip="Of the 1000 timesteps of training, the one from which on features are reused.",
            **whole,
        ),
        io.Int.Input(
            "end_step",
            default=usual.end_step,
            min=0,
            max=_MOST,
            tooltip="... and the one up to which they are.",
            **whole,
        ),
    ]


def static_mode_input() -> Any:
    """Whether OneDiff compiled; of its first versions, and of the DeepCache nodes to the end."""
    return io.Combo.Input(
        "static_mode",
        options=list(reversed(SWITCH)),
        default="enable",
        optional=True,
        tooltip="enable compiles, disable runs the model's own code.",
    )


def inplace_input() -> Any:
    """Whether OneDiff changed the model that it was given."""
    return io.Boolean.Input(
        "inplace",
        default=True,
        optional=True,
        label_on="yes",
        label_off="no",
        tooltip="Without effect: the model given is never changed.",
    )


def booster_input() -> Any:
    """What OneDiff was to do instead of compiling with its own compiler."""
    return CustomBooster.Input("custom_booster", optional=True, tooltip="From OneDiffModelBooster.")
