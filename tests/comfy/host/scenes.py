"""Ways to sample that a cache must go with, each with what it asks of the UNet in one evaluation.

A scene names its calls by hand: the test counts them on the plain model as well.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from comfy.ldm.modules.attention import optimized_attention

from .drawings import Drawing, inpainting, ksampler, perp_neg_guider, sampler_advanced, sampler_custom, second_pass
from .models import TinySDXL, TinySVD, picture, with_controlnet, with_lora
from .process import Core
from .tiny_checkpoints import LORA

LONG = "a very long description of a red apple on an old wooden table near a window, " * 8
Tiny = TinySDXL | TinySVD
Calls = Callable[[float], tuple[str, ...]]


@dataclass(frozen=True, kw_only=True)
class Studio:
    """What scenes are made of."""

    core: Core
    sdxl: TinySDXL
    svd: TinySVD
    controlnet: Any

    def text(self, prompt: str) -> Any:
        """The conditioning of another prompt."""
        return self.core.call("CLIPTextEncode", clip=self.sdxl.clip, text=prompt)[0]

    def patched(self, node_id: str, **inputs: Any) -> TinySDXL:
        """The miniature SDXL behind a node that patches a MODEL."""
        return replace(self.sdxl, model=self.core.call(node_id, model=self.sdxl.model, **inputs)[0])

    def patched_clip(self, node_id: str, **inputs: Any) -> TinySVD:
        """The miniature SVD behind such a node."""
        return replace(self.svd, model=self.core.call(node_id, model=self.svd.model, **inputs)[0])


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A model and its conditionings, how they are sampled from, and the calls of an evaluation at a noise level.

    Calls of one name share features; two of a name in one evaluation do not.
    """

    tiny: Tiny
    calls: tuple[str, ...] | Calls = ("both",)
    drawing: Drawing = field(default_factory=ksampler)

    def calls_at(self, sigma: float) -> tuple[str, ...]:
        """The calls of an evaluation."""
        return self.calls(sigma) if callable(self.calls) else self.calls


def lora_hook(studio: Studio) -> Scene:
    """A LoRA on the positive prompt alone, twice as strong in the second half of sampling."""
    call = studio.core.call
    (hooks,) = call("CreateHookLora", lora_name=LORA, strength_model=0.5, strength_clip=0.0)
    (keyframes,) = call("CreateHookKeyframe", strength_mult=1.0, start_percent=0.0)
    (keyframes,) = call("CreateHookKeyframe", strength_mult=2.0, start_percent=0.5, prev_hook_kf=keyframes)
    (hooks,) = call("SetHookKeyframes", hooks=hooks, hook_kf=keyframes)
    options = {"strength": 1.0, "set_cond_area": "default", "hooks": hooks}
    (positive,) = call("ConditioningSetProperties", cond_NEW=studio.sdxl.positive, **options)
    return Scene(tiny=replace(studio.sdxl, positive=positive), calls=("positive", "negative"))


def controlnet_in_the_middle(studio: Studio) -> Scene:
    """A ControlNet from 20 to 60 % of sampling."""
    positive, negative = studio.core.call(
        "ControlNetApplyAdvanced",
        positive=studio.sdxl.positive,
        negative=studio.sdxl.negative,
        control_net=studio.controlnet,
        image=picture(side=128),
        strength=1.0,
        start_percent=0.2,
        end_percent=0.6,
    )
    return Scene(tiny=replace(studio.sdxl, positive=positive, negative=negative))


def areas(studio: Studio) -> Scene:
    """Two prompts for two parts of different shape; the negative prompt is called for each of them too."""
    return _areas(studio, ("a cat", 64, 0), ("a dog", 96, 32), calls=("left", "right", "whole"))


def two_areas_of_one_shape(studio: Studio) -> Scene:
    """Two prompts for two halves: they share a batch, with the negative prompt for each."""
    return _areas(studio, ("a cat", 64, 0), ("a dog", 64, 64), calls=("halves", "whole"))


