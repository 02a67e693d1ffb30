"""A UNet with the contract of ldm's `UNetModel` as ComfyUI runs it, small, and written for these tests.

Blocks are lists of layers; a call takes ControlNet residuals out of the lists that it is given, and runs the functions
in `transformer_options`.
"""

from __future__ import annotations

from typing import Any

import torch
from models import randomised
from torch import Tensor, nn
from torch.nn import functional

WIDTH, CONTEXT, LABELS, TOKENS = 8, 12, 6, 5
SKIPS = 4


class Weighed(nn.Linear):
    """A linear layer whose weight may be made anew at each call, as ComfyUI does where memory is short."""

    weight_function: Any = ()

    def forward(self, x: Tensor) -> Tensor:
        """The product."""
        weight = self.weight
        for function in self.weight_function:
            weight = function(weight)
        return functional.linear(x, weight, self.bias)


class Resnet(nn.Module):
    """Adds what a convolution makes of the input and the embedding; over frames too if there are any."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(2, channels)
        self.conv = nn.Conv2d(channels, out, 3, padding=1)
        self.emb = Weighed(WIDTH, out)
        self.skip = nn.Conv2d(channels, out, 1)

    def forward(self, x: Tensor, emb: Tensor, frames: int | None) -> Tensor:
        """(batch, out, height, width)"""
        h = self.conv(functional.silu(self.norm(x))) + self.emb(emb)[:, :, None, None]
        if frames:
            grouped = h.unflatten(0, (-1, frames))
            h = (grouped + 0.3 * grouped.roll(1, dims=1)).flatten(0, 1)
        return self.skip(x) + h  # type: ignore[no-any-return]


class BasicTransformerBlock(nn.Module):
    """Attention to the context, which others may patch or replace."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.q, self.k = Weighed(channels, channels), nn.Linear(CONTEXT, channels)
        self.v, self.out = nn.Linear(CONTEXT, channels), nn.Linear(channels, channels)

    def forward(self, x: Tensor, context: Tensor, transformer_options: dict[str, Any] | None = None) -> Tensor:
        """(batch, pixels, channels)"""
        options = transformer_options or {}
        q, k, v = self.q(x), self.k(context), self.v(context)
        for patch in options.get("patches", {}).get("attn2_patch", []):
            q, k, v = patch(q, k, v, options)
        place = (*options.get("block", ()), options.get("block_index"))
        replace = options.get("patches_replace", {}).get("attn2", {}).get(place)
        attend = functional.scaled_dot_product_attention if replace is None else replace
        return x + self.out(attend(q, k, v))  # type: ignore[no-any-return]


class SpatialTransformer(nn.Module):
    """One transformer block over the pixels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.transformer_blocks = nn.ModuleList([BasicTransformerBlock(channels)])

    def forward(self, x: Tensor, context: Tensor, options: dict[str, Any]) -> Tensor:
        """(batch, channels, height, width)"""
        h = x.flatten(2).transpose(1, 2)
        for index, block in enumerate(self.transformer_blocks):
            options["block_index"] = index
            h = block(h, context=context, transformer_options=options)
        return h.transpose(1, 2).unflatten(2, x.shape[2:])


class Upsample(nn.Module):
    """To the size of the next skip."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, shape: torch.Size) -> Tensor:
        """(batch, channels, height, width)"""
        return self.conv(functional.interpolate(x, size=tuple(shape[2:])))  # type: ignore[no-any-return]


