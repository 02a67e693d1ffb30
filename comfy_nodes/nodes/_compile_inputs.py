"""Widgets that all compiling nodes have."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from skipstep.compile import BACKENDS

from ..compiling import MODES, SHAPES, available_words

USUAL = "inductor"
_MODES_OF_PARTS = tuple(mode for mode in MODES if mode != "regional")


def compile_inputs(*, parts: bool = False) -> list[Any]:
    """Backend, mode, shapes and verify; `parts` are networks without repeated blocks."""
    return [
        io.Combo.Input(
            "backend",
            options=list(BACKENDS),
            default=USUAL,
            tooltip=(
                "inductor is torch's own compiler; aot keeps its graphs on disk for the next start; openvino is for "
                "CPUs; oneflow and onediff need an environment of their own; eager compiles nothing, to compare.\n"
                + available_words()
            ),
        ),
        io.Combo.Input(
            "mode",
            options=list(_MODES_OF_PARTS if parts else MODES),
            default=MODES[0],
            tooltip=(
                "max autotune times several kernels for each operation, minutes more, once. cuda graphs replay a whole "
                "pass at once (NVIDIA, inductor)."
                + ("" if parts else " regional compiles the repeated block only: a start in seconds, less speed.")
            ),
        ),
        io.Combo.Input(
            "shapes",
            options=list(SHAPES),
            default=SHAPES[0],
            tooltip="exact: fastest, and each new size is compiled. dynamic: one graph for all sizes (inductor).",
        ),
        io.Boolean.Input(
            "verify",
            default=False,
            tooltip="Compare each graph's first result with the model's own, and leave out a graph that differs.",
        ),
    ]
