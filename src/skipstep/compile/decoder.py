"""The decoder of a video VAE as compiled graphs: it costs as much as a UNet pass."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .calls import CompiledCalls


class CompiledDecoder:
    """The temporal decoder of an `AutoencoderKLTemporalDecoder`, a graph for each number of frames and size.

    It is called as the VAE's own `decode`.
    """

    def __init__(self, vae: Any, calls: CompiledCalls) -> None:
        self.vae = vae
        self._calls = calls

    def __call__(self, latents: Tensor, *, num_frames: int, return_dict: bool = False) -> tuple[Tensor]:
        """Frames (batch * frames, 3, height, width) of latents (batch * frames, channels, height / 8, width / 8)."""
        return (self._calls(latents, num_frames),)


class TemporalDecode(nn.Module):
    """What `AutoencoderKLTemporalDecoder.decode` does with latents: no frame is a picture of its own."""

    def __init__(self, decoder: Any) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, latents: Tensor, num_frames: int) -> Tensor:
        """The frames."""
        batch = latents.shape[0] // num_frames
        pictures = torch.zeros(batch, num_frames, dtype=latents.dtype, device=latents.device)
        made: Tensor = self.decoder(latents, num_frames=num_frames, image_only_indicator=pictures)
        return made
