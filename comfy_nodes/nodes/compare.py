"""Baseline beside cached, from the same seed."""

from __future__ import annotations

from typing import Any

import comfy.samplers
from comfy_api.latest import io

from ..comparing import compare
from ._schema import CATEGORY, new_schema


class SkipstepCompare(io.ComfyNode):
    """A KSampler that runs twice: without the speed-up, and with it."""

    @classmethod
    def define_schema(cls) -> Any:
        """Inputs and outputs."""
        return new_schema(
            node_id="SkipstepCompare",
            display_name="Compare with Baseline",
            category=CATEGORY,
            description=(
                "Samples with the speed-up taken off the model and with it, from the same seed, and shows both "
                "pictures, their difference (four times enlarged), PSNR, SSIM and times."
            ),
            search_aliases=["PSNR", "SSIM", "quality", "A/B"],
            is_output_node=True,  # or a page that was opened anew would not get the text of a cached result
            inputs=[
                io.Model.Input("model", tooltip="A model with a speed-up."),
                io.Conditioning.Input("positive", tooltip="As for KSampler."),
                io.Conditioning.Input("negative", tooltip="As for KSampler."),
                io.Latent.Input("latent_image", tooltip="As for KSampler."),
                io.Vae.Input("vae", tooltip="Decodes both."),
                io.Int.Input("seed", default=0, min=0, max=0xFFFFFFFFFFFFFFFF, control_after_generate=True),
                io.Int.Input("steps", default=30, min=1, max=10000),
                io.Float.Input("cfg", default=7.0, min=0.0, max=100.0, step=0.1),
                io.Combo.Input("sampler_name", options=list(comfy.samplers.KSampler.SAMPLERS)),
                io.Combo.Input("scheduler", options=list(comfy.samplers.KSampler.SCHEDULERS)),
                io.Float.Input("denoise", default=1.0, min=0.0, max=1.0, step=0.01),
                io.Boolean.Input(
                    "warm_up",
                    default=True,
                    tooltip="Sample once with each before the clock runs: loading and compiling do not count then.",
                ),
            ],
            outputs=[
                io.Image.Output("baseline", display_name="baseline", tooltip="Without the speed-up."),
                io.Image.Output("sped_up", display_name="sped up", tooltip="With it."),
                io.Image.Output(
                    "difference", display_name="difference", tooltip="How far they are apart, four times enlarged."
                ),
                io.String.Output("figures", display_name="figures", tooltip="PSNR, SSIM and times."),
            ],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        positive: Any,
        negative: Any,
        latent_image: Any,
        vae: Any,
        seed: int,
        steps: int,
        cfg: float,
        sampler_name: str,
        scheduler: str,
        denoise: float,
        warm_up: bool,
    ) -> Any:
        """Sample with both and compare."""
        from nodes import common_ksampler

        def sample(with_model: Any) -> Any:
            settings = (seed, steps, cfg, sampler_name, scheduler, positive, negative, latent_image)
            (latent,) = common_ksampler(with_model, *settings, denoise=denoise)
            return latent

        compared = compare(model, vae, sample, warm_up=warm_up)
        pictures = (compared.baseline, compared.sped_up, compared.difference)
        return io.NodeOutput(*pictures, compared.text, ui={"text": (compared.text,)})
