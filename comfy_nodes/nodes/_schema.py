"""What several nodes have in common: how a schema is made on older and newer ComfyUIs, and inputs of the same kind."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from skipstep.deepcache.options import CALIBRATED, FORECASTS
from skipstep.deepcache.storage import SAME

CATEGORY = "skipstep"
CUSTOM = "custom"
PRESETS = ("balanced", "quality", "fast", "lossless")
FEATURE_TYPES = (SAME, "float16", "bfloat16")
FEATURE_PLACES = (SAME, "cpu")
_NEWER = ("search_aliases",)  # of ComfyUI after 0.3.75


def new_schema(**fields: Any) -> Any:
    """An `io.Schema` with those of the fields that this ComfyUI knows."""
    known = getattr(io.Schema, "__dataclass_fields__", {})
    return io.Schema(**{name: value for name, value in fields.items() if name not in _NEWER or name in known})


def preset_input(*, more: tuple[str, ...] = ()) -> Any:
    """Which preset."""
    return io.Combo.Input(
        "preset",
        options=[*PRESETS, *more],
        default=PRESETS[0],
        tooltip=(
            "How often the whole UNet runs. Measured on SDXL at 30 steps: quality about 2 times faster, balanced 3, "
            "fast 5; all use a straight-line forecast of the deep features, and lossless runs everything."
            + (" custom takes the widgets below." if CUSTOM in more else "")
        ),
    )


def window_inputs() -> list[Any]:
    """The part of sampling in which features may be reused."""
    span = {"min": 0.0, "max": 1.0, "step": 0.01}
    return [
        io.Float.Input(
            "start_percent",
            default=0.0,
            **span,
            tooltip="Features are reused from this part of sampling on (0 is pure noise).",
        ),
        io.Float.Input(
            "end_percent", default=1.0, **span, tooltip="... and up to this part (1 is the finished picture)."
        ),
    ]


def storage_inputs() -> list[Any]:
    """How features are kept between evaluations."""
    return [
        io.Combo.Input(
            "feature_dtype",
            options=list(FEATURE_TYPES),
            default=SAME,
            optional=True,
            tooltip="Type in which features are kept; half types halve what float32 takes, at a small loss.",
        ),
        io.Combo.Input(
            "feature_device",
            options=list(FEATURE_PLACES),
            default=SAME,
            optional=True,
            tooltip="Where features are kept: beside the model, or in host memory (slower, no GPU memory).",
        ),
    ]


def forecast_names() -> list[str]:
    """All forecasts, the usual one first."""
    return ["linear", *(name for name in FORECASTS if name != "linear"), CALIBRATED]