def _areas(studio: Studio, *places: tuple[str, int, int], calls: tuple[str, ...]) -> Scene:
    """A prompt for each place of a square picture, from top to bottom: its width and left side in pixels."""
    parts = []
    for prompt, width, x in places:
        area = {"width": width, "height": 128, "x": x, "y": 0, "strength": 1.0}
        parts += studio.core.call("ConditioningSetArea", conditioning=studio.text(prompt), **area)[0]
    return Scene(tiny=replace(studio.sdxl, positive=parts), calls=calls, drawing=ksampler(width=128, height=128))


def masks(studio: Studio) -> Scene:
    """Two prompts for two halves, by mask: everything in one batch."""
    parts = []
    for prompt, side in (("a cat", slice(0, 32)), ("a dog", slice(32, 64))):
        mask = torch.zeros(1, 64, 64)
        mask[:, :, side] = 1
        options = {"mask": mask, "strength": 1.0, "set_cond_area": "default"}
        parts += studio.core.call("ConditioningSetMask", conditioning=studio.text(prompt), **options)[0]
    return Scene(tiny=replace(studio.sdxl, positive=parts))


def prompt_switch(studio: Studio) -> Scene:
    """One prompt for the first half of sampling, another for the second."""
    parts = []
    for prompt, start, end in (("a cat", 0.0, 0.5), ("a dog", 0.5, 1.0)):
        parts += studio.core.call(
            "ConditioningSetTimestepRange", conditioning=studio.text(prompt), start=start, end=end
        )[0]
    half = float(studio.sdxl.model.get_model_object("model_sampling").percent_to_sigma(0.5))
    return Scene(
        tiny=replace(studio.sdxl, positive=parts), calls=lambda sigma: ("first",) if sigma > half else ("second",)
    )


def two_tiles(studio: Studio) -> Scene:
    """Tiled diffusion: the UNet is called for both halves, at one noise level with the same conditionings."""

    def halves(apply_model: Any, call: dict[str, Any]) -> torch.Tensor:
        tiles = [apply_model(tile, call["timestep"], **call["c"]) for tile in call["input"].chunk(2, dim=3)]
        return torch.cat(tiles, dim=3)

    model = studio.sdxl.model.clone()
    model.set_model_unet_function_wrapper(halves)
    return Scene(tiny=replace(studio.sdxl, model=model), calls=("both", "both"), drawing=ksampler(width=128))


def one_at_a_time(studio: Studio) -> Scene:
    """So little memory that each conditioning is called for alone."""
    model = studio.sdxl.model.clone()
    model.add_object_patch("memory_required", lambda shape, **_: 0 if shape[0] == 1 else 1 << 60)
    return Scene(tiny=replace(studio.sdxl, model=model), calls=("negative", "positive"))