class LdmUNet(nn.Module):
    """Two levels of one resnet each, with attention below the first: 4 skips."""

    def __init__(self) -> None:
        super().__init__()
        wide = 2 * WIDTH
        self.time = nn.Linear(1, WIDTH)
        self.label = nn.Linear(LABELS, WIDTH)
        self.input_blocks = nn.ModuleList(
            [
                nn.Sequential(nn.Conv2d(4, WIDTH, 3, padding=1)),
                nn.Sequential(Resnet(WIDTH, WIDTH)),
                nn.Sequential(nn.Conv2d(WIDTH, WIDTH, 3, stride=2, padding=1)),
                nn.Sequential(Resnet(WIDTH, wide), SpatialTransformer(wide)),
            ]
        )
        self.middle_block = nn.Sequential(Resnet(wide, wide), SpatialTransformer(wide), Resnet(wide, wide))
        self.output_blocks = nn.ModuleList(
            [
                nn.Sequential(Resnet(2 * wide, wide), SpatialTransformer(wide)),
                nn.Sequential(Resnet(wide + WIDTH, wide), SpatialTransformer(wide), Upsample(wide)),
                nn.Sequential(Resnet(wide + WIDTH, WIDTH), SpatialTransformer(WIDTH)),
                nn.Sequential(Resnet(2 * WIDTH, WIDTH)),
            ]
        )
        self.out = nn.Sequential(nn.GroupNorm(2, WIDTH), nn.SiLU(), nn.Conv2d(WIDTH, 4, 3, padding=1))

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """What wrappers would be run around."""
        return self._forward(*args, **kwargs)

    def _forward(
        self,
        x: Tensor,
        timesteps: Tensor,
        context: Tensor,
        y: Tensor,
        control: dict[str, list[Tensor | None]] | None,
        transformer_options: dict[str, Any],
        **kwargs: Any,
    ) -> Tensor:
        options, patches = transformer_options, transformer_options.get("patches", {})
        options["original_shape"], options["transformer_index"] = list(x.shape), 0
        emb = self.time(torch.sin(timesteps[:, None] * 0.01)) + self.label(y)
        for patch in patches.get("emb_patch", []):
            emb = patch(emb, WIDTH, options)
        frames = kwargs.get("num_video_frames")
        h, skips = x, []
        for index, block in enumerate(self.input_blocks):
            options["block"] = ("input", index)
            h = _through(block, h, emb, context, options, frames)
            h = _controlled(h, control, "input")
            for patch in patches.get("input_block_patch", []):
                h = patch(h, options)
            skips.append(h)
        options["block"] = ("middle", 0)
        h = _through(self.middle_block, h, emb, context, options, frames)
        h = _controlled(h, control, "middle")
        for patch in patches.get("middle_block_after_patch", []):
            h = patch({"h": h})["h"]
        for index, block in enumerate(self.output_blocks):
            options["block"] = ("output", index)
            skip = _controlled(skips.pop(), control, "output")
            for patch in patches.get("output_block_patch", []):
                h, skip = patch(h, skip, options)
            shape = skips[-1].shape if skips else None
            h = _through(block, torch.cat([h, skip], 1), emb, context, options, frames, shape)
        made: Tensor = self.out(h)
        return made


def _through(
    block: Any, h: Tensor, emb: Tensor, context: Tensor, options: dict[str, Any], frames: int | None, shape: Any = None
) -> Tensor:
    for layer in block:
        if isinstance(layer, Resnet):
            h = layer(h, emb, frames)
        elif isinstance(layer, SpatialTransformer):
            h = layer(h, context, options)
            options["transformer_index"] += 1
        elif isinstance(layer, Upsample):
            h = layer(h, shape)
        else:
            h = layer(h)
    return h


def _controlled(h: Tensor, control: dict[str, list[Tensor | None]] | None, place: str) -> Tensor:
    residuals = (control or {}).get(place)
    residual = residuals.pop() if residuals else None
    return h if residual is None else h + residual


def ldm_unet(seed: int = 0) -> Any:
    """A seeded one."""
    return randomised(LdmUNet(), seed)


def ldm_call(seed: int = 0, size: tuple[int, int] = (8, 8), **more: Any) -> dict[str, Any]:
    """A call as ComfyUI makes it, with both sides of guidance; seeds differ in every input."""
    generator = torch.Generator().manual_seed(seed)
    return {
        "x": torch.randn(2, 4, *size, generator=generator),
        "timesteps": torch.full((2,), 900.0 - 70 * seed),
        "context": torch.randn(2, TOKENS, CONTEXT, generator=generator),
        "y": torch.randn(2, LABELS, generator=generator),
        "control": None,
        "transformer_options": sampling_options(seed),
        **more,
    }


def sampling_options(seed: int = 0) -> dict[str, Any]:
    """What ComfyUI's samplers and wrappers put there, which the UNet does not read."""
    return {
        "cond_or_uncond": [1, 0],
        "uuids": [object(), object()],
        "sigmas": torch.tensor([14.6 - seed]),
        "sample_sigmas": torch.linspace(14.6, 0, 5),
        "wrappers": {"diffusion_model": {"key": [print]}},
        "callbacks": {},
        "patches": {},
        "patches_replace": {"attn2": {}},
    }


def residuals(seed: int = 0, size: tuple[int, int] = (8, 8)) -> dict[str, list[Tensor | None]]:
    """What a ControlNet gives: one for the middle, and for each skip but the second."""
    generator = torch.Generator().manual_seed(seed)
    half = ((size[0] + 1) // 2, (size[1] + 1) // 2)
    shapes = [(WIDTH, *size), (WIDTH, *size), (WIDTH, *half), (2 * WIDTH, *half)]
    output: list[Tensor | None] = [torch.randn(2, *shape, generator=generator) for shape in shapes]
    output[1] = None
    return {"input": [], "middle": [torch.randn(2, *shapes[-1], generator=generator)], "output": output}
