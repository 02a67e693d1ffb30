"""What a pipeline makes of the two halves of a batch under classifier-free guidance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor


def guidance_of(pipe: Any) -> Callable[[Tensor], Tensor] | None:
    """Turns a UNet output into the guided prediction; None where the pipeline does not say that it guides.

    diffusers' pipelines put the unconditional half first and tell their scale, a number or (SVD) one per frame.
    """
    scale = getattr(pipe, "guidance_scale", None)
    if scale is None or not getattr(pipe, "do_classifier_free_guidance", False):
        return None

    def guide(output: Tensor) -> Tensor:
        if len(output) % 2:
            return output
        unconditional, conditional = output.chunk(2)
        guided: Tensor = unconditional + scale * (conditional - unconditional)
        return guided

    return guide