def image_prompt(studio: Studio) -> Scene:
    """Attention to four more tokens in some blocks, of the positive prompt alone, as IP-Adapter has it."""
    tokens = torch.randn(1, 4, 64, generator=torch.Generator().manual_seed(8))

    def attend(q: Any, k: Any, v: Any, options: dict[str, Any]) -> torch.Tensor:
        made = optimized_attention(q, k, v, options["n_heads"])
        image = tokens[..., :1].expand(1, 4, q.shape[-1]) * torch.linspace(-1, 1, q.shape[-1])
        share = torch.tensor([float(number == 0) for number in options["cond_or_uncond"]])
        share = share.repeat_interleave(len(q) // len(share)).view(-1, 1, 1)
        image = image.expand(len(q), -1, -1).contiguous()
        return made + share * optimized_attention(q, image, image, options["n_heads"])

    model = studio.sdxl.model.clone()
    for block in (("input", 5), ("middle", 0), ("output", 2), ("output", 4), ("output", 5)):
        model.set_model_attn2_replace(attend, *block)
    return Scene(tiny=replace(studio.sdxl, model=model))


def everything(studio: Studio) -> Scene:
    """LoRA, ControlNet, FreeU and perturbed attention together."""
    tiny = with_controlnet(studio.core, with_lora(studio.core, studio.sdxl, strength=0.5), studio.controlnet)
    (model,) = studio.core.call("FreeU_V2", model=tiny.model, b1=1.3, b2=1.4, s1=0.9, s2=0.2)
    (model,) = studio.core.call("PerturbedAttentionGuidance", model=model, scale=2.0)
    return Scene(tiny=replace(tiny, model=model), calls=("both", "positive"))


SCENES: dict[str, Callable[[Studio], Scene]] = {
    "plain": lambda studio: Scene(tiny=studio.sdxl),
    "lora": lambda studio: Scene(tiny=with_lora(studio.core, studio.sdxl, strength=1.0)),
    "lora-hook": lora_hook,
    "controlnet": lambda studio: Scene(tiny=with_controlnet(studio.core, studio.sdxl, studio.controlnet)),
    "controlnet-20-60": controlnet_in_the_middle,
    "freeu": lambda studio: Scene(tiny=studio.patched("FreeU_V2", b1=1.3, b2=1.4, s1=0.9, s2=0.2)),
    "pag": lambda studio: Scene(
        tiny=studio.patched("PerturbedAttentionGuidance", scale=2.0), calls=("both", "positive")
    ),
    "pag-cfg-1": lambda studio: Scene(
        tiny=studio.patched("PerturbedAttentionGuidance", scale=2.0),
        calls=("positive", "positive"),
        drawing=ksampler(cfg=1.0),
    ),
    "sag": lambda studio: Scene(
        tiny=studio.patched("SelfAttentionGuidance", scale=0.5, blur_sigma=2.0), calls=("both", "negative")
    ),
    "hypertile": lambda studio: Scene(
        tiny=studio.patched("HyperTile", tile_size=32, swap_size=2, max_depth=1, scale_depth=False),
        drawing=ksampler(width=128, height=128),
    ),
    "areas": areas,
    "areas-in-one-batch": two_areas_of_one_shape,
    "masks": masks,
    "batch-2": lambda studio: Scene(tiny=studio.sdxl, drawing=ksampler(batch=2)),
    "cfg-1": lambda studio: Scene(tiny=studio.sdxl, calls=("positive",), drawing=ksampler(cfg=1.0)),
    "odd-size": lambda studio: Scene(tiny=studio.sdxl, drawing=ksampler(width=72, height=104)),
    "long-prompt": lambda studio: Scene(tiny=replace(studio.sdxl, positive=studio.text(LONG))),
    "prompt-switch": prompt_switch,
    "two-tiles": two_tiles,
    "one-at-a-time": one_at_a_time,
    "perp-neg": lambda studio: Scene(tiny=studio.sdxl, calls=("three",), drawing=perp_neg_guider),
    "image-prompt": image_prompt,
    "second-pass": lambda studio: Scene(tiny=studio.sdxl, drawing=second_pass),
    "inpainting": lambda studio: Scene(tiny=studio.sdxl, drawing=inpainting),
    "steps-2-to-6": lambda studio: Scene(tiny=studio.sdxl, drawing=sampler_advanced),
    "sampler-custom": lambda studio: Scene(tiny=studio.sdxl, drawing=sampler_custom),
    "everything": everything,
    "svd": lambda studio: Scene(tiny=studio.svd),
    "svd-linear-cfg": lambda studio: Scene(tiny=studio.patched_clip("VideoLinearCFGGuidance", min_cfg=1.0)),
    "svd-tome": lambda studio: Scene(tiny=studio.patched_clip("TomePatchModel", ratio=0.5)),  # of SDXL it leaves all
}
SEVERAL_CALLS = ("plain", "lora-hook", "pag", "areas", "prompt-switch", "everything")  # what order could be mistaken in
