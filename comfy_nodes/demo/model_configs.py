"""What ComfyUI asks of a model's kind, for the demo models: their published kin with other sizes.

They are used directly and not listed in `comfy.supported_models.models`, so no file is taken for one of them.
"""

from __future__ import annotations

from typing import Any, ClassVar

import comfy.model_base
import comfy.supported_models

from .latents import DemoLatents, DemoVideoLatents


class DemoSDXL(comfy.supported_models.SDXL):
    """SDXL with velocity prediction."""

    latent_format = DemoLatents

    def model_type(self, state_dict: Any, prefix: str = "") -> Any:
        """What the UNet predicts."""
        return comfy.model_base.ModelType.V_PREDICTION


class DemoSD15(comfy.supported_models.SD15):
    """SD1.5 with two attention heads, in the latent space of the demo SDXL."""

    unet_extra_config: ClassVar[dict[str, Any]] = {"num_heads": 2, "num_head_channels": -1}
    latent_format = DemoLatents


class DemoSVD(comfy.supported_models.SVD_img2vid):
    """SVD with attention heads of 32 channels."""

    unet_extra_config: ClassVar[dict[str, Any]] = {
        **comfy.supported_models.SVD_img2vid.unet_extra_config,
        "num_head_channels": 32,
    }
    latent_format = DemoVideoLatents
